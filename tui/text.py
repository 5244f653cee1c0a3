"""Text on its way to the terminal: the one sanitizer, and values in fixed widths.

Model output, corpora, names and errors may hold anything, escape sequences included, and Textual's widgets pass most of
it on to the terminal. All that is foreign therefore goes through `clean` (a string) or `plain` (a `Content` that is
never read as markup) at the render boundary, and nowhere else. What `clean` returns holds only printable characters and
newlines, and its width in cells is the sum of the widths of its characters, whichever way a terminal clusters them.

    clean(text, keep_newlines=True) -> str      plain(text, style="") -> Content
    fit(text, width, align="left") -> str       exactly `width` cells, cut with an ellipsis
    wrap(text, width) -> where its lines are    lines_of(text, width) -> its words in lines
    fmt_count(118_000) -> "118k"                fmt_bytes(3.4e9) -> "3.2 GiB"      fmt_duration(192) -> "3m12s"
    fmt_loss(1.5123) -> "1.5123"                fmt_lr(9.1e-4) -> "9.1e-4"         fmt_percent(0.25) -> " 25%"
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len, get_character_cell_size, set_cell_size

if TYPE_CHECKING:
    from textual.content import Content

Part = tuple[str, str]
"""Clean text and its look (see `tui.widgets.paint`)."""
Row = Sequence[Part]
"""One line of them."""

TAB = "    "
MISSING = "–"
MAX_MARKS = 3  # combining marks kept on one character; more would climb over the lines above

_TELLING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_MARKS = {"Mn", "Me"}


def _shown(code: int) -> str:
    """What stands for the character `code`: itself, a control picture, `<U+202E>`, or nothing."""
    character = chr(code)
    if character == "\t":
        return TAB
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:
        return ""  # variation selectors pick a glyph; terminals disagree whether they also change its width
    category = unicodedata.category(character)
    if category in _TELLING:
        return f"<U+{code:04X}>"
    if category in _MARKS:
        return character
    # No width and no mark, or a flag's half and a skin tone: drawn differently by every terminal.
    odd = get_character_cell_size(character) < 1 or 0x1F1E6 <= code <= 0x1F1FF or 0x1F3FB <= code <= 0x1F3FF
    return f"<U+{code:04X}>" if odd else character


class _Table(dict[int, str]):
    """`_shown` for `str.translate`, remembered for each character met."""

    def __missing__(self, code: int) -> str:
        shown = self[code] = _shown(code)
        return shown


_KEEP = _Table({0x0A: "\n"})
_ONE_LINE = _Table({0x0A: "␊"})
_harmless = re.compile(r"[ -~\n]*").fullmatch
_wide_marks = re.compile(r"[^\x00-\u02ff]").search


def clean(text: str, *, keep_newlines: bool = True) -> str:
    """`text` with everything that could drive a terminal made visible.

    Controls become their pictures (`␛`, `␀`), format and bidi characters, lone surrogates, private and unassigned code
    points become `<U+202E>`, a tab four spaces, CRLF a newline; with `keep_newlines=False` a newline becomes `␊`. At
    most three combining marks stay on a character; a mark with nothing before it gets a `◌` to stand on.
    """
    if _harmless(text):
        return text if keep_newlines else text.replace("\n", "␊")
    text = text.replace("\r\n", "\n").translate(_KEEP if keep_newlines else _ONE_LINE)
    return _tame_marks(text) if _wide_marks(text) else text


def printable(text: str) -> str:
    """One line of text as it is, when nothing in it can drive a terminal; else cleaned. The last look before cells."""
    return text if text.isprintable() else clean(text, keep_newlines=False)


def _tame_marks(text: str) -> str:
    """Give marks a base to stand on and drop those beyond MAX_MARKS."""
    out: list[str] = []
    marks = -1  # -1: nothing to stand on yet
    for character in text:
        if character == "\n":
            marks = -1
        elif unicodedata.category(character) in _MARKS:
            # A mark that takes a cell of its own needs no base and is no burden.
            if get_character_cell_size(character) == 0:
                if marks < 0:
                    out.append("◌")
                    marks = 0
                marks += 1
                if marks > MAX_MARKS:
                    continue
        else:
            marks = 0
        out.append(character)
    return "".join(out)


def plain(text: str, style: str = "", *, keep_newlines: bool = True) -> Content:
    """`clean(text)` as Textual content; brackets in it are brackets, never markup."""
    from textual.content import Content  # here, so that the command line does not load Textual

    return Content.styled(clean(text, keep_newlines=keep_newlines), style)


def fit(text: str, width: int, align: Literal["left", "right"] = "left") -> str:
    """Clean `text` in exactly `width` cells of one line, cut with `…` where it is longer."""
    text = clean(text, keep_newlines=False)
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - size) + text if align == "right" else text + " " * (width - size)


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def fmt_count(value: float | None) -> str:
    """A count in at most five characters: 999, 1.23k, 118k, 10.7M, 1.20B."""
    if value is None or not math.isfinite(value):
        return MISSING
    sign, value = ("-" if value < 0 else ""), abs(value)
    if value < 999.5:
        return f"{sign}{value:.0f}"
    for unit in "kMBT":
        value /= 1000
        if value < 999.5:
            return f"{sign}{_three_digits(value)}{unit}"
    return f"{sign}{value:.3g}T"


def fmt_bytes(value: float | None) -> str:
    """A size in at most eight characters, in binary units: 512 B, 3.20 MiB, 141 GiB."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 1000:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 999.5:
            return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"
    return f"{value:.0f} TiB"


