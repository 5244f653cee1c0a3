"""Which run is shown: from the key on the one that was asked for, or none; in whatever order reads begin and end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import FakeTraining, listed, live_run, on_screen, until
from runs_for_tests import write_run
from textual.pilot import Pilot

from engine.preset_files import load_preset
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.status import overview
from tui.app import Workbench
from tui.screens.runs.lines import columns_for, line
from tui.screens.runs.preview import Overlay, RunPreview
from tui.screens.runs.screen import RunsScreen
from tui.screens.train.device import DevicePane, DeviceView
from tui.screens.train.loss import LossPane
from tui.screens.train.samples import SamplesPane
from tui.screens.train.screen import LIVE_ONLY, TrainScreen
from tui.state.reading import Follower, Look
from tui.state.runstable import in_order
from tui.state.session import Session
from tui.state.training import Resume, Start
from tui.state.worker import Ticket
from tui.text import width_of
from tui.widgets.plot import LossPlot
from tui.widgets.rows import Rows

SIZE = (120, 36)


class Gates:
    """Reads of runs that end when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self._open: dict[str, threading.Event] = {}
        self.ended: list[str] = []
        real = Follower.look

        def look(follower: Follower, ticket: Ticket) -> Look | None:
            if follower._reader is not None:
                return real(follower, ticket)
            self.begun.append(follower.run.name)
            self.gate(follower.run.name).wait(60)
            try:
                return real(follower, ticket)
            finally:
                self.ended.append(follower.run.name)

        monkeypatch.setattr(Follower, "look", look)

    def gate(self, name: str) -> threading.Event:
        return self._open.setdefault(name, threading.Event())

    def let(self, name: str, session: Session) -> None:
        """Let the reads of `name` end, and the session see it."""
        self.gate(name).set()
        deadline = time.monotonic() + 60
        while self.begun.count(name) > self.ended.count(name) or session.opening == name:
            assert time.monotonic() < deadline
            session.poll()
            time.sleep(0.002)
        session.poll()


def settle(session: Session) -> None:
    """Wait for what is being opened."""
    deadline = time.monotonic() + 60
    session.poll()
    while session.opening:
        assert time.monotonic() < deadline
        session.poll()
        time.sleep(0.002)


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gates]:
    made = Gates(monkeypatch)
    yield made
    for gate in made._open.values():
        gate.set()


def damage(run: RunDir) -> RunDir:
    run.run_json.write_text("{")
    return run


# -- the rule, without a screen


@pytest.mark.parametrize("ends", list(permutations("ABC")), ids="".join)
@pytest.mark.parametrize("broken", ["", "B", "C", "BC"])
def test_the_run_asked_for_last_is_shown_in_whatever_order_reads_end(
    runs: Path, gates: Gates, ends: tuple[str, ...], broken: str
) -> None:
    found = {name: write_run(runs, name, step=3) for name in "ABC"}
    for name in broken:
        damage(found[name])
    session = Session(runs, None)
    for name in "ABC":
        session.open(found[name])
        assert session.opening == name and session.run is None and session.view is None
    for name in ends:
        gates.let(name, session)
        if name != "C" and session.opening:
            assert (session.opening, session.run, session.problem) == ("C", None, "")
    assert session.opening == ""
    if "C" in broken:
        assert session.run is None and session.view is None and "run.json" in session.problem
    else:
        assert session.run is not None and session.view is not None
        assert session.run.name == session.view.run.name == "C" and session.problem == ""


@pytest.mark.parametrize("then", ["A", "broken"])
def test_a_run_asked_for_twice_is_read_anew_and_the_first_read_is_nobody_s(runs: Path, gates: Gates, then: str) -> None:
    found = {name: write_run(runs, name, step=3) for name in ("A", "broken")}
    damage(found["broken"])
    session = Session(runs, None)
    session.open(found["A"])
    session.open(found["broken"])
    session.open(found[then])
    gates.let("A", session)
    assert session.run is (None if then == "broken" else session.view and session.view.run)
    gates.let("broken", session)
    assert bool(session.problem) is (then == "broken")


