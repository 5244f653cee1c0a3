"""Screen 3: two pages of one prompt beside each other, under the curve."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import on_screen, until
from runs_for_tests import TEMPLATE, write_run
from textual.pilot import Pilot

from engine.runs.layout import RunDir
from engine.text.corpus import Corpus
from tui.app import Workbench
from tui.screens.samples.column import Column
from tui.screens.samples.screen import SamplesScreen
from tui.screens.samples.where import WhereScreen
from tui.screens.train.samples import SamplesPane
from tui.state.session import Session
from tui.theme import DARK, LIGHT
from tui.widgets.passage import Passage

Snap = Callable[..., bool]
NOTES = (
    "Subjective: 34 y/o woman here for 3 days. Denies fever.\nObjective: BP 118/74, HR 96.\nPlan: Rest and fluids.\n",
    "Subjective: 34 y/o man here for 3 weeks. Denies fever.\nObjective: BP 122/78, HR 72.\nPlan: Amoxicillin 500 mg.\n",
)


def two_prompts(runs: Path, state: str = "running", copied: int = 60) -> RunDir:
    """A made-up run with samples of two prompts at five checkpoints; the second one's are copied too much."""
    run = write_run(runs, state=state)
    lines = []
    for number, prompt in enumerate(("Pt. complains of headache.", "Pt. has a cough.")):
        for index, step in enumerate(range(100, 501, 100)):
            lines.append(
                {
                    "step": step,
                    "prompt": f"{TEMPLATE['prefix']}{prompt}{TEMPLATE['infix']}",
                    "text": f"{NOTES[index % 2]}page {index + 1} of prompt {number + 1} \x1b[31m",
                    "seed": 1337 + number,
                    "copied": {"length": copied, "start": 12, "checked": 1, "of": 1, "too_much": number > 0},
                }
            )
    lines.sort(key=lambda line: line["step"])
    run.samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


async def shown(pilot: Pilot[Any]) -> SamplesScreen:
    """Screen 3 with its pages, their words compared."""
    app: Any = pilot.app
    await until(pilot, lambda: app.session.view is not None)
    await pilot.press("3")
    await until(pilot, lambda: isinstance(app.screen, SamplesScreen) and app.screen.built)
    await until(pilot, lambda: not app.session.pages.pages or app.session.pages.compared is not None)
    screen: SamplesScreen = app.screen
    screen.update()
    await pilot.pause()
    return screen


def texts(screen: SamplesScreen) -> tuple[str, str]:
    a, b = (screen.query_one(f"#side-{side}", Column).passage.text for side in "ab")
    return a.rsplit("\n", 1)[-1], b.rsplit("\n", 1)[-1]


