"""Prompts outlive the screen that shows them; nothing typed is lost, and what went wrong can be read whole."""

from __future__ import annotations

import json
import queue
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import listed, on_screen, until
from runs_for_tests import write_run
from textual.pilot import Pilot

from engine.control import CommandQueue, ControlServer
from engine.errors import RunError
from engine.runs.layout import RunDir
from engine.runs.writer import RunWriter
from tui.app import Workbench
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.train.prompt import PromptPane
from tui.screens.train.promptinput import PromptInput
from tui.screens.train.screen import TrainScreen
from tui.state.settings import own_prompts
from tui.widgets.slider import Slider
from tui.widgets.stream import OutputText

SIZE = (120, 36)
LONG = "the tokenizer has no token for '\u2603' at character 12; " + "leave it out, or train with another. " * 12


class Model:
    """Says what the test has it say: texts, then None for the end, or an error."""

    def __init__(self) -> None:
        self.says: queue.SimpleQueue[str | RunError | None] = queue.SimpleQueue()

    def answer(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        tokens = 0
        while not cancelled():
            try:
                said = self.says.get(timeout=0.01)
            except queue.Empty:
                continue
            if isinstance(said, RunError):
                raise said
            if said is None:
                yield {"done": {"stop_reason": "length", "tokens": tokens, "seed": 5, "step": 41}}
                return
            tokens += 1
            yield {"piece": {"id": 0, "text": said}}


@contextmanager
def trained(run: RunDir) -> Iterator[Model]:
    """`run` with a trainer that is this test."""
    model = Model()
    with RunWriter(run) as writer, ControlServer(run, CommandQueue(), model.answer) as server:
        writer.status(state="running", phase="training", step=340, steps=500)
        writer.serve_at(server.path)
        yield model


def pane(app: Workbench) -> PromptPane:
    return app.workplace.query_one(PromptPane)


def answer(app: Workbench) -> OutputText:
    return app.workplace.query_one("#answer", OutputText)


def typed(app: Workbench) -> str:
    return app.workplace.query_one("#ask", PromptInput).text


def past(app: Workbench) -> list[str]:
    """What was asked of the run shown, as far as it is read."""
    talk = pane(app).talk
    return [entry.prompt for entry in talk.history.entries] if talk.history is not None else []


def history(run: RunDir) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in (run.path / "prompts.jsonl").read_text().splitlines()]
    except OSError:
        return []


async def ask(pilot: Pilot[Any], app: Workbench, text: str, *pieces: str, model: Model) -> None:
    """Send `text` and wait until the answer shows these pieces."""
    await until(pilot, lambda: app.session.live and app.focused is not None)
    app.show_train("prompt")
    await until(pilot, lambda: isinstance(app.focused, PromptInput))
    await pilot.press(*text, "enter")
    for piece in pieces:
        model.says.put(piece)
    await until(pilot, lambda: "".join(pieces) in answer(app).answer)


async def leave_to_runs(pilot: Pilot[Any], app: Workbench) -> None:
    app.action_go("runs")
    await until(pilot, lambda: listed(app))


async def back(pilot: Pilot[Any], app: Workbench) -> None:
    await pilot.press("escape")
    await until(pilot, lambda: isinstance(app.screen, TrainScreen) and bool(app.screen.query(PromptPane)))
    await pilot.pause()


async def test_a_prompt_goes_on_while_one_looks_elsewhere(runs: Path) -> None:
    run = write_run(runs, step=340)
    with trained(run) as model:
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, app, "ask", "here ", model=model)
            await leave_to_runs(pilot, app)
            model.says.put("and there ")
            await until(pilot, lambda: "there" in app.session.talks.of(run, created(run)).job.text)
            await back(pilot, app)
            assert answer(app).answer == "here and there " and typed(app) == "ask" and pane(app).busy
            model.says.put("and back")
            model.says.put(None)
            await until(pilot, lambda: not pane(app).busy)
            assert answer(app).answer == "here and there and back"
            await leave_to_runs(pilot, app)
            await back(pilot, app)
            assert answer(app).answer == "here and there and back" and "step 41" in str(pane(app).border_subtitle)
    assert [entry["text"] for entry in history(run)] == ["here and there and back"]