def fmt_duration(seconds: float | None) -> str:
    """A time as people say it: 0.4s, 45s, 3m12s, 2h05m, 3d04h."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def fmt_loss(value: float | None) -> str:
    """A loss with four decimals; `nan` and `inf` are said, None is missing."""
    return MISSING if value is None else f"{value:.4f}"


def fmt_lr(value: float | None) -> str:
    """A learning rate or another small number in two digits: 9.1e-4, 0."""
    if value is None:
        return MISSING
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def fmt_percent(fraction: float | None) -> str:
    """A fraction as a percentage in four characters: ` 25%`."""
    return f"{MISSING:>4}" if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:3.0f}%"


def width_of(row: Row) -> int:
    """Cells that `row` takes."""
    return sum(cell_len(text) for text, _ in row)


Line = tuple[int, int]
"""Where a shown line begins and ends in the text."""


def _fits(text: str, start: int, end: int, width: int) -> int:
    """How far `text[start:end]` goes in `width` cells: the index of the first character that has no room."""
    if text[start : min(end, start + width)].isascii():
        return min(end, start + width)
    cells = 0
    for index in range(start, end):
        cells += get_character_cell_size(text[index])
        if cells > width and index > start:
            return index
    return end


def wrap(text: str, width: int, start: int = 0) -> list[Line]:
    """Lines of `text[start:]` in `width` cells, broken at spaces where there are any.

    Greedy, so the lines from a line's start on depend on nothing before it: wrapping again from the last line gives
    what wrapping everything would. A line has a character also where there is no width, as before a first layout.
    """
    width = max(1, width)
    lines: list[Line] = []
    while True:
        newline = text.find("\n", start)
        end = len(text) if newline < 0 else newline
        while (cut := _fits(text, start, end, width)) < end:
            space = text.rfind(" ", start + 1, cut + 1)
            if space > 0:
                lines.append((start, space))
                start = space + 1
            else:
                lines.append((start, cut))
                start = cut
        lines.append((start, end))
        if newline < 0:
            return lines
        start = newline + 1


def lines_of(text: str, width: int) -> list[str]:
    """The words of `text` in lines of `width` cells."""
    words = " ".join(text.split())
    return [words[start:end] for start, end in wrap(words, width)] if words else []


def nothing(said: str, width: int) -> list[list[Part]]:
    """What stands where there is nothing yet: what will be there, in as many lines as that takes."""
    return [[(line, "dim")] for line in lines_of(clean(said, keep_newlines=False), width)]