@pytest.mark.parametrize("theme", [DARK, LIGHT])
@pytest.mark.parametrize("size", [(140, 40), (100, 30), (80, 24)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_pictures(snap_compare: Snap, runs: Path, size: tuple[int, int], theme: str) -> None:
    app = Workbench(runs, run=two_prompts(runs), theme=theme)
    assert snap_compare(app, terminal_size=size, run_before=shown)


@pytest.mark.parametrize("theme", ["tinytui-contrast", "tinytui-ansi"])
def test_pictures_in_other_themes(snap_compare: Snap, runs: Path, theme: str) -> None:
    app = Workbench(runs, run=two_prompts(runs), theme=theme)
    assert snap_compare(app, terminal_size=(80, 24), run_before=shown)


@pytest.mark.parametrize("size", [(39, 11), (20, 5)], ids=["39x11", "20x5"])
def test_small_pictures(snap_compare: Snap, runs: Path, size: tuple[int, int]) -> None:
    assert snap_compare(Workbench(runs, run=two_prompts(runs)), terminal_size=size, run_before=shown)


async def test_keys_turn_the_pages_and_nothing_is_lost_by_leaving(runs: Path) -> None:
    app = Workbench(runs, run=two_prompts(runs))
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await shown(pilot)
        assert texts(screen) == ("page 1 of prompt 1 ␛[31m", "page 5 of prompt 1 ␛[31m")
        assert "Pt. complains of headache." in on_screen(app) and "Input" not in on_screen(app)
        await pilot.press("left", "shift+right", "down")
        await until(pilot, lambda: texts(screen) == ("page 2 of prompt 2 ␛[31m", "page 4 of prompt 2 ␛[31m"))
        assert "! copied 60 of" in on_screen(app)
        await pilot.press("1", "3")
        await until(pilot, lambda: app.screen is screen)
        assert texts(screen) == ("page 2 of prompt 2 ␛[31m", "page 4 of prompt 2 ␛[31m")
        await pilot.press("home")
        await until(pilot, lambda: texts(screen)[1].startswith("page 1"))
        await pilot.press("end")
        await until(pilot, lambda: texts(screen)[1].startswith("page 5"))
        assert app.session.pages.following


async def test_a_new_page_comes_by_itself_while_b_follows(runs: Path) -> None:
    run = two_prompts(runs)
    app = Workbench(runs, run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await shown(pilot)
        record = {
            "step": 600,
            "prompt": json.loads(run.samples.read_text().splitlines()[0])["prompt"],
            "text": "newest",
        }
        with run.samples.open("a") as file:
            file.write(json.dumps(record) + "\n")
        await until(pilot, lambda: texts(screen)[1] == "newest")


async def test_play_goes_through_the_checkpoints_and_stops_when_left(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.samples.screen.PAGE_TIME", 0.01)
    app = Workbench(runs, run=two_prompts(runs))
    async with app.run_test(size=(120, 36)) as pilot:
        screen = await shown(pilot)
        seen: list[int] = []
        step_on = app.session.pages.play_on

        def note() -> None:
            step_on()
            page = app.session.pages.b
            seen.append(page.step if page is not None else 0)

        monkeypatch.setattr(app.session.pages, "play_on", note)
        await pilot.press("space")
        await until(pilot, lambda: not app.session.pages.playing)
        assert seen == [200, 300, 400, 500]
        monkeypatch.setattr("tui.screens.samples.screen.PAGE_TIME", 60.0)
        screen.pages.play()
        await pilot.press("1")
        await until(pilot, lambda: app.screen is not screen)
        assert not app.session.pages.playing


async def test_in_a_narrow_terminal_tab_shows_the_other_column(runs: Path) -> None:
    app = Workbench(runs, run=two_prompts(runs))
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await shown(pilot)
        a, b = (screen.query_one(f"#side-{side}", Column) for side in "ab")
        assert not a.region.area and b.region.area
        await pilot.press("tab")
        await until(pilot, lambda: bool(a.region.area) and not b.region.area and a.has_focus)
        assert "page 1 of prompt 1" in on_screen(app)
        await pilot.resize_terminal(140, 40)
        await until(pilot, lambda: bool(a.region.area) and bool(b.region.area))


async def test_where_a_copied_passage_stands(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "notes.txt"
    corpus.write_text("Something else before.\n" * 400 + "".join(NOTES) + "and after\n" * 400)
    monkeypatch.setattr(Session, "corpus", lambda _: Corpus("notes", path=corpus))
    app = Workbench(runs, run=two_prompts(runs, copied=40))
    async with app.run_test(size=(100, 30)) as pilot:
        await shown(pilot)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, WhereScreen) and "byte" in on_screen(app))
        assert "in notes, byte" in on_screen(app) and "Something else before." in app.screen.query_one(Passage).text
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SamplesScreen))


async def test_without_samples_it_is_said_what_will_be_there(runs: Path) -> None:
    run = two_prompts(runs, state="finished")
    run.samples.write_text("")
    app = Workbench(runs, run=run)
    async with app.run_test(size=(100, 30)) as pilot:
        await shown(pilot)
        assert "this run wrote no samples" in on_screen(app)
        assert "turn B" not in on_screen(app)


async def test_the_first_screen_shows_the_same_prompt(runs: Path) -> None:
    app = Workbench(runs, run=two_prompts(runs))
    async with app.run_test(size=(140, 40)) as pilot:
        await shown(pilot)
        await pilot.press("down", "1")
        await until(pilot, lambda: "prompt 2 of 2" in on_screen(app))
        assert "page 5 of prompt 2" in on_screen(app)


async def press_on(pilot: Pilot[Any], words: str, nth: int = 0) -> None:
    """A click on the first character of what stands on the screen, the `nth` time from above."""
    lines = on_screen(pilot.app).split("\n")  # type: ignore[arg-type]
    found = [(line.index(words), row) for row, line in enumerate(lines) if words in line]
    await pilot.click(offset=found[nth])
    await pilot.pause()


async def test_arrows_and_steps_in_borders_are_clicked(runs: Path) -> None:
    run = two_prompts(runs)
    answers = [{"prompt": "one", "text": text, "settings": {"seed": 3}} for text in ("first", "second")]
    (run.path / "prompts.jsonl").write_text("".join(json.dumps(each) + "\n" for each in answers))
    app = Workbench(runs, run=run)
    async with app.run_test(size=(140, 40)) as pilot:
        screen = await shown(pilot)
        assert "A  ◀ step 100" in on_screen(app) and "B  ◀ step 500" in on_screen(app)
        await press_on(pilot, "◀ step 500")
        await until(pilot, lambda: "B  ◀ step 400" in on_screen(app))
        await press_on(pilot, "▶  val")
        await until(pilot, lambda: "A  ◀ step 200" in on_screen(app))
        await press_on(pilot, "400 ▶")
        screen.update()
        await pilot.pause()
        assert "B  ◀ step 400" in on_screen(app), "a step is no arrow"

        await pilot.press("1")
        await until(pilot, lambda: bool(app.screen.query(SamplesPane)))
        pane = app.screen.query_one(SamplesPane)
        await until(pilot, lambda: pane.step == 500 and "◀" in on_screen(app))
        await press_on(pilot, "◀")
        assert pane.step == 400
        await press_on(pilot, "200 ·")
        assert pane.step == 200
        await press_on(pilot, "▶")
        assert pane.step == 300

        await pilot.press("2")
        await until(pilot, lambda: bool(app.screen.query("#editor")) and app.screen.query_one("#editor").has_focus)
        await pilot.press("up")
        await until(pilot, lambda: "2 of 2 ◀ ▶" in on_screen(app))
        await press_on(pilot, "◀ ▶")
        await until(pilot, lambda: "1 of 2 ◀ ▶" in on_screen(app) and "first" in on_screen(app))
        await press_on(pilot, "default ▾")
        await until(pilot, lambda: "settings of sampling" in on_screen(app))
