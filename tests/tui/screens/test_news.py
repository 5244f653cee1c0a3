"""News in the corner: one at a time, whole where there is room, and never over anything that is typed or moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pilot_for_tests import on_screen, until
from rich.cells import cell_len
from runs_for_tests import write_run
from textual.widgets import Input
from textual.widgets._toast import Toast

from tui.app import Workbench
from tui.state import news
from tui.state.news import LINES, News, Notice
from tui.text import clean
from tui.widgets.form import SettingsForm
from tui.widgets.slider import Slider

LONG = "run zebra could not be written: " + "no space left on the device, " * 12 + "make room"
PLACES = {"all": [], "loss": ["1"], "new run": ["n"], "rate": ["l"], "samples": ["3"], "runs": ["4"], "prompt": ["2"]}


@pytest.mark.parametrize("size", [(140, 40), (100, 30), (80, 24)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_news_never_cover_what_is_typed_or_moved(runs: Path, size: tuple[int, int]) -> None:
    app = Workbench(runs, run=write_run(runs, state="running", step=340))
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: app.session.live)
        for place, keys in PLACES.items():
            await pilot.press(*keys)
            await pilot.pause()
            app.say(Notice(LONG, bad=True))
            await until(pilot, lambda: bool(app.screen.query(Toast)) and app.screen.query_one(Toast).region.area > 0)
            covered = app.screen.query_one(Toast).region
            assert covered.height <= LINES and covered.bottom <= LINES and covered.right <= size[0], place
            moved: list[Any] = [*app.screen.query(Input), *app.screen.query(Slider), *app.screen.query(SettingsForm)]
            assert not [widget for widget in moved if widget.region.overlaps(covered)], place
            assert moved or place in ("runs", "samples")
            app._news = News()
            await pilot.press("escape")


@given(st.text(max_size=400), st.integers(24, 200), st.booleans())
def test_every_word_of_a_long_one_is_said_in_its_turn(text: str, width: int, bad: bool) -> None:
    waiting, said = News(), ""
    waiting.add(Notice(text, bad))
    for _ in range(500):
        waiting._until = 0.0
        piece = waiting.next(width)
        if piece is None:
            break
        lines = piece.text.split("\n")
        assert piece.bad is bad and len(lines) <= LINES and all(cell_len(line) <= width for line in lines)
        said += piece.text
    for mark in "✖… \n◌":  # ◌: a mark whose letter stands in the line before
        said, text = said.replace(mark, ""), text.replace(mark, "")
    assert "".join(said.split()) == "".join(clean(text, keep_newlines=False).split()).replace("␊", "") or "␊" in said


async def test_one_news_after_the_other(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(news, "monotonic", lambda: now[0])
    app = Workbench(runs, run=write_run(runs, state="running", step=340))
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: app.session.live)
        for word in ("alpha", "beta", "gamma"):
            app.session.notices.append(Notice(f"{word} happened"))
        for word in ("alpha", "beta", "gamma"):
            await until(pilot, lambda word=word: f"{word} happened" in on_screen(app))
            assert sum(f"{each} happened" in on_screen(app) for each in ("alpha", "beta", "gamma")) == 1
            now[0] += 2


async def test_news_cannot_drive_the_terminal(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs, state="running", step=340))
    async with app.run_test(size=(100, 30), notifications=True) as pilot:
        await until(pilot, lambda: app.session.live)
        app.say(Notice("\x1b]0;x\x07[bold]bad[/bold]\nline", bad=True))
        await until(pilot, lambda: "[bold]bad[/bold]␊line" in on_screen(app))
        assert "\x1b" not in on_screen(app)