def test_a_training_that_does_not_begin_shows_the_run_it_was_to_go_on_with(runs: Path) -> None:
    run = write_run(runs, "done", step=500)
    session = Session(runs, None)
    session.open(run)
    settle(session)
    run.status_json.write_text(json.dumps({"state": "finished", "step": 10**6, "steps": 10**6}))
    session.train(Resume(run))  # all its steps are made
    deadline = time.monotonic() + 60
    while session.starting is not None and not session.problem:
        assert time.monotonic() < deadline
        session.poll()
        time.sleep(0.01)
    assert "--steps" in session.problem and "\n" not in session.problem
    settle(session)
    assert session.run is not None and session.run.path == run.path
    session.close()
    assert session.problem == ""


def test_a_training_s_run_is_shown_once_and_never_over_one_asked_for_since(runs: Path) -> None:
    shown, trained = write_run(runs, "shown", step=3), write_run(runs, "trained", step=3)
    session = Session(runs, None)
    training: Any = FakeTraining(trained)
    session.training = session._to_show = training
    session.open(shown)
    settle(session)
    training.host, training.begun = object(), True
    session.poll()
    assert session.run == shown
    session.open(damage(write_run(runs, "broken", step=3)))
    settle(session)
    assert session.run is None and "broken" in session.problem  # not the training's, which nobody asked for
    session.close()  # deleted: then it is the training's
    settle(session)
    settle(session)
    assert session.run == trained
    training.alive = False
    session.close()
    session.poll()
    assert session.run is None and session.empty


# -- on the screen


async def open_from_list(app: Workbench, pilot: Pilot[Any], name: str) -> None:
    """Open the run of that name as a person does."""
    if not isinstance(app.screen, RunsScreen):
        await pilot.press("r")
    await until(pilot, lambda: listed(app) and name in [line.facts["name"] for line in app.screen.table.lines])
    names = [line.facts["name"] for line in app.screen.table.lines]
    await pilot.press("home", *["down"] * names.index(name), "enter")
    await until(pilot, lambda: isinstance(app.screen, TrainScreen))


def what_is_of(app: Workbench, run: RunDir) -> list[str]:
    """Everything by which `run` could still be seen or reached."""
    screen, session = app.screen, app.session
    found = [where for where, text in (("name", on_screen(app)),) if run.name in text]
    if any(len(one.steps) for one in screen.query_one(LossPlot).data.series):
        found.append("curve")
    if screen.query_one(SamplesPane).step is not None:
        found.append("samples")
    if screen.query_one(DevicePane).query_one(DeviceView)._device.params is not None:
        found.append("device")
    if session.run is not None or session.view is not None or session.live or session.own:
        found.append("session")
    found += [action.do for action in app.keys_here() if action.do in (*LIVE_ONLY, "stop", "detach", "resume")]
    return found


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (30, 10)], ids=["grid", "tabs", "tiny"])
@pytest.mark.parametrize("fails", [False, True], ids=["opens", "fails"])
async def test_from_the_key_on_nothing_of_the_run_before_is_there(
    runs: Path, gates: Gates, size: tuple[int, int], fails: bool
) -> None:
    first, second = write_run(runs, "zebra", step=340), write_run(runs, "other", step=200)
    gates.gate("zebra").set()
    with live_run(first) as commands:
        app = Workbench(runs, run=first)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("+", "+")
            if fails:
                damage(second)
            app.open_run(second)
            await until(pilot, lambda: "reading" in on_screen(app) and "other" in on_screen(app))
            assert what_is_of(app, first) == []
            await pilot.press("space", "c", "s", "l", "x", "d", "u")
            assert isinstance(app.screen, TrainScreen)
            gates.gate("other").set()
            if fails:
                await until(pilot, lambda: "run.json" in on_screen(app))
                assert what_is_of(app, first) == [] and "reading" not in on_screen(app)
                await pilot.press("space", "c", "s", "l", "x", "d", "u")
                assert isinstance(app.screen, TrainScreen)
                await pilot.press("r")
                await until(pilot, lambda: listed(app))
            else:
                await until(pilot, lambda: app.session.run == second)
                await pilot.pause()
                assert "zebra" not in on_screen(app)
                if size[0] >= 80:
                    assert app.screen.query_one(LossPlot).data.last_step == 200
        assert commands.drain() == []


