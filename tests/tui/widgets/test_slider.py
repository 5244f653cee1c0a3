"""A slider by keys, by typing, by mouse; at any width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tui.theme import Themed
from tui.widgets.slider import TEMPERATURE, TOP_P, Scale, Slider, top_k_scale

TOP_K = top_k_scale(1024)


class Harness(Themed, App[None]):
    def __init__(self, value: float, scale: Scale) -> None:
        super().__init__()
        self.slider = Slider("temperature", value, scale)
        self.changes: list[float] = []

    def compose(self) -> ComposeResult:
        yield self.slider

    def on_mount(self) -> None:
        self.slider.focus()

    def on_slider_changed(self, event: Slider.Changed) -> None:
        assert event.control is self.slider
        self.changes.append(event.value)

    def row(self) -> str:
        return self.screen._compositor.render_strips()[0].text


async def press(pilot: Pilot[None], app: Harness, *keys: str) -> list[float]:
    app.changes.clear()
    await pilot.press(*keys)
    return [round(value, 4) for value in app.changes]


async def test_keys_move_by_step_fine_and_coarse() -> None:
    app = Harness(0.8, TEMPERATURE)
    async with app.run_test(size=(60, 2)) as pilot:
        assert await press(pilot, app, "right", "left") == [0.85, 0.8]
        assert await press(pilot, app, "shift+right", "shift+left", "shift+left") == [0.81, 0.8, 0.79]
        assert await press(pilot, app, "right") == [0.8]
        assert await press(pilot, app, "pageup", "pagedown") == [1.0, 0.75]
        assert await press(pilot, app, "home", "left", "end", "right") == [0.0, 2.0]


async def test_top_k_is_logarithmic_and_off_lies_beyond_the_vocabulary() -> None:
    app = Harness(40, TOP_K)
    async with app.run_test(size=(60, 2)) as pilot:
        assert app.row().endswith("  40")
        assert await press(pilot, app, "right", "right", "shift+left") == [50, 70, 69]
        assert await press(pilot, app, "end") == [0]
        assert app.row().endswith(" off")
        assert await press(pilot, app, "right", "left", "left", "right", "right") == [1024, 1000, 1024, 0]
        assert await press(pilot, app, "home") == [1]


@pytest.mark.parametrize(
    ("value", "key", "reached"),
    [
        (45, "right", 50), (45, "left", 40), (45, "pageup", 100), (45, "pagedown", 20),
        (44, "pageup", 100), (41, "pagedown", 20), (40, "pageup", 100), (40, "pagedown", 15),
        (11, "pagedown", 5), (11, "pageup", 30), (999, "pageup", 1024), (2, "pagedown", 1), (6, "pageup", 15),
        (1023, "right", 1024), (1001, "left", 1000), (8, "shift+left", 7), (1024, "shift+right", 0),
    ],
)  # fmt: skip
async def test_keys_between_the_rungs_of_a_logarithmic_slider(value: int, key: str, reached: int) -> None:
    app = Harness(value, TOP_K)
    async with app.run_test(size=(60, 2)) as pilot:
        assert await press(pilot, app, key) == [reached]


async def test_clicks_between_the_rungs_of_a_logarithmic_slider() -> None:
    app = Harness(1, TOP_K)
    async with app.run_test(size=(60, 2)) as pilot:
        start = app.row().index("◂") + 1
        size = app.row().index("▸") - start
        for column in (size // 3, size // 2, 2 * size // 3, size - 2):
            await pilot.click(app.slider, offset=(start + column, 0))
            wanted = 1024 ** (column / (size - 1))
            assert app.slider.value == round(wanted), column
            assert app.row().index("●") == start + column, "the knob stands where the click was"
        await pilot.click(app.slider, offset=(start + size - 1, 0))
        assert app.slider.value == 0 and app.row().endswith(" off")
        app.slider.set_value(45)
        await pilot.click(app.slider, offset=(start - 1, 0))
        assert app.slider.value == 40
        app.slider.set_value(45)
        await pilot.click(app.slider, offset=(start + size, 0))
        assert app.slider.value == 50


async def test_a_long_number_is_typed_whole() -> None:
    app = Harness(1, top_k_scale(151_936))
    async with app.run_test(size=(60, 2)) as pilot:
        assert await press(pilot, app, *"151000", "enter") == [151_000]
        assert len(app.row()) == 60
        assert await press(pilot, app, *"9999999", "enter") == [] and "to 151936" in app.row()


async def test_top_p_is_off_at_one() -> None:
    app = Harness(0.95, TOP_P)
    async with app.run_test(size=(60, 2)) as pilot:
        assert await press(pilot, app, "right", "right", "left") == [1.0, 0.95]
        await press(pilot, app, "end")
        assert app.row().endswith(" off")


async def test_a_typed_value_is_taken_refused_or_given_up() -> None:
    app = Harness(0.8, TEMPERATURE)
    async with app.run_test(size=(60, 2)) as pilot:
        assert await press(pilot, app, "1", ".", "2", "5") == []
        assert "1.25▏" in app.row()
        assert await press(pilot, app, "enter") == [1.25]
        assert await press(pilot, app, "9", "enter") == [] and app.slider.value == 1.25
        assert "0 to 2" in app.row() and "●" not in app.row()
        assert await press(pilot, app, "1", ".", "escape") == []
        assert app.row().endswith("1.25") and "●" in app.row()
        assert await press(pilot, app, "7", "backspace", "right") == [1.3]


@pytest.mark.parametrize("typed", ["off", "OFF", "Off", "0"])
async def test_off_can_be_typed(typed: str) -> None:
    app = Harness(40, TOP_K)
    async with app.run_test(size=(60, 2)) as pilot:
        assert await press(pilot, app, *typed, "enter") == [0]
        assert app.row().endswith(" off")


async def test_what_has_no_off_takes_none() -> None:
    app = Harness(0.8, TEMPERATURE)
    async with app.run_test(size=(60, 2)) as pilot:
        assert await press(pilot, app, "o", "f", "f", "enter") == []
        assert app.slider.value == 0.8 and app.row().endswith("0.80")


async def test_a_typed_value_out_of_order_is_refused() -> None:
    app = Harness(40, TOP_K)
    async with app.run_test(size=(60, 2)) as pilot:
        assert await press(pilot, app, "0", "enter") == [0]
        assert await press(pilot, app, "1", "2", "enter") == [12]
        assert await press(pilot, app, "1", "o", "backspace", "backspace", "1", ".", "5", "enter") == []
        assert "whole" in app.row()


async def test_escape_without_typing_is_not_swallowed() -> None:
    reached: list[str] = []

    class Outer(Harness):
        def on_key(self, event: object) -> None:
            reached.append(getattr(event, "key", ""))

    app = Outer(0.8, TEMPERATURE)
    async with app.run_test(size=(60, 2)) as pilot:
        await pilot.press("escape", "q", "enter")
        assert reached == ["escape", "q", "enter"]


async def test_the_mouse_sets_and_drags() -> None:
    app = Harness(0.8, TEMPERATURE)
    async with app.run_test(size=(60, 2)) as pilot:
        row = app.row()
        left, right = row.index("◂"), row.index("▸")
        await pilot.mouse_down(app.slider, offset=(left + 1, 0))
        await pilot.hover(app.slider, offset=((left + right) // 2, 0))
        await pilot.hover(app.slider, offset=(right - 1, 0))
        await pilot.mouse_up(app.slider, offset=(right - 1, 0))
        await pilot.hover(app.slider, offset=(left + 3, 0))
        assert app.changes[0] == 0.0 and app.changes[-1] == 2.0 and 0.9 < app.changes[1] < 1.1
        await pilot.click(app.slider, offset=(left, 0))
        assert app.slider.value == 1.95


async def test_setting_from_code_says_nothing_and_clamps() -> None:
    app = Harness(0.8, TEMPERATURE)
    async with app.run_test(size=(60, 2)) as pilot:
        app.slider.set_value(7)
        app.slider.scale = Scale(0.0, 1.0)
        await pilot.pause()
        assert app.slider.value == 1.0 and app.changes == []


@pytest.mark.parametrize("width", [20, 24, 40, 140])
async def test_it_fits_and_never_jitters(width: int) -> None:
    app = Harness(0.8, TEMPERATURE)
    async with app.run_test(size=(width, 2)) as pilot:
        rows = [app.row()]
        for _ in range(50):
            app.slider.set_value(app.slider.value + 0.03)
            await pilot.pause()
            rows.append(app.row())
        assert {(row.index("◂"), row.index("▸"), len(row)) for row in rows} == {
            (rows[0].index("◂"), rows[0].index("▸"), width)
        }
        assert all(row.count("●") == 1 for row in rows)


async def test_the_focus_shows_without_colour() -> None:
    app = Harness(0.8, TEMPERATURE)
    async with app.run_test(size=(60, 2)) as pilot:
        assert app.row().startswith("❯")
        app.set_focus(None)
        await pilot.pause()
        assert app.row().startswith(" ")


scales = st.sampled_from([TEMPERATURE, TOP_P, TOP_K, top_k_scale(65), top_k_scale(2)])


@given(scales, st.floats(0, 1))
def test_every_place_on_the_bar_is_a_value_and_back(scale: Scale, fraction: float) -> None:
    value = scale.at(fraction)
    assert value == scale.off or scale.low <= value <= scale.high
    assert 0 <= scale.fraction(value) <= 1
    assert scale.parse(scale.text(value)) == value


@given(scales, st.floats(0, 1), st.sampled_from(["fine", "step", "coarse"]))
def test_every_step_moves_until_the_end(scale: Scale, fraction: float, size: str) -> None:
    value = scale.at(fraction)
    for _ in range(1100):
        following = scale.move(value, 1, size)
        assert following == scale.off or following >= value
        if following == value:
            break
        value = following
    assert scale.fraction(value) == 1.0
