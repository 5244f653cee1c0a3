"""What one read brings takes effect in the order in which it was typed, wherever it is typed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import live_run, still, until
from runs_for_tests import write_run
from test_inspect import go as go_to_inspect
from test_inspect import keep
from textual import events
from textual._xterm_parser import XTermParser
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.widgets import Input

from tui.app import Workbench
from tui.screens.dialogs.ask import AskScreen
from tui.screens.inspect.dialogues import TypeScreen
from tui.screens.prompt.editor import Editor
from tui.screens.prompt.screen import PromptScreen
from tui.screens.runs.screen import RunsScreen
from tui.screens.train.prompt import PromptPane
from tui.screens.train.promptinput import PromptInput
from tui.screens.train.screen import TrainScreen
from tui.widgets.form import SettingsForm
from tui.widgets.oneline import OneLine
from tui.widgets.slider import Slider

CTRL_A, CTRL_G, CTRL_J, CTRL_P, CTRL_U, CTRL_W, ENTER = map(chr, (1, 7, 10, 16, 21, 23, 13))
ESCAPE = "␛"
"""Stands for the key: what follows an escape at once is read as one key with it."""
DOWN, LEFT, UP, HOME, BACKSPACE, PASTE = "\x1b[B", "\x1b[D", "\x1b[A", "\x1b[H", "\x7f", "\x1b[200~{}\x1b[201~"


async def burst(pilot: Pilot[Any], typed: str) -> None:
    """All of it as one read of a terminal brings it; waits until nothing is under way any more."""
    app = pilot.app
    for part in re.split(f"({ESCAPE})", typed):
        for event in [events.Key("escape", "\x1b")] if part == ESCAPE else XTermParser().feed(part):
            event.set_sender(app)
            app.post_message(event)
    queue = app._message_queue
    await until(pilot, lambda: queue.empty() and app.all_taken)
    await still(pilot)


@asynccontextmanager
async def at(app: Workbench) -> AsyncIterator[Pilot[Any]]:
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, TrainScreen) and app.session.view is not None)
        yield pilot


def value(app: Workbench, kind: type[Input] = Input) -> str:
    return app.screen.query_one(kind).value


async def test_the_form(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with at(app) as pilot:
        await burst(pilot, "n")
        form = app.screen.query_one(SettingsForm)
        await burst(pilot, f"{DOWN}/train.max_steps{ENTER}{CTRL_U}5")
        assert (form.key, form.value(form.key)) == ("train.max_steps", "5")
        await burst(pilot, f"7{LEFT}6{HOME}4{BACKSPACE}8\t9")
        assert form.value("train.max_steps") == "8567"
        assert form.value(form.key) == "9"
        await burst(pilot, f"{CTRL_U}12{CTRL_W}{PASTE.format('34')}5{LEFT}{LEFT}0")
        assert form.value(form.key) == "3045"


async def test_the_palette_and_what_it_opens(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with at(app) as pilot:
        await burst(pilot, f"{CTRL_P}new run{ENTER}")
        assert app.screen.query(SettingsForm)
        await burst(pilot, f"{ESCAPE}{ESCAPE}{CTRL_P}xq{BACKSPACE}{LEFT}y")
        assert value(app) == "yx"
        await burst(pilot, f"{ESCAPE}{CTRL_P}ab{CTRL_U}c")
        assert value(app) == "c"


async def test_prompts(runs: Path) -> None:
    run = write_run(runs, step=340)
    app = Workbench(runs, run=run)
    with live_run(run):
        async with at(app) as pilot:
            await burst(pilot, f"pbc{HOME}a{LEFT}0\x1b[F4{BACKSPACE}5")
            assert value(app, PromptInput) == "0abc5"
            await burst(pilot, f"{CTRL_U}first{ENTER}")
            await burst(pilot, f"{UP}{BACKSPACE}{BACKSPACE}e")
            assert value(app, PromptInput) == "fire"
            await burst(pilot, f"{CTRL_U}d{CTRL_J}e")
            assert value(app, PromptInput) == "d⏎e"
            await until(pilot, lambda: not app.screen.query_one(PromptPane).busy)  # escape would stop the answer first
            await burst(pilot, f"{ESCAPE}2")
            await until(pilot, lambda: isinstance(app.screen, PromptScreen))
            editor = app.screen.query_one("#editor", Editor)
            editor.put("")
            await burst(pilot, f"bd{LEFT}c{HOME}a\x1b[F{CTRL_J}e{BACKSPACE}f{PASTE.format('gh')}i")
            assert editor.text == "abcd\nfghi"
            await burst(pilot, f"{CTRL_G}fir{CTRL_U}zz{BACKSPACE}x")
            assert value(app) == "zx"


async def test_sliders(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with at(app) as pilot:
        slider = app.screen.query(Slider).first()
        slider.focus()
        await burst(pilot, f"1.29{BACKSPACE}{ENTER}\x1b[C")
        assert slider.value == pytest.approx(slider.scale.move(1.2, 1, "step"))
        await burst(pilot, f"0.{BACKSPACE}{BACKSPACE}0.7{ENTER}")
        assert slider.value == 0.7


async def test_a_question_and_its_answer(runs: Path) -> None:
    run = write_run(runs, step=340)
    app = Workbench(runs, run=run)
    with live_run(run) as commands:
        async with at(app) as pilot:
            await until(pilot, lambda: app.session.live)
            await burst(pilot, f"l{CTRL_U}0.007{BACKSPACE}3{ENTER}")
            assert not app.in_dialogue
            await until(pilot, lambda: commands.wait(0))
            assert [each.get("value") for each in commands.drain()] == [0.003]
            await burst(pilot, f"x{ENTER}l{CTRL_U}0.7")  # the way under the cursor keeps it
            assert isinstance(app.screen, AskScreen) and value(app) == "0.7"
            await burst(pilot, f"{ESCAPE}fs3")
            assert app.current_mode == "samples"


async def test_runs(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs, "a-1"))
    write_run(runs, "b-1")
    async with at(app) as pilot:
        await burst(pilot, f"4/b-{LEFT}x{BACKSPACE}{HOME}q{BACKSPACE}")
        assert isinstance(app.screen, RunsScreen) and value(app) == "b-"
        await burst(pilot, f"\x1b[F{CTRL_U}a-1{ENTER}{CTRL_P}help")
        assert app.session.table.typed == "a-1" and isinstance(app.screen, ModalScreen) and value(app) == "help"


async def test_inspect(runs: Path) -> None:
    app = Workbench(runs, run=keep(runs))
    async with app.run_test(size=(140, 40)) as pilot:
        await go_to_inspect(pilot, app)
        await burst(pilot, f"i{CTRL_A}bc{HOME}a{BACKSPACE}{BACKSPACE}d{LEFT}e")
        assert isinstance(app.screen, TypeScreen) and app.screen.query_one(Editor).text.startswith("edbc")


async def test_corpora(runs: Path) -> None:
    Path("texts").mkdir()
    for name in ("one.txt", "two.txt"):
        (Path("texts") / name).write_text("text\n" * 100)
    app = Workbench(runs, Path("corpora"), run=write_run(runs))
    async with at(app) as pilot:
        await burst(pilot, f"6axt{CTRL_U}text{BACKSPACE}")
        assert value(app) == "tex"


@pytest.mark.parametrize("typed", ["4612356124", "nnn␛␛???␛␛"])
async def test_nothing_waits_for_ever(runs: Path, typed: str) -> None:
    """However fast screens and dialogues take each other's place, the next key is given on."""
    app = Workbench(runs, run=write_run(runs))
    async with at(app) as pilot:
        await burst(pilot, typed * 3)
        await burst(pilot, f"{ESCAPE}{ESCAPE}1{CTRL_P}a")
        assert value(app) == "a"


