"""How the screens look: at the three sizes they are designed for, dark and light."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pilot_for_tests import still, until
from runs_for_tests import write_run
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from tui.app import Workbench
from tui.screens.runs.preview import RunPreview
from tui.screens.welcome.screen import WelcomeScreen
from tui.screens.workscreen import WorkScreen
from tui.theme import DARK, LIGHT

Snap = Callable[..., bool]
SIZES = [(140, 40), (100, 30), (80, 24)]


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until what was asked for is read, however slow the machine, and drawn."""
    app = pilot.app
    assert isinstance(app, Workbench)
    asked = app._first

    def drawn() -> bool:
        screen = app.train_screen()
        return screen is not None and screen._shown is not None and screen._shown is app.session.run

    await until(pilot, lambda: isinstance(app.workplace, WorkScreen | WelcomeScreen) and (asked is None or drawn()))
    await still(pilot)


async def rest(pilot: Pilot[Any]) -> None:
    """What lies behind a dialogue is drawn as it stood when the dialogue came: let everything be read and drawn."""
    for _ in range(3):
        pilot.app._poll()  # type: ignore[attr-defined]
        await settle(pilot)


@pytest.mark.parametrize("theme", [DARK, LIGHT])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_training(snap_compare: Snap, bench: Callable[..., Workbench], size: tuple[int, int], theme: str) -> None:
    assert snap_compare(bench(theme, state="running", step=340), terminal_size=size, run_before=settle)


def test_a_failed_run_says_why(snap_compare: Snap, bench: Callable[..., Workbench]) -> None:
    problem = "step 211: the loss is nan; stopped before the update; lower train.learning_rate (0.01)"
    app = bench(state="failed", step=210, problem=problem)
    assert snap_compare(app, terminal_size=(100, 30), run_before=settle)


@pytest.mark.parametrize("pane", ["device", "samples", "prompt"])
def test_panes_as_tabs(snap_compare: Snap, bench: Callable[..., Workbench], pane: str) -> None:
    async def show(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        pilot.app.train_screen().show_pane(pane, alone=False)
        await settle(pilot)

    assert snap_compare(bench(state="finished"), terminal_size=(80, 24), run_before=show)


def test_tiny(snap_compare: Snap, bench: Callable[..., Workbench]) -> None:
    assert snap_compare(bench(state="running", step=340), terminal_size=(20, 5), run_before=settle)


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_first_start(snap_compare: Snap, runs: Path, theme: str) -> None:
    assert snap_compare(Workbench(runs, theme=theme), terminal_size=(80, 24), run_before=settle)


@pytest.mark.parametrize("size", [(140, 40), (80, 24)], ids=["140x40", "80x24"])
def test_runs(snap_compare: Snap, runs: Path, size: tuple[int, int]) -> None:
    states = ("finished", "running", "stopped", "failed", "paused")
    for number, state in enumerate(states, start=1):
        write_run(
            runs, f"ward-notes-nano-{number}", state=state, step=100 * number, best_val_loss=1.0, best_val_step=100
        )

    async def previewed(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: any(preview.shown for preview in pilot.app.screen.query(RunPreview)))
        await settle(pilot)

    assert snap_compare(Workbench(runs), terminal_size=size, run_before=previewed)


def test_quitting(snap_compare: Snap, runs: Path) -> None:
    run = write_run(runs, state="running", step=340)
    app = Workbench(runs, run=run)

    async def press(pilot: Pilot[Any]) -> None:
        app.session.training = SimpleNamespace(run=run, host=None, error=None, alive=True)
        await rest(pilot)
        await pilot.press("q")
        await rest(pilot)

    assert snap_compare(app, terminal_size=(100, 30), run_before=press)


@pytest.mark.parametrize("key", ["question_mark", "ctrl+p", "l"], ids=["help", "palette", "rate"])
def test_dialogues(snap_compare: Snap, bench: Callable[..., Workbench], key: str) -> None:
    async def press(pilot: Pilot[Any]) -> None:
        await rest(pilot)
        await pilot.press(key)
        await rest(pilot)

    assert snap_compare(bench(state="running", step=340), terminal_size=(100, 30), run_before=press)


def reversed_cells(app: Workbench) -> bool:
    strips = app.screen._compositor.render_strips()
    return any(style is not None and style.reverse for strip in strips for _, style, _ in strip)


async def test_where_one_types_is_seen_without_colour(
    bench: Callable[..., Workbench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = bench()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for key, kind in (("p", Input), ("2", TextArea)):
            await pilot.press(key)
            await until(pilot, lambda kind=kind: isinstance(app.focused, kind))  # type: ignore[misc]
            await until(pilot, lambda: reversed_cells(app))
            await pilot.press("escape")
