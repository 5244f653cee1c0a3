"""Screen 5: one text in five views, walked by keys; what is on it is what the engine computed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import live_run, on_screen, until
from runs_for_tests import write_run
from textual import events
from textual.pilot import Pilot

from engine.inspect.layers import logit_lens
from engine.inspect.losses import joined, text_losses
from engine.inspect.subject import open_held_out, open_subject
from engine.runs.layout import RunDir
from tui.app import Workbench
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.inspect.attention import HeadMap, Wall
from tui.screens.inspect.dialogues import TypeScreen, WorstScreen
from tui.screens.inspect.lens import LensTable
from tui.screens.inspect.parts import PARTS
from tui.screens.inspect.screen import InspectScreen
from tui.screens.inspect.tint import SHADES, heat
from tui.screens.inspect.tokenmap import TokenMap
from tui.screens.prompt.editor import Editor
from tui.screens.train.screen import TrainScreen
from tui.state.inspector import JOBS, VIEWS, Inspector
from tui.theme import ANSI, CONTRAST, DARK, LIGHT
from tui.widgets.menu import Menu
from tui.widgets.pane import Pane

KEPT = Path(__file__).parents[2] / "kept" / "format-1"


def keep(runs: Path, name: str = "grouped-heads") -> RunDir:
    """A run that was trained for a few steps, its corpus found again."""
    run = RunDir((runs / name).absolute())
    shutil.copytree(KEPT / "runs" / name, run.path)
    info = json.loads(run.run_json.read_text())
    info["corpus"]["path"] = str(KEPT / "corpora" / "kept.txt")
    run.run_json.write_text(json.dumps(info))
    return run


def another_checkpoint(run: RunDir, step: int, **state: Any) -> None:
    """The one there is once more, as of another step."""
    path = run.checkpoint(step)
    shutil.copytree(run.checkpoint(run.checkpoint_steps()[0]), path)
    state = json.loads((path / "state.json").read_text()) | {"step": step, **state}
    (path / "state.json").write_text(json.dumps(state))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["step"], manifest["sha256"]["state.json"] = step, sha256((path / "state.json").read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def kept(runs: Path) -> RunDir:
    return keep(runs)


def screen(app: Workbench) -> InspectScreen:
    assert isinstance(app.workplace, InspectScreen)
    return app.workplace


def inspector(app: Workbench) -> Inspector:
    found = app.session.inspector
    assert found is not None
    return found


def rested(app: Workbench) -> bool:
    """Whether everything that was asked for is there."""
    return not any(app.session.works.asked(job) for job in JOBS)


async def go(pilot: Pilot[Any], app: Workbench) -> InspectScreen:
    """To screen 5, when the run is read, and looked into."""
    await until(pilot, lambda: app.session.view is not None)
    app.action_go("inspect")
    await until(pilot, lambda: isinstance(app.screen, InspectScreen))
    await until(pilot, lambda: bool((inspector(app).read or inspector(app).problem) and rested(app)), 30)
    await pilot.pause()
    return screen(app)


async def settle(pilot: Pilot[Any], app: Workbench) -> None:
    await pilot.pause()
    await until(pilot, lambda: rested(app), 30)
    screen(app).update()
    await pilot.pause()


async def test_the_loss_of_a_text_is_walked_token_by_token(kept: RunDir, runs: Path) -> None:
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(140, 40)) as pilot:
        here = await go(pilot, app)
        subject = open_subject(kept, "best")
        ids = open_held_out(kept, subject.tokenizer).passage(0, 1024)
        losses = joined(list(text_losses(subject.model, ids)))
        tokens = here.query_one(TokenMap)
        assert app.focused is tokens
        await pilot.press("right", "right", "down", "up", "down")
        place = inspector(app).cursor
        assert place > 3
        at = place - 1
        seen = on_screen(app)
        assert f"loss {losses.loss[at]:.4f}" in seen and f"rank {losses.rank[at]}" in seen
        assert subject.tokenizer.token_label(int(losses.top[at, 0])) in seen
        assert f"{losses.mean:.4f}" in seen and f"{losses.bits_per_byte(subject.tokenizer):.3f} bits a byte" in seen
        assert tokens._tint(place + 1)[0] == heat(float(losses.loss[at + 1]))
        await pilot.press("end")
        assert inspector(app).cursor == len(ids) - 1
        await pilot.press("home", "pagedown", "pageup", "home")
        assert inspector(app).cursor == 0 and "nothing stands before it" in on_screen(app)


async def test_each_view_shows_what_the_engine_says(kept: RunDir, runs: Path) -> None:
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(140, 40)) as pilot:
        here = await go(pilot, app)
        await pilot.press(*["right"] * 9, "a")
        await settle(pilot, app)
        part = inspector(app).part("attention")
        assert part is not None and part.maps is not None and inspector(app).view == "attention"
        assert here.query_one(Wall).part is part and here.query_one(HeadMap).cursor == 10
        here.query_one(Wall).focus()
        await pilot.press("right", "down")
        assert (inspector(app).layer, inspector(app).head) == (0, 1) and "layer 1, head 2" in on_screen(app)
        row = part.maps.weights[0, 1, 10]
        assert f"{100 * row.max():.1f}%" in on_screen(app)
        here.query_one(HeadMap).focus()
        await pilot.press("down", "up", "up")
        assert inspector(app).cursor == 9

        await pilot.press("e")
        await settle(pilot, app)
        text = inspector(app).text
        assert text is not None and app.focused is here.query_one(TokenMap)
        lens = logit_lens(open_subject(kept, "best").model, text.ids[:16])
        assert lens is not None
        here.query_one(LensTable).focus()
        await pilot.press("right", "left", "down")
        assert inspector(app).lens_layer == len(lens.token) - 2
        at = len(lens.token) - 2, 9
        said = f"{text.label(int(lens.token[at]))} {100 * lens.probability[at]:.1f}%"
        assert said in " ".join(on_screen(app).split())

        await pilot.press("o")
        await settle(pilot, app)
        token = inspector(app).token
        assert token is not None and len(token.neighbours) == 12 and "nearest in the embedding" in on_screen(app)
        assert f"{token.neighbours[0].similarity:.2f}" in on_screen(app)
        await pilot.press("d")
        await until(pilot, lambda: "not trained yet" in on_screen(app))
        assert isinstance(app.focused, Menu)
        await pilot.press("down", "down")
        await until(pilot, lambda: "four heads" in on_screen(app) and "--preset multi-head" in on_screen(app))


async def test_merges_of_a_bpe_are_shown(runs: Path) -> None:
    run = keep(runs, "muon-bpe")
    app = Workbench(runs, run=run)
    async with app.run_test(size=(140, 40)) as pilot:
        await go(pilot, app)
        text = inspector(app).text
        assert text is not None
        inspector(app).go(next(at for at, id in enumerate(text.ids) if len(text.tokenizer.token_bytes(int(id))) >= 3))
        await pilot.press("o")
        await settle(pilot, app)
        assert "merged from" in on_screen(app)


async def test_another_text_worst_typed_and_back(kept: RunDir, runs: Path) -> None:
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(120, 36)) as pilot:
        await go(pilot, app)
        await pilot.press("minus", "minus")
        await settle(pilot, app)
        await pilot.press("g")
        await settle(pilot, app)
        passages = inspector(app).text.passages  # type: ignore[union-attr]
        assert inspector(app).source.number == 1 and f"held-out passage 2 of {passages}" in on_screen(app)
        await pilot.press("G")
        await settle(pilot, app)
        assert inspector(app).source.number == 0
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, WorstScreen))
        await until(pilot, lambda: bool(app.screen.query_one(Menu).items) and rested(app))
        worst = inspector(app).worst
        assert worst is not None and worst.looked_at == worst.wanted
        await until(pilot, lambda: all(f"{each.loss:.4f}" in on_screen(app) for each in worst.passages))
        menu = app.screen.query_one(Menu)
        await pilot.press("down", "down")
        texts = inspector(app).worst_texts
        for less in (replace(worst, passages=worst.passages[1:]), worst):  # a worse one is found while one looks
            inspector(app).worst, inspector(app).worst_texts = less, texts[-len(less.passages) :]
            await until(pilot, lambda less=less: len(menu.items) == len(less.passages))  # type: ignore[misc]
            assert menu.cursor == less.passages.index(worst.passages[2]), "the cursor is a passage, not a line"
        await pilot.press("up", "enter")
        await until(pilot, lambda: isinstance(app.screen, InspectScreen))
        await settle(pilot, app)
        assert inspector(app).source.passage == worst.passages[1] and "one of the worst" in on_screen(app)
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, TypeScreen) and isinstance(app.focused, Editor))
        app.screen.query_one(Editor).post_message(events.Paste("the \x1b[31mthing"))
        await until(pilot, lambda: "thing" in app.screen.query_one(Editor).text)
        await pilot.press("f7", *"the one", "enter")
        await until(pilot, lambda: isinstance(app.screen, InspectScreen))
        await settle(pilot, app)
        assert inspector(app).typed == "the one" and "your text" in on_screen(app)
        await pilot.press("escape")
        await settle(pilot, app)
        assert inspector(app).source.kind == "held-out" and inspector(app).source.number == 0
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, TypeScreen) and isinstance(app.focused, Editor))
        app.screen.query_one(Editor).put("snow ☃")
        await pilot.press("enter")
        await until(pilot, lambda: "✖" in on_screen(app) and "☃" in on_screen(app))


async def test_what_one_looked_at_is_there_after_a_restart(kept: RunDir, runs: Path) -> None:
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(120, 36)) as pilot:
        await go(pilot, app)
        assert not (kept.path / "inspector.json").exists(), "nothing was chosen"
        await pilot.press("g", "minus")
        await settle(pilot, app)
        await pilot.press("right", "down", "e")
        await settle(pilot, app)
        before = inspector(app).source, inspector(app).cursor
        assert before[1] > 1
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(120, 36)) as pilot:
        await go(pilot, app)
        assert (inspector(app).view, inspector(app).source, inspector(app).cursor) == ("lens", *before)
        inspector(app).show_typed("the one")
        screen(app).update()
        await until(pilot, lambda: inspector(app).text is not None and rested(app) and "your text" in on_screen(app))
        await pilot.press("end")
        place = inspector(app).cursor
        await until(pilot, lambda: "typed" in (kept.path / "inspector.json").read_text())
    (kept.path / "inspector.json").write_text(
        (kept.path / "inspector.json").read_text().replace('"cursor"', '"layer": 99, "chosen": 7, "cursor"')
    )
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(120, 36)) as pilot:
        await go(pilot, app)
        assert inspector(app).source.typed == inspector(app).typed == "the one" and inspector(app).cursor == place
        assert inspector(app).chosen is None, "a checkpoint that is gone is not chosen"


async def test_the_weights_are_the_newest_unless_others_are_chosen(kept: RunDir, runs: Path) -> None:
    another_checkpoint(kept, 30)
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(120, 36)) as pilot:
        await go(pilot, app)
        assert "weights step 20  best" in on_screen(app)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and "step 30" in on_screen(app))
        await pilot.press(*"step 30", "enter")
        await until(pilot, lambda: isinstance(app.screen, InspectScreen))
        await settle(pilot, app)
        assert inspector(app).chosen == 30 and "weights step 30  chosen" in on_screen(app)
        await pilot.press("c", *"best", "enter")
        await until(pilot, lambda: isinstance(app.screen, InspectScreen) and inspector(app).chosen is None)


async def test_nothing_is_lost_by_leaving(kept: RunDir, runs: Path) -> None:
    other = write_run(runs, "ward-1")
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(120, 36)) as pilot:
        here = await go(pilot, app)
        await pilot.press(*["right"] * 5, "a")
        await settle(pilot, app)
        await pilot.press("tab", "right")
        await settle(pilot, app)
        app.action_go("train")
        await until(pilot, lambda: isinstance(app.screen, TrainScreen))
        app.session.open(other)
        await until(pilot, lambda: app.session.run is not None and app.session.run.name == "ward-1")
        assert app.session.inspector is not None and app.session.inspector.view == "loss"
        app.session.open(kept)
        await until(pilot, lambda: app.session.run is not None and app.session.run.name == kept.name)
        app.action_go("inspect")
        await until(pilot, lambda: app.screen is here)
        await until(pilot, lambda: inspector(app).part("attention") is not None)
        found = inspector(app)
        assert (found.view, found.cursor, found.head) == ("attention", 6, 1)
        assert here.query_one(Wall).chosen_head == 1


async def test_a_run_without_weights_says_what_will_be_there(runs: Path) -> None:
    run = keep(runs)
    shutil.rmtree(run.checkpoints)
    app = Workbench(runs, run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        await go(pilot, app)
        assert "no weights yet" in on_screen(app) and "no weights, no loss" in on_screen(app)
        for key in "aeo":
            await pilot.press(key)
            await settle(pilot, app)
            assert "no weights yet" in on_screen(app)
        assert screen(app).check_action("worst", ()) is False
        app.session.open(write_run(runs, "no-corpus"))
        await until(pilot, lambda: app.session.run is not None and app.session.run.name == "no-corpus")
        await pilot.press("l")
        await until(pilot, lambda: "✖" in on_screen(app))


SIZES = [(80, 24), (20, 5)]


async def test_every_part_is_reached_and_seen_at_every_size(kept: RunDir, runs: Path) -> None:
    app = Workbench(runs, run=kept)
    async with app.run_test(size=SIZES[0]) as pilot:
        here = await go(pilot, app)
        for key, view in zip("laeod", VIEWS, strict=True):
            await pilot.press(key)
            await settle(pilot, app)
            for size in SIZES if view in ("loss", "attention") else SIZES[1:]:
                await pilot.resize_terminal(*size)
                await pilot.pause()
                seen = set()
                for _ in PARTS[view]:
                    await until(pilot, lambda: bool(app.focused and app.focused.region.area), 5)
                    assert app.focused is not None
                    assert app.focused.region.right <= size[0] and app.focused.region.bottom <= size[1], (view, size)
                    seen.add(next(str(each.id) for each in app.focused.ancestors if isinstance(each, Pane)))
                    await pilot.press("tab")
                    await pilot.pause()
                assert seen == set(PARTS[view]), (view, size)
                assert here.view == view


async def test_clicks_choose_tokens_heads_views(kept: RunDir, runs: Path) -> None:
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(140, 40)) as pilot:
        here = await go(pilot, app)
        await pilot.click(TokenMap, offset=(4, 0))
        assert inspector(app).cursor == 4
        await pilot.click("#views", offset=(13, 0))
        await settle(pilot, app)
        assert inspector(app).view == "attention"
        wall = here.query_one(Wall)
        size = wall._frame(*wall.size)[0]
        await pilot.click(Wall, offset=(5 + size + 2, 2))
        assert inspector(app).head == 1
        await pilot.press("e")
        await settle(pilot, app)
        await pilot.click(LensTable, offset=(12, 1))
        assert inspector(app).cursor < 4


async def test_while_it_trains_the_newest_weights_are_looked_at(runs: Path) -> None:
    run = keep(runs)
    with live_run(run):
        app = Workbench(runs, run=run)
        async with app.run_test(size=(120, 36)) as pilot:
            await go(pilot, app)
            await until(pilot, lambda: "newest" in on_screen(app))


async def test_ten_thousand_tokens_scroll_at_the_pace_of_keys(kept: RunDir, runs: Path) -> None:
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(140, 40)) as pilot:
        here = await go(pilot, app)
        text = inspector(app).text
        assert text is not None, inspector(app).problem
        inspector(app).show_typed(text.tokenizer.decode(text.ids) * 30)
        here.update()
        await until(pilot, lambda: bool(inspector(app).read and inspector(app).read.whole) and rested(app), 60)  # type: ignore[union-attr]
        tokens = here.query_one(TokenMap)
        assert tokens._ends[-1] >= 10_000
        painted = []
        real = tokens._row
        tokens._row = lambda number, lines: painted.append(number) or real(number, lines)  # type: ignore[method-assign,func-returns-value]
        started, keys = time.process_time(), 20
        for _ in range(keys):
            tokens.action_page(1)
            await pilot.pause()
        spent = (time.process_time() - started) / keys
        assert inspector(app).cursor > 10_000 * 0.5
        assert max(painted.count(number) for number in set(painted)) <= 4 * keys
        assert len(painted) <= 4 * keys * tokens.size.height, "only what is in sight is drawn"
        assert spent < 0.25, f"{1000 * spent:.0f} ms a key"


def test_shades_tell_the_levels_without_colour() -> None:
    assert len(set(SHADES)) == 6


PICTURES = [
    ("loss", (140, 40), DARK),
    ("loss", (100, 30), LIGHT),
    ("loss", (80, 24), CONTRAST),
    ("attention", (140, 40), DARK),
    ("attention", (80, 24), ANSI),
    ("lens", (100, 30), DARK),
    ("tokens", (140, 40), LIGHT),
    ("ladder", (100, 30), DARK),
    ("loss", (30, 8), DARK),
]


@pytest.mark.parametrize(("view", "size", "theme"), PICTURES)
def test_pictures(snap_compare: Callable[..., bool], runs: Path, view: str, size: tuple[int, int], theme: str) -> None:
    run = keep(runs)
    app = Workbench(runs, run=run, theme=theme)

    async def look(pilot: Pilot[Any]) -> None:
        await go(pilot, app)
        inspector(app).go(40)
        screen(app).action_view(view)  # type: ignore[arg-type]
        await settle(pilot, app)
        if view == "ladder":
            rungs = app.screen.query_one("#rungs", Menu)
            await until(pilot, lambda: "this run" in on_screen(app) and app.focused is rungs)
            await pilot.press("end")  # the rung that was trained: of the others a command names the corpus' place
            await until(pilot, lambda: rungs.cursor == len(rungs.items) - 1)
        await settle(pilot, app)

    assert snap_compare(app, terminal_size=size, run_before=look)


def test_a_picture_without_colour(snap_compare: Callable[..., bool], runs: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert os.environ["NO_COLOR"]
    run = keep(runs)
    app = Workbench(runs, run=run)

    async def look(pilot: Pilot[Any]) -> None:
        await go(pilot, app)
        await pilot.press("a")
        await settle(pilot, app)

    assert snap_compare(app, terminal_size=(100, 30), run_before=look)
