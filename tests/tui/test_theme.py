"""Every theme has every colour, and what it writes can be read."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import Theme

from tui.theme import ANSI, DEFAULT_VARIABLES, THEMES


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_every_theme_has_every_colour(theme: Theme) -> None:
    assert set(DEFAULT_VARIABLES) <= set(theme.variables)
    for name in DEFAULT_VARIABLES:
        Color.parse(theme.variables[name])


def contrast(one: Color, other: Color) -> float:
    """The contrast ratio of WCAG 2: 1 to 21."""

    def luminance(color: Color) -> float:
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [each for each in THEMES if each.name != ANSI], ids=lambda theme: theme.name)
def test_text_and_curves_stand_out_from_the_ground(theme: Theme) -> None:
    ground = Color.parse(theme.background or "")
    for name in ("bright", "dim", "train", "val", "good", "alarm"):
        assert contrast(Color.parse(theme.variables[name]), ground) >= (7 if name == "bright" else 4), name
    for name in (f"series-{index}" for index in range(1, 7)):
        assert contrast(Color.parse(theme.variables[name]), ground) >= 3, name
    assert contrast(Color.parse(theme.variables["bright"]), Color.parse(theme.variables["select"])) >= 7
