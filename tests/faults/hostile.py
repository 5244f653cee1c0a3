"""Text that tries to drive a terminal, and the judge of the bytes that reached one."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

MARK = "73"
"""A style that nothing of ours uses: seen in the output, it came from the text."""
ESCAPES = (
    *("\x1b]0;owned\x07", "\x1b]2;owned\x1b\\", "\x1b]52;c;b3duZWQ=\x07", "\x1b]8;;http://x/\x1b\\x\x1b]8;;\x1b\\"),
    *(f"\x1b[{MARK}m", f"\x9b{MARK}m", "\x1b[2J", "\x1b[H", "\x1b[666;666H", "\x1b[6n", "\x1b[c", "\x1b[?1049l"),
    *("\x1b[?1000h", "\x1b[?2004h", "\x1b[21t", "\x1b[20h", "\x1b[4i", "\x1b[!p", "\x1b[?25l", "\x1b[1;1r", "\x1b[99S"),
    *(
        "\x1bP$q q\x1b\\",
        "\x1bP1$r\x9c",
        "\x90+q544e\x9c",
        "\x1b_Gf=100;AAAA\x1b\\",
        "\x1b^private\x1b\\",
        "\x1bX\x1b\\",
    ),
    *(
        "\x1bc",
        "\x1b7",
        "\x1b8",
        "\x1b#8",
        "\x1b(0",
        "\x1bN",
        "\x1b=",
        "\x1b",
        "\x9d0;owned\x9c",
        "\x9c",
        "\x84",
        "\x85",
    ),
    *(
        "\r",
        "\b\b\b\b",
        "\x07",
        "\x0e",
        "\x0f",
        "\x00",
        "\x05",
        "\x11",
        "\x13",
        "\x18",
        "\x1a",
        "\x7f",
        "\v",
        "\f",
        "\t",
    ),
)
MARKUP = (
    "[red]",
    "[/red]",
    "[@click=app.quit]x[/]",
    "[bold",
    "]",
    "\\[",
    "[link=http://x]",
    "[/]",
    "{0}",
    "%s",
    ":bomb:",
)
TURNING = tuple(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
ODD = (
    *("\u2028", "\u2029", "\u200b", "\u200d", "\ufeff", "\u00ad", "\U000e0041", "\ud800", "\udfff", "\ufffe"),
    *("e" + "\u0301" * 40, "\u0301", "\u20dd" * 9, "\u6f22" * 7, "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    *(
        "\U0001f1e9\U0001f1ea",
        "\u05e9\u05dc\u05d5\u05dd",
        "\u0627\u0644",
        "\u1112\u1161\u11ab",
        "x\ufe0f",
        "\ue000",
        "\u0e33",
    ),
    *("A" * 3000, "\u6f22" * 900, " " * 500, "\n" * 30, "a\r\nb", "-" * 200),
)
texts = st.lists(
    st.sampled_from(ESCAPES) | st.sampled_from(MARKUP) | st.sampled_from(TURNING) | st.sampled_from(ODD)
    | st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=20)
    | st.text("abc \n\x1b[]", max_size=9),
    min_size=1, max_size=6,
).map("".join)  # fmt: skip


def drawn(count: int, start: int = 0) -> list[str]:
    """`count` hostile texts, the same at every call."""
    found: list[str] = []

    @seed(start)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(texts)
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return [found[number % len(found)] for number in range(count)]


STYLE = re.compile(r"\x1b\[([0-9;:]*)m")
PLACE = re.compile(r"\x1b\[(\d*)(?:;(\d*))?H")
PRINTED = re.compile(r"\x1b\[(?:\?25[lh]|\d*[ABCDGJK])")
"""What lines that are printed and a progress bar need beside styles."""
WORKBENCH = re.compile(
    r"\x1b\[\?(?:25|1000|1002|1003|1004|1006|1015|1016|1049|2004|2026|2048|7)[hl]|\x1b\[\?(?:2026|2048)\$p|\x1b\[[><=]\d*u"
    r"|\x1b\]22;[a-z-]{1,20}\x07|\x1b\[\?u|\x1b\[\d? q|\x1b\[6n|\x1b\[0?c|\x1b\[(?:2|3)?J|\x1b\[K|\x1b\[>4;\dm"
)
"""What Textual says to a terminal at the start and the end."""
BARRED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def judge(data: bytes, own: re.Pattern[str], columns: int = 500, rows: int = 200) -> None:
    """AssertionError with what drove the terminal: all but styles, places on the screen, and the sequences in `own`."""
    text = data.decode("utf-8")
    for style in STYLE.findall(text):
        assert MARK not in re.split("[;:]", style), "a style of the text's own"
    for row, column in PLACE.findall(text):
        assert int(row or 1) <= rows and int(column or 1) <= columns, f"the cursor was sent to {row};{column}"
    rest = own.sub("", PLACE.sub("", STYLE.sub("", text)))
    for at, character in enumerate(rest):
        if character not in "\r\n" and unicodedata.category(character) in BARRED:
            raise AssertionError(f"U+{ord(character):04X} reached the terminal in {rest[max(0, at - 30) : at + 30]!r}")
