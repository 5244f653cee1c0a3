"""How much of something looks: grounds of five steps, doubled by bold and underline, or by marks that fill a cell."""

from __future__ import annotations

import math
from bisect import bisect_right

from tui.widgets.tokentext import surprise_look

SHARES = (0.02, 0.08, 0.2, 0.4, 0.7)
"""Parts of a whole from which on a cell glows, and glows brighter."""
SHADES = (" ", "·", "░", "▒", "▓", "█")
GLOW = (
    "dim",
    "foreground on glow-1",
    "foreground on glow-2",
    "bright on glow-3",
    "bright bold on glow-4",
    "background bold underline on glow-5",
)
BARS = " ▁▂▃▄▅▆▇█"


def heat(loss: float) -> str:
    """The look of a token of so many nats."""
    return surprise_look(loss / math.log(2))


def share_level(share: float) -> int:
    """0 to 5."""
    return bisect_right(SHARES, share)


def glow(share: float) -> str:
    """The look of a text that has so much of the whole."""
    return GLOW[share_level(share)]


def bar_mark(fraction: float) -> str:
    """A cell filled so far from below; empty only for nothing."""
    if not fraction > 0:
        return BARS[0]
    return BARS[max(1, min(8, round(8 * fraction)))]


def cell(share: float, below: float | None, marks: bool) -> tuple[str, str]:
    """A cell of a map as (text, look): a shade where colour is not to be had, else two values, one over the other."""
    if marks:
        return SHADES[share_level(share)], "foreground"
    upper, lower = share_level(share), share_level(below) if below is not None else 0
    if not upper and not lower:
        return " ", ""
    if not lower:
        return "▀", f"glow-{upper}"
    if not upper:
        return "▄", f"glow-{lower}"
    return "▀", f"glow-{upper} on glow-{lower}"
