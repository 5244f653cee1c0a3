"""A person at the workbench: waits for what is to be seen, and makes runs look alive without a trainer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from textual.pilot import Pilot

from engine.control import CommandQueue, ControlServer
from engine.runs.layout import RunDir
from engine.runs.writer import RunWriter
from tui.app import Workbench
from tui.screens.runs.screen import RunsScreen
from tui.widgets.menu import Menu


async def until(pilot: Pilot[Any], test: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until `test` holds; what polls the run is polled."""
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "it did not happen"
        pilot.app._poll()
        await pilot.pause(0.02)


async def still(pilot: Pilot[Any]) -> None:
    """Wait until nothing is under way: what was asked of the workers is told, no message waits, all is drawn.

    So many pauses are no such thing: to Textual a process that is given no processor is one that has nothing to do.
    """
    app = pilot.app
    assert isinstance(app, Workbench)
    await until(pilot, lambda: not _asked(app))
    await pilot.pause()
    await until(pilot, lambda: not _asked(app) and not _undrawn(app))


def _asked(app: Workbench) -> bool:
    return any(ticket.every is None for worker in app.session.workers for ticket in [*worker._current.values()])


def _undrawn(app: Workbench) -> bool:
    screen = app.screen
    nodes = [app, *screen.walk_children(with_self=True)]
    waiting = any(node.message_queue_size or node._next_callbacks for node in nodes)
    return bool(
        waiting or screen._callbacks or screen._dirty_widgets or screen._layout_required or screen._repaint_required
    )


def listed(app: Workbench) -> bool:
    """Whether the list of runs is on the screen."""
    return (
        isinstance(app.screen, RunsScreen) and bool(app.screen.query(Menu)) and bool(app.screen.query_one(Menu).items)
    )


def on_screen(app: Workbench) -> str:
    """All that is to be read on the screen."""
    return "\n".join("".join(segment.text for segment in line) for line in app.screen._compositor.render_strips())


def answer(request: dict[str, Any], cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """A model that repeats the prompt, then says a few words; `for ever` it never ends by itself."""
    yield {"piece": {"id": 0, "text": f"<{request['prompt']}>"}}
    if "for ever" in request["prompt"]:
        while not cancelled():
            time.sleep(0.005)
        return
    yield {"piece": {"id": 1, "text": " \x1b]0;title\x07[red]well[/red]"}}
    settings = request["settings"]
    yield {
        "done": {"stop_reason": "length", "tokens": 2, "seed": settings["seed"], "tokens_per_second": 100.0, "step": 41}
    }


@contextmanager
def live_run(run: RunDir, state: str = "running", **status: Any) -> Iterator[CommandQueue]:
    """Makes `run` alive in this process: lock, status and socket as a trainer has them, without one."""
    commands = CommandQueue()
    with RunWriter(run) as writer, ControlServer(run, commands, answer) as server:
        writer.status(state=state, phase="training", step=340, steps=500, **status)
        writer.serve_at(server.path)
        yield commands


class FakeTraining:
    """Stands where a Training stands; alive until it is finished, however often it is asked to stop."""

    def __init__(self, run: RunDir) -> None:
        self.run, self.host, self.error, self.stage, self.fraction = run, None, None, "", 0.0
        self.alive, self.begun, self.left = True, False, None
        self.asked = False

    def stop(self) -> None:
        self.asked = True