def created(run: RunDir) -> float:
    return float(json.loads(run.run_json.read_text())["created"])


@pytest.mark.parametrize(
    "end", ["finished", "stopped", "asked again", "elsewhere", "other run", "trainer gone", "program ended"]
)
async def test_every_prompt_reaches_the_history_however_it_ends(runs: Path, end: str) -> None:
    run, other = write_run(runs, "a-1", step=340), write_run(runs, "b-1", state="finished")
    with trained(run) as model:
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, app, "what", "so far", model=model)
            if end == "finished":
                model.says.put(None)
            elif end == "stopped":
                await pilot.press("escape")
            elif end == "asked again":
                await pilot.press("enter")
            elif end == "elsewhere":
                await leave_to_runs(pilot, app)
                model.says.put(None)
            elif end == "other run":
                app.open_run(other)
                await until(pilot, lambda: app.session.run == other)
                model.says.put(None)
            elif end == "trainer gone":
                model.says.put(RunError("the trainer stopped; resume it"))
            if end != "program ended":
                await until(pilot, lambda: len(history(run)) == 1)
    first = history(run)[0]
    assert (first["prompt"], first["text"]) == ("what", "so far")
    assert first["stop_reason"] == {"finished": "length", "elsewhere": "length", "other run": "length"}.get(
        end, "failed" if end == "trainer gone" else "cancelled"
    )
    assert first["problem"] == ("the trainer stopped; resume it" if end == "trainer gone" else "")
    assert not (other.path / "prompts.jsonl").exists()


async def test_drafts_sliders_and_seed_are_each_runs_own(runs: Path) -> None:
    one, two = write_run(runs, "a-1"), write_run(runs, "b-1")
    app = Workbench(runs, run=one)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        app.show_train("prompt")
        await pilot.pause()
        await pilot.press(*"draft", "tab", "tab", "1", ".", "5", "enter", "tab", "end", "tab", "tab", "tab", *"77")
        assert pane(app).settings().temperature == 1.5 and pane(app).settings().top_k == 0
        seed = pane(app).settings().seed
        app.open_run(two)
        await until(pilot, lambda: app.session.run == two and typed(app) == "")
        assert pane(app).settings().temperature == 0.8
        await leave_to_runs(pilot, app)
        app.open_run(one)
        await until(pilot, lambda: app.session.run == one and isinstance(app.screen, TrainScreen))
        await pilot.pause()
        assert typed(app) == "draft"
        settings = pane(app).settings()
        assert (settings.temperature, settings.top_k, settings.seed) == (1.5, 0, seed)


