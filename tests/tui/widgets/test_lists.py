"""Lists of more lines than they have room for."""

from __future__ import annotations

import pytest

from tui.screens.runs.lines import COLUMNS, columns_for, heading, line, sizes_of
from tui.state.nexttoken import TokenBar
from tui.state.runstable import Line
from tui.text import width_of
from tui.widgets.bars import NextTokenBars
from tui.widgets.chart import PlotData, draw
from tui.widgets.form import Field, SettingsForm
from tui.widgets.menu import Menu
from tui.widgets.tabs import PaneTabs

ITEMS = [f"item-{number}" for number in range(9)]


def menu() -> Menu:
    shown = Menu()
    shown.items, shown.cursor = [[(text, "")] for text in ITEMS], len(ITEMS) - 1
    return shown


def bars() -> NextTokenBars:
    shown = NextTokenBars()
    shown._tokens, shown._row = tuple(TokenBar(text, 0.1, 0.1) for text in ITEMS), len(ITEMS) - 1
    shown.set_reactive(NextTokenBars.has_focus, True)
    return shown


def form() -> SettingsForm:
    shown = SettingsForm()
    shown._fields, shown._row = [Field(text, text, "1") for text in ITEMS], len(ITEMS) - 1
    return shown


@pytest.mark.parametrize("make", [menu, bars, form])
def test_one_that_grows_shows_what_it_has_room_for(make: type[Menu]) -> None:
    shown = make()
    for height in (3, 40):
        rows = ["".join(text for text, _ in row) for row in shown.paint(40, height)]
        assert any(ITEMS[-1] in row for row in rows)
    assert all(any(item in row for row in rows) for item in ITEMS)


def facts(name: str, step: int = 500, **more: object) -> dict[str, object]:
    told: dict[str, object] = {
        "path": name,
        "name": name,
        "state": "failed",
        "step": step,
        "steps": step,
        "last_val_loss": 1.25,
        "best_val_loss": 1.25,
        "best_val_step": step,
        "val_bits_per_byte": 1.5,
        "params": 857_000,
        "corpus": "soap-notes",
        "preset": "nano",
        "tokens_per_second": 118_000.0,
        "train_seconds": 3e6,
        "created": 1.0,
    }
    return told | more


@pytest.mark.parametrize("note", ["", "a note that says much"])
def test_columns_of_runs_are_as_wide_as_what_is_in_them(note: str) -> None:
    runs = [facts("soap-notes-nano-with-lr-0.01"), facts("診療記録の実行", 10_000_000, note=note)]
    sizes = sizes_of(runs, [Line(runs[1], "└ ")])
    for width in range(14, 200):
        shown = columns_for(width, sizes)
        rows = [line(each, shown) for each in runs]
        assert all(width_of(row) <= width for row in rows)
        texts = ["".join(text for text, _ in row) for row in rows]
        head = heading(shown, "params")
        assert width_of([(head, "")]) == width_of(rows[0]) + 2  # the mark of a run stands before
        assert width < 32 or "failed" in texts[0]
        assert width < 58 or "soap-notes-nano-with-lr-0.01" in texts[0]
        assert "step" not in head or "10,000,000/10,000,000" in texts[1]
        assert ("note" in head) == (bool(note) and len(shown) == len(COLUMNS))


@pytest.mark.parametrize("width", [8, 14, 40])
def test_what_stands_where_there_is_nothing_is_whole(width: int) -> None:
    said = "samples appear here at each checkpoint; s writes one now"
    shown = (
        Menu(empty=said).paint(width, 20),
        NextTokenBars(empty=said).paint(width, 20),
        draw(PlotData(empty=said), width, 20).rows,
    )
    for rows in shown:
        lines = ["".join(text for text, _ in row) for row in rows]
        assert " ".join(lines).replace(" ", "") == said.replace(" ", "") and max(map(len, lines)) <= width


def test_tabs_have_room_in_a_narrow_terminal() -> None:
    names = ["prompt", "output", "sampling", "next token"]
    for width in range(32, 60):
        for name in names:
            tabs = PaneTabs(names)
            tabs._shown = name
            (row,) = tabs.paint(width, 1)
            text = "".join(part for part, _ in row)
            assert width_of(row) <= width and f" {name} " in text
            assert width < 47 or all(each in text for each in names)
            assert all(each[:2] in text for each in names)
