"""The workbench at the keyboard: what keys do, where they do nothing, what is remembered and how one leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import FakeTraining, listed, live_run, on_screen, until
from runs_for_tests import write_run

from tui.app import Workbench
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.screens.dialogs.help import HelpScreen
from tui.screens.runs.screen import RunsScreen
from tui.screens.train.loss import LossPane
from tui.screens.train.prompt import PromptPane
from tui.screens.train.promptinput import PromptInput
from tui.screens.train.samples import SamplesPane
from tui.screens.train.screen import GRID, TABS, TINY, TrainScreen, layout_for
from tui.screens.welcome.screen import WelcomeScreen
from tui.state.training import Start
from tui.terminal.signals import Ending
from tui.theme import DARK, LIGHT
from tui.widgets.rows import Rows
from tui.widgets.stream import OutputText

Bench = Callable[..., Workbench]
SIZE = (120, 36)


# -- where one begins


async def test_without_runs_the_first_start_offers_one_key_that_trains(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Workbench(runs)
    jobs: list[Any] = []
    monkeypatch.setattr(app.session, "train", jobs.append)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen))
        await pilot.press("enter")
        await until(pilot, lambda: bool(jobs))
        assert jobs[0].corpus == "soap-notes" and jobs[0].preset == "nano"
        assert isinstance(app.screen, TrainScreen)


async def test_with_runs_their_list_comes_first_and_enter_opens_one(runs: Path) -> None:
    write_run(runs, "a-1")
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen) and app.session.run is not None)
        assert app.session.run.name == "a-1"
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, RunsScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))


async def test_a_run_that_cannot_be_read_is_named_in_one_line(runs: Path) -> None:
    run = write_run(runs, "a-1")
    run.run_json.write_text("{")
    app = Workbench(runs, run=run)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: bool(app.session.problem))
        await until(pilot, lambda: "run.json" in on_screen(app) and "no run is open" in on_screen(app))
        assert "\n" not in app.session.problem and "reading" not in on_screen(app)


async def test_deleting_a_run_asks_first(runs: Path) -> None:
    write_run(runs, "a-1")
    app = Workbench(runs)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: listed(app))
        await pilot.press("x")
        assert isinstance(app.screen, ConfirmScreen)
        await pilot.press("enter")  # the cursor stands on keeping it
        assert (runs / "a-1").is_dir()
        await pilot.press("x", "y")
        await until(pilot, lambda: not (runs / "a-1").exists())


# -- commands


async def test_keys_become_commands_of_the_trainer(runs: Path) -> None:
    run = write_run(runs, step=340)
    with live_run(run) as commands:
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            got: list[dict[str, Any]] = []
            await pilot.press("space", "c", "s", "l")
            assert isinstance(app.screen, AskScreen)
            await pilot.press("ctrl+u", *"3e-4", "enter")
            await until(pilot, lambda: bool(got.extend(commands.drain())) or len(got) == 4)
    assert [command["do"] for command in got] == ["pause", "checkpoint", "sample", "learning_rate"]
    assert got[3]["value"] == 3e-4


async def test_space_resumes_a_paused_run(runs: Path) -> None:
    run = write_run(runs, step=340)
    with live_run(run, "paused") as commands:
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("space")
            got: list[dict[str, Any]] = []
            await until(pilot, lambda: bool(got.extend(commands.drain())) or bool(got))
    assert got[0]["do"] == "resume"


async def test_a_learning_rate_out_of_bounds_is_refused_beside_the_field(bench: Bench) -> None:
    app = bench(state="running", step=340)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.live)
        await pilot.press("l", "ctrl+u", *"11", "enter")
        assert isinstance(app.screen, AskScreen)
        said = app.screen.query_one("#said", Rows)
        await until(pilot, lambda: "at most 10" in said.render_line(0).text)


async def test_commands_of_a_live_run_mean_nothing_on_an_ended_one(bench: Bench) -> None:
    app = bench(state="finished")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        words = [action.label for action in app.keys_here()]
        assert "pause" not in words and "checkpoint" not in words
        await pilot.press("space", "c", "s")
        assert not app.session.notices


async def test_the_palette_does_what_it_lists(bench: Bench) -> None:
    app = bench(state="finished")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.press("ctrl+p", *"dark", "enter")
        await until(pilot, lambda: app.theme == LIGHT)
        await pilot.press("ctrl+p")
        assert isinstance(app.screen, ChooseScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, TrainScreen)


async def test_help_names_the_focused_pane(bench: Bench) -> None:
    app = bench(state="finished")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        app.screen.query_one(SamplesPane).focus_target()
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        assert str(app.screen.query_one("#box").border_title) == "help · samples"
        await pilot.press("escape")
        assert isinstance(app.screen, TrainScreen)


# -- layout


def test_layout_follows_the_size() -> None:
    assert [layout_for(*size) for size in ((140, 40), (120, 30), (100, 30))] == [GRID] * 3
    assert [layout_for(*size) for size in ((95, 40), (80, 24), (40, 12))] == [TABS] * 3
    assert [layout_for(*size) for size in ((39, 24), (80, 11), (20, 5))] == [TINY] * 3


async def test_zoom_fills_the_screen_and_comes_back(bench: Bench) -> None:
    app = bench(state="finished")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        pane = app.screen.query_one(LossPane)
        small = pane.size
        await pilot.press("z")
        await pilot.pause()
        assert pane.outer_size == (120, 34)
        await pilot.press("z")
        await pilot.pause()
        assert pane.size == small
        app.show_train("prompt")
        await until(pilot, lambda: app.screen.query_one(PromptPane).outer_size == (120, 34))
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert app.screen.query_one(LossPane).size == small


async def test_a_smaller_terminal_shows_one_pane_and_tab_turns_to_the_next(bench: Bench) -> None:
    app = bench(state="finished")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert [pane.id for pane in app.screen.query("Pane") if pane.region.area] == ["loss"]
        app.screen.show_pane("device", alone=False)
        await pilot.pause()
        assert [pane.id for pane in app.screen.query("Pane") if pane.region.area] == ["device"]
        await pilot.press("tab")
        await pilot.pause()
        assert [pane.id for pane in app.screen.query("Pane") if pane.region.area] == ["samples"]
        await pilot.resize_terminal(*SIZE)
        await pilot.pause()
        assert len([pane for pane in app.screen.query("Pane") if pane.region.area]) == 4


@pytest.mark.parametrize("size", [(20, 5), (30, 8), (39, 11), (8, 2)])
async def test_step_and_loss_remain_in_the_smallest_terminal(bench: Bench, size: tuple[int, int]) -> None:
    app = bench(state="running", step=340)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.pause()
        shown = "\n".join("".join(segment.text for segment in line) for line in app.screen._compositor.render_strips())
        assert "340" in shown or size[0] < 20
        assert "1.0" in shown or size[1] < 3


@pytest.mark.parametrize("width", [8, 20, 34, 42, 64, 130])
@pytest.mark.parametrize("height", [1, 2, 5, 12, 30])
def test_the_device_pane_keeps_within_its_room(width: int, height: int) -> None:
    from tui.screens.train.device import Device, device_rows
    from tui.state.summary import Latest
    from tui.text import width_of

    now = Latest("running", "", 340, 500, 1.2, 0.01, 0.4, 3e4, 4e8, 1e6, 1.3, 300, 1.8, 1.3, 300, 12.0, 4.0)
    device = Device(now=now, memory={"weights": 10**7}, peak=10**9, params=10**6, train_tokens=10**6, eval_s=3.0)
    rows = device_rows(device, width, height)
    assert len(rows) <= height and all(width_of(row) <= width for row in rows)
    text = "\n".join("".join(part for part, _ in row) for row in rows)
    assert "1.2000" in text or width < 20
    assert "…" not in text or width < 34, "no figure is cut"


# -- samples


async def test_samples_turn_and_follow(runs: Path) -> None:
    run = write_run(runs, state="finished")
    app = Workbench(runs, run=run)

    def write(step: int) -> None:
        with run.samples.open("a") as file:
            file.write(json.dumps({"step": step, "prompt": prompt, "text": "newer"}) + "\n")

    prompt = json.loads(run.samples.read_text().splitlines()[0])["prompt"]
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        pane = app.screen.query_one(SamplesPane)
        await until(pilot, lambda: pane.step == 500)
        pane.focus_target()
        await pilot.press("left", "left")
        assert pane.step == 300 and not pane.following
        write(600)
        await until(pilot, lambda: len(app.session.view.samples) == 6)
        assert pane.step == 300  # the reader turned back: what is new does not pull the page away
        await pilot.press("end")
        assert pane.step == 600 and pane.following
        write(700)
        await until(pilot, lambda: pane.step == 700)


# -- the prompt


async def test_a_prompt_streams_from_the_live_weights_and_is_kept(runs: Path) -> None:
    run = write_run(runs, step=340)
    with live_run(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("p", *"quit c", "alt+enter", "s")
            assert isinstance(app.screen, TrainScreen) and isinstance(app.focused, PromptInput)
            assert app.focused.text == "quit c\ns"  # letters are text here, not keys of the workbench
            await pilot.press("enter")
            output = app.screen.query_one("#answer", OutputText)
            pane = app.screen.query_one(PromptPane)
            await until(pilot, lambda: not pane.busy and bool(output.answer))
            assert output.answer == "<### Input:\nquit c\ns\n### Output:\n> ␛]0;title␇[red]well[/red]"
            shown = "".join(segment.text for line in range(output.size.height) for segment in output.render_line(line))
            assert "\x1b" not in shown and "[red]" in shown
    kept = json.loads((run.path / "prompts.jsonl").read_text().splitlines()[-1])
    assert kept["prompt"] == "quit c\ns" and kept["step"] == 41 and kept["templated"] is True
    assert kept["settings"]["temperature"] == 0.8 and isinstance(kept["settings"]["seed"], int)


async def test_escape_stops_a_prompt_and_what_was_written_stays(runs: Path) -> None:
    run = write_run(runs, step=340)
    with live_run(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("p", *"for ever", "enter")
            output, pane = app.screen.query_one("#answer", OutputText), app.screen.query_one(PromptPane)
            await until(pilot, lambda: "for ever" in output.answer)
            await pilot.press("escape")
            await until(pilot, lambda: not pane.busy)
            assert "for ever" in output.answer


async def test_history_is_recalled_with_its_settings(runs: Path) -> None:
    run = write_run(runs, state="finished")
    entry = {
        "prompt": "old one", "text": "old answer", "source": "best", "step": 300, "templated": False,
        "settings": {"temperature": 1.25, "top_k": 7, "top_p": 0.5, "max_tokens": 33, "seed": 99},
    }  # fmt: skip
    (run.path / "prompts.jsonl").write_text("{torn\n" + json.dumps(entry) + "\n")
    app = Workbench(runs, run=run)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.press("p")
        pane = app.screen.query_one(PromptPane)
        await until(pilot, lambda: pane.talk.history is not None and bool(pane.talk.history.entries))
        await pilot.press("up")
        assert app.screen.query_one("#ask", PromptInput).text == "old one"
        assert app.screen.query_one("#answer", OutputText).answer == "old answer"
        settings = pane.settings()
        assert (settings.temperature, settings.top_k, settings.top_p) == (1.25, 7, 0.5)
        assert (settings.max_tokens, settings.seed) == (33, 99)
        await pilot.press("down")
        assert app.screen.query_one("#ask", PromptInput).text == ""


async def test_an_ended_run_is_asked_at_its_best_checkpoint_and_an_error_is_said_whole(bench: Bench) -> None:
    app = bench(state="finished")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        pane = app.screen.query_one(PromptPane)
        assert pane.source == "best"
        await pilot.press("p", *"hello", "enter")  # the made-up checkpoints hold nothing
        await until(pilot, lambda: not pane.busy, 30)
        output = app.screen.query_one("#answer", OutputText)
        shown = "".join(output.render_line(y).text.rstrip() for y in range(output.size.height))
        assert output.failed and "checkpoint" in shown and shown.startswith("✖")
        await pilot.press("ctrl+s")
        assert not (app.session.run.path / "outputs").exists()
        await until(pilot, lambda: any("nothing is saved" in toast.message for toast in app._notifications))


async def test_the_output_is_saved_as_text(runs: Path) -> None:
    run = write_run(runs, step=340)
    with live_run(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("p", *"note", "enter")
            pane = app.screen.query_one(PromptPane)
            await until(pilot, lambda: not pane.busy and bool(app.screen.query_one("#answer", OutputText).answer))
            await pilot.press("ctrl+s", "ctrl+s")
    assert sorted(path.name for path in (run.path / "outputs").iterdir()) == ["0001.txt", "0002.txt"]
    assert "note" in (run.path / "outputs" / "0001.txt").read_text()


# -- leaving


@pytest.mark.parametrize(
    ("keys", "ending"), [(["q", "s"], Ending.STOP), (["q", "d"], Ending.DETACH), (["ctrl+c", "s"], Ending.STOP)]
)
async def test_quitting_while_this_process_trains_asks(runs: Path, keys: list[str], ending: Ending) -> None:
    run = write_run(runs, state="running", step=340)
    app = Workbench(runs, run=run)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        app.session.training = FakeTraining(run)
        await pilot.press("q")
        assert isinstance(app.screen, ConfirmScreen)
        await pilot.press("escape")
        assert isinstance(app.screen, TrainScreen) and app.return_value is None
        await pilot.press(*keys)
        await pilot.pause()
    assert app.return_value is ending


async def test_quitting_without_training_just_leaves(bench: Bench) -> None:
    app = bench(state="running", step=340)  # trained by another process
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.press("q")
    assert app.return_value is Ending.LEAVE


async def test_a_second_training_in_one_process_is_refused(runs: Path) -> None:
    from engine.preset_files import load_preset

    run = write_run(runs, state="running", step=340)
    app = Workbench(runs, run=run)
    said: list[str] = []
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        app.session.training = FakeTraining(run)
        app.say = lambda notice: said.append(notice.text)  # type: ignore[method-assign]
        app.train(Start("x", load_preset("nano"), "nano"))
    assert "trains in this process" in said[0]


async def test_the_theme_is_remembered(bench: Bench, tmp_path: Path) -> None:
    app = bench(state="finished")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        assert app.theme == DARK
        await pilot.press("t")
    assert Workbench(Path("runs")).theme == LIGHT
    (tmp_path / "config" / "tinytui" / "settings.json").write_text("{damaged")
    damaged = Workbench(Path("runs"))
    assert damaged.theme == DARK and not damaged.session.keeps_last, "what a person may mend is not replaced"


async def test_nothing_is_repainted_while_nothing_changes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    app = bench(state="finished")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        for _ in range(5):
            app._poll()
            await pilot.pause()
        painted: list[Any] = []
        show = app._display
        monkeypatch.setattr(
            app, "_display", lambda screen, renderable: (painted.append(renderable), show(screen, renderable))
        )
        for _ in range(10):
            app._poll()
            await pilot.pause(0.01)
    assert painted == []


async def test_no_thread_of_the_screen_outlives_it(runs: Path) -> None:
    before = set(threading.enumerate())
    run = write_run(runs, step=340)
    with live_run(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: app.session.live)
            await pilot.press("p", *"for ever", "enter")
            pane = app.screen.query_one(PromptPane)
            await until(pilot, lambda: pane.busy)
    left = [thread for thread in set(threading.enumerate()) - before if not thread.daemon]
    assert left == []


async def test_names_from_outside_cannot_drive_the_terminal(runs: Path) -> None:
    run = write_run(runs, state="failed", step=100, problem="\x1b]0;x\x07[bold]bad[/bold]", device="\x1b[31mcpu")
    info = json.loads(run.run_json.read_text())
    info["corpus"]["name"] = "\x1b[2J[red]corpus"
    run.run_json.write_text(json.dumps(info))
    app = Workbench(runs, run=run)
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        await pilot.pause()
        strips = app.screen._compositor.render_strips()
        shown = "".join(segment.text for line in strips for segment in line)
        assert "\x1b" not in shown and "[bold]bad[/bold]" in shown