async def test_what_is_typed_before_the_run_is_there_stays(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        app.session.close()
        app._behind = True
        app._poll()
        app.show_train("prompt")
        await pilot.pause()
        await pilot.press(*"early", "enter")
        assert "no run is open" in on_screen(app)
        app.session.open(RunDir((runs / "ward-notes-nano-1").absolute()))
        await until(pilot, lambda: app.session.view is not None)
        assert typed(app) == "early"


async def test_up_and_down_keep_what_is_being_typed(runs: Path) -> None:
    run = write_run(runs)
    (run.path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": name}) + "\n" for name in ("one", "two")))
    app = Workbench(runs, run=run)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None and len(past(app)) == 2)
        await pilot.press("p", *"half", "up")
        assert typed(app) == "two"
        await pilot.press("up", "up", "down", "down")
        assert typed(app) == "half"
        await pilot.press("down")
        assert typed(app) == "half", "no empty line below it"
        await pilot.press("ctrl+g")
        assert isinstance(app.screen, ChooseScreen)
        await pilot.press(*"one", "enter")
        await pilot.pause()
        assert typed(app) == "one"
        await pilot.press("up")
        assert typed(app) == "half"


async def test_an_error_is_read_whole_and_not_saved(runs: Path) -> None:
    run = write_run(runs, step=340)
    with trained(run) as model:
        app = Workbench(runs, run=run)
        said: list[str] = []
        async with app.run_test(size=(50, 18)) as pilot:
            app._news.add = lambda notice: said.append(notice.text)  # type: ignore[method-assign]
            await ask(pilot, app, "snow", "It ", model=model)
            model.says.put(RunError(LONG))
            await until(pilot, lambda: not pane(app).busy)
            out = answer(app)
            assert out.failed and out.answer == "It "
            out.focus()
            await until(pilot, lambda: app.focused is out and out.max_scroll_y > 0)
            await pilot.press("home")
            await until(pilot, lambda: out.scroll_offset.y == 0)
            seen = ""
            for _ in range(40):
                await pilot.pause()
                seen += " ".join(out.render_line(y).text.strip() for y in range(out.size.height)) + " "
                await pilot.press("pagedown")
            assert "✖ the tokenizer has no token for '\u2603' at character 12;" in " ".join(seen.split())
            assert "train with another." in seen and out.max_scroll_y > 0
            await pilot.press("ctrl+s")
            await until(pilot, lambda: any("nothing is saved" in text for text in said))
            assert not (run.path / "outputs").exists()
            await pilot.press("y")
            assert app.clipboard == "It "


async def test_a_seed_that_is_typed_is_the_one_that_is_used(runs: Path) -> None:
    run = write_run(runs, step=340)
    with trained(run) as model:
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await ask(pilot, app, "first", model=model)
            model.says.put(None)
            await until(pilot, lambda: not pane(app).busy)
            app.screen.query_one("#seed").focus()
            await pilot.press("ctrl+u", *"4711", "enter")
            model.says.put(None)
            await until(pilot, lambda: len(history(run)) == 2)
            assert app.screen.query_one("#seed").value == "4711"
            await pilot.press("ctrl+u", "-", "5", "enter")
            await until(pilot, lambda: answer(app).failed)
            assert "seed must be at least 0, not -5" in " ".join(on_screen(app).split())


async def test_ones_own_prompts_are_kept_and_offered(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None and app.focused is not None)
        await pilot.press("p", *"mine", "ctrl+p", *"keep this", "enter")
        await until(pilot, lambda: own_prompts() == ["mine"])
        await pilot.press("ctrl+u", *"other", "ctrl+g")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and "yours" in on_screen(app))
        await pilot.press(*"mine", "enter")
        await until(pilot, lambda: typed(app) == "mine")


async def test_off_is_typed_into_a_slider_that_has_it(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        app.screen.query_one("#top-k", Slider).focus()
        await pilot.press("o", "f", "f", "enter")
        assert pane(app).settings().top_k == 0
        app.screen.query_one("#top-p", Slider).focus()
        await pilot.press("left", "O", "f", "f", "enter")
        assert pane(app).settings().top_p == 1.0


async def test_a_character_the_tokenizer_never_saw_is_said_where_it_stands(runs: Path) -> None:
    kept = Path(__file__).parents[2] / "kept" / "format-1" / "runs" / "grouped-heads"
    shutil.copytree(kept, runs / "kept")
    app = Workbench(runs, run=RunDir((runs / "kept").absolute()))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session.view is not None and app.focused is not None)
        app.show_train("prompt")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))
        await pilot.press(*"one \u2603", "enter")
        await until(pilot, lambda: answer(app).failed, 60)
        out = answer(app)
        said = " ".join(out.render_line(y).text.strip() for y in range(out.size.height)).strip()
        assert "\u2603" in said and "…" not in said and ";" in said, "what it is, and what may be done"
