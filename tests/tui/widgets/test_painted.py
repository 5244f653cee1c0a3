"""Only what changed is painted again, and only what changed goes to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from tui.screens.inspect.tint import GLOW
from tui.state.summary import Latest
from tui.text import Row
from tui.theme import THEMES, Themed
from tui.widgets.bars import NextTokenBars, TokenBar
from tui.widgets.chart import draw
from tui.widgets.meter import bar
from tui.widgets.paint import Painted, look_style, merge
from tui.widgets.pane import Pane
from tui.widgets.plot import LossPlot, PlotData
from tui.widgets.rows import wrapped
from tui.widgets.sparkline import spark
from tui.widgets.tokentext import surprise_look
from tui.widgets.topline import run_line

STEPS = np.arange(1, 1001)
LOSS = 1.5 + 2.5 * np.exp(-STEPS / 200)


class Harness(Themed, App[None]):
    def __init__(self, *widgets: Widget) -> None:
        super().__init__()
        self.widgets = widgets

    def compose(self) -> ComposeResult:
        yield from self.widgets


def screen_rows(app: App[None]) -> list[str]:
    return [strip.text for strip in app.screen._compositor.render_strips()]


def record_regions(widget: Painted) -> list[Region]:
    """Every region the widget asks to be painted again from now on."""
    asked: list[Region] = []
    refresh = widget.refresh

    def spy(*regions: Region, **options: bool) -> Painted:
        asked.extend(regions or [widget.size.region])
        return refresh(*regions, **options)

    widget.refresh = spy  # type: ignore[method-assign, assignment]
    return asked


rows = st.lists(st.tuples(st.text("ab漢é", max_size=4), st.sampled_from(["", "dim"])), max_size=4)


@given(rows)
def test_merging_cells_keeps_them(row: Row) -> None:
    single = [(c, look) for text, look in row for c in text]
    merged = merge(single)
    assert [(c, look) for text, look in merged for c in text] == single
    assert all(one[1] != other[1] for one, other in pairwise(merged)), "in as few as there are looks"


class Cells(Painted):
    """Each cell in a part of its own, and a title over it in a pane."""

    def paint(self, width: int, height: int) -> list[Row]:
        return [[("x", "dim")] * width] * height


async def test_cells_of_one_look_are_one_segment() -> None:
    cells = Cells()
    async with Harness(cells).run_test(size=(40, 5)):
        assert [len(cells.render_line(y)._segments) for y in range(5)] == [1] * 5


async def test_what_stands_in_a_border_repaints_that_row_alone() -> None:
    pane, drawn = Pane(Cells()), list[Any]()
    pane.styles.border = ("round", "red")
    app = Harness(pane)
    async with app.run_test(size=(40, 5)) as pilot:
        await pilot.pause()
        show = app._display
        app._display = lambda screen, what: (drawn.append(what), show(screen, what))[1]  # type: ignore[method-assign]
        for say, row in ((pane.say_title, 0), (pane.say_below, 4)):
            drawn.clear()
            say(Content("words"))
            await pilot.pause()
            assert [span[0] for update in drawn for span in update.spans] == [row]
            assert "words" in screen_rows(app)[row]


async def test_a_growing_curve_repaints_only_its_rows() -> None:
    plot = LossPlot(PlotData.run(STEPS[:400], LOSS[:400], total_steps=1000))
    app = Harness(plot)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        asked = record_regions(plot)
        plot.show(PlotData.run(STEPS[:430], LOSS[:430], total_steps=1000))
        drawn = [region for region in asked if region.y > 0]
        assert drawn and max(region.height for region in drawn) == 1
        assert len(asked) < 12
        asked.clear()
        plot.show(PlotData.run(STEPS[:430], LOSS[:430], total_steps=1000))
        assert asked == []


async def test_a_hidden_chart_costs_nothing_and_is_up_to_date_when_shown() -> None:
    plot = LossPlot(PlotData.run(STEPS[:400], LOSS[:400], total_steps=1000))
    app = Harness(plot)
    painted: list[int] = []
    paint = plot.paint

    def spy(width: int, height: int) -> list[Row]:
        painted.append(width)
        return paint(width, height)

    plot.paint = spy  # type: ignore[method-assign]
    async with app.run_test(size=(80, 20)) as pilot:
        await pilot.pause()
        plot.display = False
        await pilot.pause()
        painted.clear()
        for size in (500, 600, 700):
            plot.show(PlotData.run(STEPS[:size], LOSS[:size], total_steps=1000))
            await pilot.pause()
        assert painted == []
        plot.display = True
        await pilot.pause()
        assert painted and "train 1.5" in screen_rows(app)[0]


async def test_keys_zoom_pan_and_change_the_scale() -> None:
    plot = LossPlot(PlotData.run(STEPS, LOSS, total_steps=1000, checkpoints=(250, 500), cursor=500))
    app = Harness(plot)
    async with app.run_test(size=(80, 20)) as pilot:
        plot.focus()
        await pilot.press("+", "+")
        first, last = plot.view.window or (0, 0)
        assert last - first == 250 and first <= 500 <= last
        await pilot.press("right")
        assert plot.view.window == (first + 62.5, last + 62.5)
        plot.pan(20.0)
        assert (plot.view.window or (0, 0))[1] == 1000
        await pilot.press("minus", "y", "y")
        assert plot.view.log and plot.view.window is not None
        await pilot.press("y", "e", "e")
        assert plot.view.scale == "auto" and plot.view.smooth == 0.0 and plot.look.words() == "not smoothed"
        await pilot.press("0")
        assert plot.view.window is None
        plot.zoom(1e6)
        first, last = plot.view.window or (0, 0)
        assert last - first == 4


async def test_pointing_says_the_step() -> None:
    moved: list[int | None] = []

    class Pointed(Harness):
        def on_loss_plot_cursor_moved(self, event: LossPlot.CursorMoved) -> None:
            moved.append(event.step)

    plot = LossPlot(PlotData.run(STEPS, LOSS, total_steps=1000, checkpoints=(250, 500, 750)))
    app = Pointed(plot)
    async with app.run_test(size=(80, 20)) as pilot:
        plot.focus()
        await pilot.press(",")
        plot.show(PlotData.run(STEPS, LOSS, total_steps=1000, checkpoints=(250, 500, 750), cursor=750))
        await pilot.press(",", "[", "]", "{", "escape")
        await pilot.click(plot, offset=(43, 8))
        assert moved[:2] == [750, 500] and moved[5] is None
        before, after, far, clicked = (step or 0 for step in (moved[2], moved[3], moved[4], moved[6]))
        column = 1000 / 72
        assert 750 - 1.5 * column < before < 750 < after < 750 + 1.5 * column
        assert far == pytest.approx(750 - 10 * column, abs=column) and 400 < clicked < 600


async def test_every_theme_draws_every_widget() -> None:
    widgets: Sequence[Painted] = (
        NextTokenBars(),
        LossPlot(PlotData.run(STEPS, LOSS)),
    )
    app = Harness(*widgets)
    async with app.run_test(size=(60, 20)) as pilot:
        for theme in THEMES:
            app.theme = theme.name
            await pilot.pause()
            before = [widget.render_line(0) for widget in widgets]
            assert all(strip.cell_length == 60 for strip in before)


async def test_no_color_leaves_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = Harness(LossPlot(PlotData.run(STEPS, LOSS)))
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        styles = {style for strip in app.screen._compositor.render_strips() for _, style, _ in strip if style}
        colors = {color.name for style in styles for color in (style.color, style.bgcolor) if color is not None}
        assert colors <= {"default"}
        for looks in ([surprise_look(bits) for bits in (0.5, 2.0, 5.0, 8.0, 20.0)], GLOW[1:], ["dim", "bright"]):
            seen = [look_style(app, look).without_color for look in looks]
            assert len({str(style) for style in seen}) == len(looks), "what colour says is said by attributes too"


def test_a_bar_is_never_empty_for_something_nor_full_for_less_than_all() -> None:
    assert bar(0.0, 10) == ("", "─" * 10)
    assert bar(0.001, 10) == ("╸", "─" * 9)
    assert bar(0.999, 10) == ("━" * 9 + "╸", "")
    assert bar(1.0, 10) == ("━" * 10, "")
    assert bar(float("nan"), 3) == ("", "───")


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), max_size=300), st.integers(1, 60))
def test_a_sparkline_has_a_block_for_each_share(values: list[float], width: int) -> None:
    drawn = spark(values, width)
    assert len(drawn) == min(width, len(values))
    assert set(drawn) <= set("▁▂▃▄▅▆▇×")


def test_a_sparkline_keeps_spikes_and_marks_gaps() -> None:
    series = np.zeros(1000)
    series[437] = 5.0
    assert spark(series, 20).count("▇") == 1
    assert spark([1.0, float("nan"), 3.0], 3) == "▃×▇"
    assert spark([0.0, 0.0], 5) == "▁▁"


def test_a_sparkline_is_measured_from_zero() -> None:
    assert spark([0.001, 0.0005, 0.00025, 0.0], 4) == "▇▄▂▁"  # a rate that halves
    assert set(spark(1000 + np.sin(np.arange(99)), 40)) == {"▇"}  # not a storm of one in a thousand
    assert spark([2.0, 2.0], 5) == "▇▇"
    assert spark([-2.0, 0.0, 2.0], 3) == "▁▄▇"


async def test_bars_show_before_and_after_and_take_a_choice() -> None:
    picked: list[tuple[int, int]] = []

    class Picking(Harness):
        def on_next_token_bars_selected(self, event: NextTokenBars.Selected) -> None:
            picked.append((event.index, event.token.id))

    bars = NextTokenBars()
    app = Picking(bars)
    tokens = [TokenBar(" the", 0.4, 0.8, id=7), TokenBar("\n", 0.2, 0.2, id=8), TokenBar("x\x1b", 0.1, 0.0, "top-k", 9)]
    async with app.run_test(size=(50, 6)) as pilot:
        assert "token's place" in screen_rows(app)[0]
        bars.show(tokens)
        bars.focus()
        await pilot.pause()
        first, second, third = screen_rows(app)[:3]
        assert "␣the" in first and first.rstrip().endswith("80.0%  40.0%")
        assert "␊" in second and first.count("━") > 3 * second.count("━") > 0
        assert "x␛" in third and "top-k" in third and "━" not in third
        await pilot.press("down", "enter")
        await pilot.click(bars, offset=(5, 2))
        assert picked == [(1, 8), (2, 9)]


async def test_what_is_not_cleaned_before_is_cleaned_at_the_last() -> None:
    class Careless(Painted):
        def paint(self, width: int, height: int) -> list[Row]:
            return [[("a\x1b]0;t\x07b\x7f", "dim"), ("\u202e\u2028\x9b\ud800", "")], [("\tx", "")]]

    app = Harness(Careless())
    async with app.run_test(size=(60, 4)):
        first, second = screen_rows(app)[:2]
        assert first.startswith("a␛]0;t␇b␡<U+202E><U+2028><U+009B><U+D800>") and second.startswith("    x")
        assert {len(first), len(second)} == {60}


async def test_looks_follow_the_theme() -> None:
    bars = NextTokenBars()
    app = Harness(bars)
    async with app.run_test(size=(40, 2)) as pilot:
        bars.show([TokenBar("a", 0.5, 0.5, id=1)])
        await pilot.pause()
        dark: Style | None = next(iter(bars.render_line(0)._segments)).style
        app.theme = "tinytui-light"
        await pilot.pause()
        light: Style | None = next(iter(bars.render_line(0)._segments)).style
        assert dark is not None and light is not None and dark.color != light.color


async def test_a_great_run_is_averaged_beside_the_screen_and_then_drawn_as_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.widgets.plot.AT_ONCE", 500)
    data = PlotData.run(STEPS, LOSS, total_steps=1000)
    plot = LossPlot(data)
    async with Harness(plot).run_test(size=(80, 20)) as pilot:
        text = lambda: "\n".join(plot.render_line(y).text for y in range(plot.size.height))  # noqa: E731
        drawn = "\n".join("".join(text for text, _ in row) for row in draw(data, *plot.size, tinted=True).rows)
        for _ in range(100):
            if "averaging" not in text():
                break
            assert f"averaging {len(STEPS):,} points" in text()
            await pilot.pause(0.02)
        assert [line.rstrip() for line in text().split("\n")] == [line.rstrip() for line in drawn.split("\n")]
        plot.turn("smooth")
        plot.turn("smooth")
        assert "averaging" in text(), "another average is as much work"


LONG = "実験-a-very-long-run-name-漢字漢字-with-more-words"


@pytest.mark.parametrize("width", [30, 40, 60, 90, 140])
def test_a_long_name_gives_way_before_how_far_the_run_is(width: int) -> None:
    now = replace(Latest(), state="finished", step=200, steps=200)
    said = "".join(text for text, _ in run_line(LONG, now, width))
    assert "実験-a-ver" in said and "step 200/200" in said and cell_len(said) <= width
    assert "finished" in said or width < 40


@given(st.lists(st.sampled_from(["漢字", "word", "a", "🧪", "runs/long-name"]), min_size=1), st.integers(-1, 40))
def test_lines_are_as_wide_as_they_are_told_in_cells(words: list[str], width: int) -> None:
    """Of labels and of words of two looks; and nothing is lost."""
    text = " ".join(words)
    for row in ([(text, "")], [("label ", "dim"), (text, "")], [(text, "bright"), (" and more", "dim")]):
        lines = ["".join(part for part, _ in line) for line in wrapped(row, width)]
        assert all(cell_len(line) <= max(2, width) for line in lines)
        assert "".join("".join(lines).split()) == "".join("".join(part for part, _ in row).split())


def test_a_gap_before_words_that_are_broken_stays() -> None:
    said = ["".join(part for part, _ in line) for line in wrapped([("lines 9", ""), ("  ab cd ef gh", "dim")], 18)]
    assert said == ["lines 9  ab cd ef", "         gh"]