async def test_another_run_can_be_chosen_while_one_is_read_for_ever(runs: Path, gates: Gates) -> None:
    write_run(runs, "slow", step=3)
    write_run(runs, "quick", step=3)
    gates.gate("quick").set()
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        await open_from_list(app, pilot, "slow")
        await until(pilot, lambda: "reading" in on_screen(app))
        await open_from_list(app, pilot, "quick")
        await until(pilot, lambda: app.session.run is not None and app.session.run.name == "quick")
        gates.gate("slow").set()
        await until(pilot, lambda: "slow" in gates.ended)
        assert app.session.run is not None and app.session.run.name == "quick"


@pytest.mark.parametrize("size", [(140, 40), (100, 30), (80, 24)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_why_a_run_cannot_be_shown_is_said_whole(runs: Path, size: tuple[int, int]) -> None:
    write_run(runs, "good", step=3)
    broken = damage(write_run(runs, "broken", step=3))
    app = Workbench(runs)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: listed(app))
        app.open_run(broken)
        await until(pilot, lambda: isinstance(app.screen, TrainScreen) and "no run is open" in on_screen(app))
        pane = app.screen.query_one(LossPane)
        rows = pane.query_one("#problem", Rows)

        def said() -> str:
            return "".join("".join(rows.render_line(y).text.split()[y == 0 :]) for y in range(rows.size.height))

        await until(pilot, lambda: said() == "".join(app.session.problem.split()))


async def test_a_run_that_breaks_while_it_is_shown_is_named_and_let_go(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(runs, "a-1", step=30)
    app = Workbench(runs, run=run)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)

        def broken() -> bool:
            raise TypeError("damage that nobody thought of")

        monkeypatch.setattr(RunReader, "poll", lambda _: broken())
        await until(pilot, lambda: "no run is open" in on_screen(app))
        assert "a-1: this is a bug: TypeError: damage that nobody thought of" in app.session.problem
        assert app.session.run is None


async def test_a_broken_run_is_read_once_while_the_cursor_rests_on_it(runs: Path, gates: Gates) -> None:
    damage(write_run(runs, "broken", step=3))
    write_run(runs, "good", step=3)
    for name in ("broken", "good"):
        gates.gate(name).set()
    app = Workbench(runs)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: listed(app))
        names = [line.facts["name"] for line in app.screen.table.lines]
        preview = app.screen.query_one(RunPreview)
        await pilot.press("home", *["down"] * names.index("broken"))
        await until(pilot, lambda: "run.json" in str(preview.border_subtitle))
        for _ in range(30):
            app._poll()
            await pilot.pause()
        assert gates.begun.count("broken") == 1
        await pilot.press("up" if names.index("good") < names.index("broken") else "down")
        assert "run.json" not in str(preview.border_subtitle)  # of the run before nothing stays
        await until(pilot, lambda: preview.shown is not None and preview.shown.name == "good")


def test_a_run_is_held_once_however_many_look_at_it(runs: Path) -> None:
    one, two = write_run(runs, "one", step=3), write_run(runs, "two", step=3)
    session = Session(runs, None)
    session.open(one)
    settle(session)
    overlay, ticket = Overlay([one, two], session), Ticket("", len, len, len)
    looks = overlay.look(ticket)
    assert looks is not None and looks[0] is session.look and looks[1].view.run == two
    assert list(overlay._followers) == [two] and overlay.look(ticket) is None
    session.open(two)
    settle(session)
    looks = overlay.look(ticket)
    assert looks is not None and looks[1] is session.look and looks[0].view.run == one
    assert list(overlay._followers) == [one] and overlay.look(ticket) is None
    session.end()


def test_nothing_is_read_for_curves_that_nobody_sees(runs: Path) -> None:
    run, session = write_run(runs, "one", step=3), Session(runs, None)
    preview, ticket = RunPreview(session), Ticket("", len, len, len)
    overlay = Overlay([run], session)
    preview._rested += 1  # a poll, as comes while the screen is shown
    assert preview._look(overlay, ticket) is not None
    with run.events.open("ab") as file:
        file.write(b'{"step":3,"kind":"noted"}\n')
    assert preview._look(overlay, ticket) is None
    preview._rested += 1
    assert preview._look(overlay, ticket) is not None
    session.end()