async def test_a_letter_lays_nothing_out(runs: Path) -> None:
    """All of the screen but the line that is typed stays where it is."""
    app = Workbench(runs, run=write_run(runs))
    laid: list[object] = []
    async with at(app) as pilot:
        await burst(pilot, "p")
        line = app.screen.focused
        assert isinstance(line, OneLine)
        line.screen.screen_layout_refresh_signal.subscribe(line, laid.append)
        await burst(pilot, f"two words{LEFT}{BACKSPACE}")
        assert line.value == "two wors" and laid == []
        assert line.virtual_size.width == line.content_width


async def test_a_queue_that_closes_with_the_word_in_it_holds_no_other_key(runs: Path) -> None:
    """A widget may be taken away between being told and saying it: what is typed goes on all the same."""
    app = Workbench(runs, run=write_run(runs, "one", state="finished", step=100))
    async with at(app) as pilot:
        swallowed: list[Any] = []
        screen = app.screen
        plain = screen.post_message

        def swallow(message: Any) -> bool:
            told = getattr(message, "callback", None)
            if getattr(told, "__qualname__", "") == "_Turn.hop" and not swallowed:
                swallowed.append(message)
                return True
            return plain(message)

        screen.post_message = swallow  # type: ignore[method-assign]
        await burst(pilot, DOWN + CTRL_P)
        assert swallowed
        await until(pilot, lambda: isinstance(app.screen, ModalScreen))
        await burst(pilot, ESCAPE)
        assert app.screen is screen
