"""What the loss chart shows, as text."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.screens.train.loss import problem_lines
from tui.state.chart import Axis, Mark, Scale
from tui.text import Row, width_of
from tui.widgets.axes import marks_in
from tui.widgets.canvas import draw_band, draw_lines, thin
from tui.widgets.chart import Area, ChartState, PlotData, Series, View, draw, draw_text
from tui.widgets.curves import quantile

STEPS = np.arange(1, 2001)
LOSS = 1.5 + 2.5 * np.exp(-STEPS / 300)
VAL_STEPS = np.arange(250, 2001, 250)
VAL = np.interp(VAL_STEPS, STEPS, LOSS) + 0.1
RUN = PlotData.run(STEPS, LOSS, VAL_STEPS, VAL, checkpoints=(500, 1000), total_steps=4000)


def text(data: PlotData, width: int = 80, height: int = 20, log: bool = False) -> list[str]:
    return draw_text(data, width, height, color=False, log=log).split("\n")


def dots(rows: list[str]) -> set[tuple[int, int]]:
    """The dots of braille rows, from the lower left corner."""
    bits = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]]
    return {
        (2 * x + dx, 4 * len(rows) - 1 - (4 * y + dy))
        for y, row in enumerate(rows)
        for x, character in enumerate(row)
        if 0x2800 <= ord(character) < 0x2900
        for dy in range(4)
        for dx in range(2)
        if ord(character) - 0x2800 & bits[dy][dx]
    }


def as_rows(cells: list[tuple[int, int, str, int]], width: int, height: int) -> list[str]:
    rows = [[" "] * width for _ in range(height)]
    for y, x, character, _ in cells:
        rows[y][x] = character
    return ["".join(row) for row in rows]


def test_lines_begin_and_end_at_their_dots() -> None:
    xs, ys = np.array([0, 9, 23]), np.array([0, 19, 3])
    cells = draw_lines([(xs, ys)], 12, 5)
    assert {(0, 0), (9, 19), (23, 3)} <= dots(as_rows(cells, 12, 5))
    assert {owner for *_, owner in cells} == {0}


def test_the_later_line_colours_a_shared_cell() -> None:
    across, up = (np.array([0, 7]), np.array([4, 4])), (np.array([4, 4]), np.array([0, 11]))
    cells = draw_lines([across, up], 4, 3)
    assert [owner for y, _, _, owner in cells if y == 1] == [0, 0, 1, 0]
    cells = draw_lines([(np.empty(0, int), np.empty(0, int)), up], 4, 3)
    assert [(y, x, owner) for y, x, _, owner in cells] == [(0, 2, 1), (1, 2, 1), (2, 2, 1)]
    assert draw_lines([], 4, 3) == []


def test_thinned_lines_are_drawn_the_same() -> None:
    xs, ys = np.arange(40), np.array([3] * 10 + [7] * 20 + list(range(10)))
    assert thin(xs, ys)[0].size < 20
    assert draw_lines([thin(xs, ys)], 20, 4) == draw_lines([(xs, ys)], 20, 4)


def test_a_band_fills_exactly_its_dots() -> None:
    low, high = np.array([2.0, np.nan, 0.0, 7.0]), np.array([5.0, np.nan, 0.0, 99.0])
    rows = ["".join(chr(0x2800 + pattern) for pattern in row) for row in draw_band(low, high, 2, 2).tolist()]
    assert dots(rows) == {(0, 2), (0, 3), (0, 4), (0, 5), (2, 0), (3, 7)}


@given(st.integers(10, 1990), st.integers(20, 160), st.integers(5, 40), st.booleans())
@settings(deadline=None, max_examples=30)
def test_a_spike_of_one_sample_reaches_the_top(spike: int, width: int, height: int, log: bool) -> None:
    loss = LOSS.copy()
    loss[spike] = 12.0
    picture = draw(PlotData.run(STEPS, loss, total_steps=2000), width, height, View(scale="log" if log else "whole"))
    assert picture.area is not None
    column, top = picture.area.column(spike + 1), picture.area.y
    assert column is not None
    assert any(drawn(picture.rows[row], column) for row in range(top, top + 1 + picture.area.height // 12))


def drawn(row: Row, column: int) -> bool:
    """Whether the cell belongs to a curve, its band, or a mark of what lies beyond."""
    for text, look in row:
        if column < len(text):
            return text[column] in "▲▼●◆" or 0x2800 < ord(text[column]) < 0x2900 or "on band-line" in look
        column -= len(text)
    return False


@given(
    st.lists(st.tuples(st.integers(0, 1999), st.floats(-50, 50)), min_size=1, max_size=8),
    st.integers(20, 160),
    st.integers(5, 40),
    st.sampled_from(["auto", "whole"]),
    st.integers(0, 1500),
)
@settings(deadline=None, max_examples=20)
def test_every_value_lies_in_the_band_or_is_marked_at_the_edge(
    spikes: list[tuple[int, float]], width: int, height: int, scale: Scale, warmup: int
) -> None:
    loss = LOSS + np.random.default_rng(1).normal(0, 0.05, LOSS.size)
    for place, value in spikes:
        loss[place] = value
    state = ChartState()
    data = replace(PlotData.run(STEPS, loss, VAL_STEPS, VAL, total_steps=2000), warmup=warmup)
    picture = draw(data, width, height, View(scale=scale), state)
    area, limits = picture.area, state.limits
    assert area is not None and limits is not None
    rows = picture.rows[area.y : area.y + area.height]
    for step, value in [*zip(STEPS.tolist(), loss.tolist(), strict=True), *zip(VAL_STEPS, VAL, strict=True)]:
        column = area.column(step)
        assert column is not None
        if limits[0] <= value <= limits[1]:
            row = (
                area.height - 1 - int((value - limits[0]) / (limits[1] - limits[0]) * (4 * area.height - 1) + 0.5) // 4
            )
            assert drawn(rows[row], column)
        else:
            text = "".join(part for part, _ in rows[0 if value > limits[1] else -1])
            assert text[column] == ("▲" if value > limits[1] else "▼")


def test_the_range_is_that_of_what_comes_after_the_warm_up() -> None:
    loss = LOSS.copy()
    loss[1200] = 9.0
    state = ChartState()
    rows = draw(PlotData.run(STEPS, loss, VAL_STEPS, VAL, total_steps=2000), 80, 20, state=state).rows
    assert state.limits is not None and state.limits[0] > 1.3 and state.limits[1] < 4.0
    top = "".join(text for text, _ in rows[1])
    assert "▲ 9.0" in top and top.index("▲") == 7 and "3.9" in top
    whole = draw(PlotData.run(STEPS, loss, total_steps=2000), 80, 20, View(scale="whole")).rows
    assert "▲" not in "".join(text for text, _ in whole[1])


def test_the_newest_values_are_always_in_the_range() -> None:
    loss = LOSS.copy()
    loss[-1] = loss[-2] = 6.0
    state = ChartState()
    draw(PlotData.run(STEPS, loss, [100, 2000], [2.0, 7.0], total_steps=2000), 80, 20, state=state)
    assert state.limits is not None and state.limits[1] >= 7.0


@pytest.mark.parametrize(("axis", "last"), [("tokens", "2000k"), ("time", "80m")])
def test_the_x_axis_counts_tokens_or_time(axis: Axis, last: str) -> None:
    xs = STEPS * 1_000.0 if axis == "tokens" else STEPS * 2.5
    one = Series("", STEPS, LOSS, VAL_STEPS, VAL, xs, np.interp(VAL_STEPS, STEPS, xs))
    data = PlotData((one,), (500, 1000), cursor=1000, total_steps=2000, axis=axis)
    picture = draw(data, 100, 20)
    rows = ["".join(text for text, _ in row) for row in picture.rows]
    assert last in rows[-1].split() and rows[0].strip().startswith("step 1,000")
    assert picture.area is not None and picture.area.column(data.x_of(500)) == rows[-2].index("▲")
    for step in (1, 2, 500, 777, 2000):
        assert data.step_of(data.x_of(step)) == step
    assert data.step_of(data.x_of(1000) - 0.1) == 1000


def test_values_that_are_not_smoothed_are_drawn_as_they_are() -> None:
    noisy = LOSS + np.random.default_rng(0).normal(0, 0.3, LOSS.size)
    data = PlotData.run(STEPS, noisy, total_steps=2000, cursor=777)
    raw, usual = (draw(data, 90, 20, View(smooth=smooth)).rows for smooth in (0.0, 1.0))
    assert f"train {noisy[776]:.4f}" in "".join(text for text, _ in raw[0]) and raw != usual


def test_what_happened_stands_on_the_x_axis() -> None:
    marks = (Mark(800, "!", "alarm bold", "overfitting"), Mark(800, "▲", "dim", "checkpoint"))
    data = replace(RUN, marks=marks)
    picture = draw(data, 100, 20)
    assert picture.area is not None
    place = picture.area.column(800)
    assert place is not None
    assert "".join(text for text, _ in picture.rows[-2])[place] == "!"
    assert [mark.words for mark in marks_in(data, picture.area)[place]] == ["overfitting", "checkpoint"]


def test_without_tints_the_band_is_a_light_pattern() -> None:
    noisy = LOSS + np.random.default_rng(0).normal(0, 0.3, LOSS.size)
    bare = draw(PlotData.run(STEPS, noisy), 90, 20, tinted=False).rows
    assert "░" in "".join(text for row in bare for text, _ in row)
    assert not any(" on " in look for row in bare for _, look in row)


def test_losses_that_are_not_numbers_are_marked() -> None:
    loss = LOSS.copy()
    loss[1000] = np.nan
    assert "×" in text(PlotData.run(STEPS, loss))[1]
    assert not any("×" in row for row in text(RUN))


@pytest.mark.parametrize(("width", "height"), [(8, 1), (20, 5), (40, 8), (80, 24), (140, 40), (400, 100)])
@pytest.mark.parametrize(
    "data", [RUN, PlotData(), PlotData((Series("a", STEPS, LOSS), Series("b", STEPS, LOSS * 0.9)))]
)
def test_it_fits_every_size(data: PlotData, width: int, height: int) -> None:
    rows = draw(data, width, height, View()).rows
    assert len(rows) == height if data.series else 1
    assert all(width_of(row) <= width for row in rows)


def test_axes_and_legend_say_what_is_seen() -> None:
    rows = text(RUN)
    assert "─ train 1.5" in rows[0] and "● val 1.6" in rows[0] and "◆ best 1.6" in rows[0] and "at 2,000" in rows[0]
    assert rows[-1].split() == ["0", "1,000", "2,000", "3,000", "4,000"]
    assert rows[-2].count("▲") == 2
    assert [row[:6].strip() for row in rows if row[6:7] == "┤"] == ["2.5", "2.0", "1.5"]


def test_marks_stand_at_their_steps() -> None:
    picture = draw(RUN, 80, 20)
    rows = ["".join(text for text, _ in row) for row in picture.rows]
    assert picture.area is not None
    for step in RUN.checkpoints:
        assert rows[-2][picture.area.column(step) or 0] == "▲"
    best = picture.area.column(2000)
    assert any(row[best : best + 1] == "◆" for row in rows if best is not None)


def test_the_cursor_shows_the_values_at_its_step() -> None:
    pointed = PlotData.run(STEPS, LOSS, VAL_STEPS, VAL, cursor=500, total_steps=4000)
    rows = text(pointed)
    assert rows[0].strip().startswith("step 500") and "min–max 1.91–1.99" in rows[0]
    assert f"val {VAL[1]:.4f}" in rows[0]
    assert sum("│" in row[8:] for row in rows) > 5


def test_points_under_the_pointer_and_steps_are_the_same() -> None:
    area = draw(RUN, 100, 20).area
    assert area is not None
    for column in range(area.x, area.x + area.width):
        assert area.column(RUN.step_of(area.at(column))) == column


def test_growing_gives_the_picture_that_drawing_anew_gives() -> None:
    noisy = LOSS + np.random.default_rng(0).normal(0, 0.1, LOSS.size)
    noisy[700] = np.nan
    state = ChartState()
    for size in (1, 2, 50, 51, 699, 702, 1500, 2000):
        data = PlotData.run(STEPS[:size], noisy[:size], total_steps=2000)
        grown = draw(data, 90, 20, state=state)
        state.limits = None  # the range may stay where it was while growing
        assert draw(data, 90, 20, state=state).rows == draw(data, 90, 20).rows
        assert grown.area == draw(data, 90, 20).area


def test_a_run_that_is_taken_back_is_drawn_anew() -> None:
    state = ChartState()
    draw(RUN, 80, 20, state=state)
    back = PlotData.run(STEPS[:500], LOSS[:500], total_steps=4000)
    state.limits = None
    assert draw(back, 80, 20, state=state).rows == draw(back, 80, 20).rows


def test_a_window_shows_only_itself() -> None:
    rows = draw(RUN, 80, 20, View(window=(1000.0, 1500.0))).rows
    assert "".join(text for text, _ in rows[-1]).split() == ["1,000", "1,100", "1,200", "1,300", "1,400", "1,500"]


def test_overlaid_runs_are_numbered_and_named() -> None:
    both = PlotData((Series("shakes-01", STEPS, LOSS), Series("\x1b[31mevil", STEPS, LOSS * 0.8)))
    rows = text(both, 100, 20)
    assert "1 shakes-01 1.5" in rows[0] and "2 ␛[31mevil 1.2" in rows[0]
    assert sum(row[8:].count("1") + row[8:].count("2") for row in rows[1:-2]) == 2
    narrow = text(PlotData(tuple(Series("a-long-name-" + str(i), STEPS, LOSS + i) for i in range(4))), 60, 12)[0]
    assert all(f"{i} a-" in narrow for i in range(1, 5))


def test_text_without_colour_holds_no_escape_and_with_it_the_same_words() -> None:
    bare, colored = draw_text(RUN, 80, 20, color=False), draw_text(RUN, 80, 20, color=True)
    assert "\x1b" not in bare and "\x1b[" in colored
    assert [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", colored).split("\n")] == bare.split("\n")


def test_nothing_to_draw_is_said() -> None:
    assert text(PlotData(empty="no run yet")) == ["no run yet"]


@pytest.mark.parametrize("log", [False, True])
def test_odd_series_are_drawn_all_the_same(log: bool) -> None:
    for steps, loss in [([5], [2.0]), ([1, 2], [1.0, 1.0]), ([1], [np.nan]), ([1, 9], [0.0, -1.0]), ([0], [1e-9])]:
        rows = text(PlotData.run(steps, loss), 60, 12, log)
        assert len(rows) == 12


# -- the labels under the x axis


def axis_and_labels(first: float, last: float, width: int) -> tuple[str, str, Area]:
    run = PlotData.run([1, last + 1], [2.0, 1.0], total_steps=int(last) + 1)
    picture = draw(run, width, 12, View(window=(first, last)))
    assert picture.area is not None
    axis, labels = ("".join(text for text, _ in row) for row in picture.rows[-2:])
    return axis, labels.ljust(width), picture.area


def number(label: str) -> float:
    """The step that a label says: `1,000`, `12k`, `1.5M`."""
    scale = {"k": 1e3, "M": 1e6, "B": 1e9}.get(label[-1], 1.0)
    return float(label.replace(",", "").rstrip("kMB")) * scale


SPANS = st.one_of(st.integers(4, 4000), st.integers(4, 10**8))


@settings(max_examples=40)
@given(st.one_of(st.integers(0, 3000), st.integers(0, 10**8)), SPANS, st.integers(30, 200))
def test_every_label_of_the_x_axis_stands_under_its_own_tick(first: int, size: int, width: int) -> None:
    axis, labels, area = axis_and_labels(first, first + size, width)
    found = list(re.finditer(r"\S+", labels))
    assert found
    ticks = [column for column, mark in enumerate(axis) if mark in "┬▲" and area.x <= column]
    for match in found:
        column = area.column(number(match[0]))
        assert column is not None and column in ticks
        middle = min(max(column - len(match[0]) // 2, 0), width - len(match[0]))
        assert match.start() == middle


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (4, ["0", "1", "2", "3", "4"]),
        (500, ["0", "100", "200", "300", "400", "500"]),
        (9_000, ["0", "2,000", "4,000", "6,000", "8,000"]),
        (15_000, ["0", "2k", "4k", "6k", "8k", "10k", "12k", "14k"]),
        (60_000, ["0", "10k", "20k", "30k", "40k", "50k", "60k"]),
        (4_000_000, ["0", "1M", "2M", "3M", "4M"]),
        (100_000_000, ["0", "20M", "40M", "60M", "80M", "100M"]),
    ],
)
def test_the_labels_of_the_x_axis_are_round_and_short(last: int, said: list[str]) -> None:
    picture = draw(PlotData.run([1, last], [2.0, 1.0], total_steps=last), 80, 12)
    assert "".join(text for text, _ in picture.rows[-1]).split() == said


def test_labels_of_a_narrow_window_far_along_are_told_apart() -> None:
    _, labels, _ = axis_and_labels(123_450, 123_500, 80)
    assert labels.split() == ["123,450", "123,460", "123,470", "123,480", "123,490", "123,500"]


@pytest.mark.parametrize("axis", ["steps", "tokens"])
def test_any_number_of_marks_is_placed_as_each_alone_is(axis: Axis) -> None:
    one = Series("", STEPS, LOSS, xs=None if axis == "steps" else np.sqrt(STEPS) * 1_000.0)
    marks = tuple(Mark(step, "!", "alarm", f"at {step}") for step in range(1, 2001, 3))
    data = PlotData((one,), marks=marks, axis=axis, total_steps=2000)
    area = draw(data, 100, 20).area
    assert area is not None
    placed = marks_in(data, area)
    assert sum(map(len, placed.values())) == len(marks)
    for column, together in placed.items():
        assert {area.column(data.x_of(mark.step)) for mark in together} == {column}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
def test_a_quantile_is_numpys(values: list[float], share: float) -> None:
    assert quantile(np.asarray(values), share) == pytest.approx(np.quantile(values, share), rel=1e-9, abs=1e-9)


def test_what_went_wrong_is_broken_at_words_and_slashes() -> None:
    problem = "cannot write /scratch/somebody/runs/notes/metrics.jsonl; 診療記録 free a place " + "x" * 30
    for width in range(8, 60):
        lines = problem_lines(problem, width, 99)
        assert all(cell_len(line) <= width for line in lines)
        assert "".join(lines).replace(" ", "") == problem.replace(" ", "")
        assert all(any(name in line for line in lines) for name in ("somebody", "metrics", "診療記録") if width >= 15)
        few = problem_lines(problem, width, 2)
        assert (
            few == lines if len(lines) <= 2 else len(few) == 2 and few[-1].endswith("…") and cell_len(few[1]) <= width
        )
    assert problem_lines("", 20, 3) == problem_lines("  ", 20, 3) == []


def test_no_mark_stands_in_a_figure_at_the_edge() -> None:
    """A value beyond the range is said whole, or not: × and the letters of pages are there before it."""
    loss = np.where(STEPS < 60, 9.5, LOSS)
    for gap in range(60, 320, 7):
        holed = np.where((gap <= STEPS) & (gap + 40 > STEPS), np.nan, loss)
        data = PlotData.run(STEPS, holed, VAL_STEPS, VAL, pointers=(("A", gap), ("B", gap + 60)), total_steps=2000)
        first = next(row for row in text(data) if "▲" in row).partition("│")[2]
        assert "×" in first and "A" in first
        assert all(re.fullmatch(r"\d\.\d", said) for said in re.findall(r"[\d.]+", first)), first
        assert not re.search(r"[A-Z×▲]\d|\d[A-Z×▲]", first), first