def test_what_happens_is_told_once_however_little_of_it_is_held(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runs.reader.MAX_VIEWED", 2)
    run = write_run(runs, "one", step=3)
    follower, ticket = Follower(run), Ticket("", len, len, len)

    def told(*steps: int) -> list[int]:
        with run.events.open("ab") as file:
            file.writelines(b'{"step":%d,"kind":"noted"}\n' % step for step in steps)
        look = follower.look(ticket)
        assert look is not None
        return [event["step"] for event in look.events]

    assert told(4, 5, 6) == [], "of before"
    assert told(7) == [7] and told(8, 9) == [8, 9] and told(10, 11, 12) == [11, 12] and told(13) == [13]


async def test_a_new_run_is_seen_whole_whatever_was_zoomed_into_before(runs: Path) -> None:
    first, second = write_run(runs, "a-1", step=500), write_run(runs, "a-2", step=40)
    app = Workbench(runs, run=first)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        plot = app.screen.query_one(LossPlot)
        await pilot.press("+", "+", "+")
        assert plot.view.window is not None
        app.open_run(second)
        await until(pilot, lambda: plot.data.last_step == 40)
        assert plot.view.window is None
        await pilot.pause()
        drawn = "\n".join("".join(text for text, _ in row) for row in plot.paint(*plot.size))
        assert any(0x2800 < ord(character) < 0x2900 for character in drawn)


async def test_a_run_begun_anew_under_a_zoom_is_seen_whole(runs: Path) -> None:
    run = write_run(runs, "a-1", step=500)
    app = Workbench(runs, run=run)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        plot = app.screen.query_one(LossPlot)
        await pilot.press("+", "+")
        lines = run.metrics.read_bytes().splitlines(keepends=True)
        info = json.loads(run.run_json.read_text())
        info["config"]["train"]["max_steps"] = 20
        run.run_json.write_text(json.dumps(info))
        run.status_json.write_text(json.dumps({"state": "stopped", "step": 20, "steps": 20}))
        run.metrics.unlink()
        run.metrics.write_bytes(b"".join(lines[:20]))
        await until(pilot, lambda: plot.data.last_step == 20)
        assert plot.view.window is None


async def test_a_training_that_cannot_begin_says_so_and_lets_go(runs: Path) -> None:
    write_run(runs, "a-1", step=3)
    app = Workbench(runs, start=Start("no-such-corpus", load_preset("nano"), "nano"))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: bool(app.session.problem), 60)
        await until(pilot, lambda: "no-such-corpus" in on_screen(app) and "n starts a new one" in on_screen(app))
        assert app.session.training is None and app.session.run is None


# -- damage of any kind stays the damaged run's own

ODD: tuple[Any, ...] = (None, -1, "x", [], {"a": 1})
PLACES = (
    ("run.json", "corpus"),
    ("run.json", "config"),
    ("run.json", "tokenizer"),
    ("run.json", "template"),
    ("run.json", "created"),
    ("status.json", "state"),
    ("status.json", "step"),
    ("status.json", "steps"),
    ("status.json", "heartbeat"),
    ("status.json", "memory"),
    ("status.json", "learning_rate"),
    ("status.json", "best_val_step"),
    ("samples.jsonl", "step"),
    ("samples.jsonl", "text"),
    ("samples.jsonl", "settings"),
    ("events.jsonl", "kind"),
    ("events.jsonl", "step"),
)


async def test_a_value_of_a_wrong_type_breaks_neither_the_screen_nor_another_run(runs: Path) -> None:
    good, odd = write_run(runs, "good", step=20), write_run(runs, "odd", step=100)
    app = Workbench(runs, run=good)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.session.run == good)
        screen = app.screen
        assert isinstance(screen, TrainScreen)
        for number, (file, key) in enumerate(PLACES):
            path = odd.path / file
            before = path.read_text()
            for value in (ODD[number % len(ODD)], ODD[(number + 2) % len(ODD)]):  # all of them: tests/faults
                if file.endswith(".jsonl"):
                    *lines, last = before.splitlines()
                    path.write_text("\n".join([*lines, json.dumps({**json.loads(last), key: value})]) + "\n")
                else:
                    path.write_text(json.dumps({**json.loads(before), key: value}))
                app.session.open(odd)
                await until(pilot, lambda: not app.session.opening)
                assert (app.session.run is None) == bool(app.session.problem), app.session.problem
                assert "this is a bug" not in app.session.problem, (file, key, value)
                screen.update()
                facts = [overview(run) for run in (good, odd)]
                assert all(width_of(line(each, columns_for(118))) <= 118 for each in in_order(facts))
                app.session.open(good)
                await until(pilot, lambda: app.session.run == good)
                screen.update()
            path.write_text(before)
