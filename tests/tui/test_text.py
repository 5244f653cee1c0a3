"""Nothing that passes the sanitizer can drive a terminal, and its width is what it looks like."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len, get_character_cell_size

from tui.text import (
    clean,
    fit,
    fmt_bytes,
    fmt_count,
    fmt_duration,
    fmt_loss,
    fmt_lr,
    fmt_percent,
    plain,
)

any_text = st.text(alphabet=st.characters(codec=None, exclude_categories=())) | st.text(
    alphabet=st.sampled_from("a\x1b[31m]\x07\r\n\t\u202e\u200d\u0301\ufe0f漢\U0001f468\U0001f3fb\ud800\ue000\x9b")
)


@given(any_text)
def test_nothing_of_a_cleaned_text_drives_a_terminal(text: str) -> None:
    forbidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert not [c for c in clean(text) if c != "\n" and unicodedata.category(c) in forbidden]
    assert "\n" not in clean(text, keep_newlines=False)
    clean(text).encode("utf-8")


@given(any_text)
def test_width_is_the_sum_of_the_characters(text: str) -> None:
    for line in clean(text).split("\n"):
        assert cell_len(line) == sum(map(get_character_cell_size, line))


@given(any_text)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(any_text, st.integers(0, 30))
def test_fit_is_exactly_as_wide_as_asked(text: str, width: int) -> None:
    assert cell_len(fit(text, width)) == width
    assert cell_len(fit(text, width, "right")) == width


@given(any_text)
def test_plain_text_is_never_read_as_markup(text: str) -> None:
    assert plain(text).plain == clean(text)
    assert plain("[red]" + text).plain.startswith("[red]")


def test_what_is_hidden_becomes_visible() -> None:
    assert clean("\x1b]52;c;Zm9v\x07") == "␛]52;c;Zm9v␇"
    assert clean("a\u202eb\u200bc\x9b\x7f") == "a<U+202E>b<U+200B>c<U+009B>␡"
    assert clean("\ud800\ue000\U0010ffff") == "<U+D800><U+E000><U+10FFFF>"
    assert clean("one\r\ntwo\rthree\tfour") == "one\ntwo␍three    four"
    assert clean("one\ntwo", keep_newlines=False) == "one␊two"
    assert clean("漢字 é ñ äöü — ok") == "漢字 é ñ äöü — ok"


BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
HIDING = [
    0x00AD,
    0x180E,
    *range(0x200B, 0x200E),
    0x2028,
    0x2029,
    *range(0x2060, 0x2065),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
]
TAGS = [0xE0001, *range(0xE0020, 0xE0080)]
SURROGATES = [0xD800, 0xDB40, 0xDBFF, 0xDC00, 0xDFFF]


@pytest.mark.parametrize("keep_newlines", [True, False])
@pytest.mark.parametrize("code", [*range(0x80, 0xA0), *BIDI, *HIDING, *TAGS, *SURROGATES], ids=hex)
def test_each_of_what_turns_or_hides_text_is_named(code: int, keep_newlines: bool) -> None:
    said = f"<U+{code:04X}>"
    for text in (chr(code), f"a{chr(code)}b", f"\u6f22{chr(code)}\u0301", chr(code) * 3):
        shown = clean(text, keep_newlines=keep_newlines)
        assert shown.count(said) == text.count(chr(code)) and chr(code) not in shown


@pytest.mark.parametrize("code", [*range(0x20), 0x7F], ids=hex)
def test_each_control_is_a_picture_also_where_all_is_ascii(code: int) -> None:
    picture = {0x09: "    ", 0x7F: "␡"}.get(code, chr(0x2400 + code))
    assert clean(f"ab{chr(code)}c", keep_newlines=False) == f"ab{picture}c"
    assert clean(f"ab{chr(code)}c") == ("ab\nc" if code == 0x0A else f"ab{picture}c")
    assert chr(code) not in fit(f"ab{chr(code)}c", 20)
    assert chr(code) not in plain(f"ab{chr(code)}c", keep_newlines=False).plain


def test_variation_selectors_leave_nothing_behind() -> None:
    for code in [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]:
        assert clean(f"a{chr(code)}b") == "ab"


def test_marks_cannot_pile_up_or_hang_in_the_air() -> None:
    assert clean("e" + "\u0301" * 50) == "e" + "\u0301" * 3
    assert clean("\u0301x") == "◌\u0301x"
    assert clean("a\n\u0301") == "a\n◌\u0301"


def test_values_are_short_and_say_their_unit() -> None:
    assert [fmt_count(n) for n in (0, 999, 1234, 118_000, 999_999, 10_650_000, 1.2e9)] == [
        "0",
        "999",
        "1.23k",
        "118k",
        "1.00M",
        "10.7M",
        "1.20B",
    ]
    assert [fmt_bytes(n) for n in (512, 3.4e9, 151.4e9)] == ["512 B", "3.2 GiB", "141 GiB"]
    assert [fmt_duration(s) for s in (0.42, 45, 192, 7500, 273_600)] == ["0.4s", "45s", "3m12s", "2h05m", "3d04h"]
    assert [fmt_loss(x) for x in (1.5123, float("nan"), None)] == ["1.5123", "nan", "–"]
    assert [fmt_lr(x) for x in (9.1e-4, 0.02, 0.0, None)] == ["9.1e-4", "2.0e-2", "0", "–"]
    assert [fmt_percent(x) for x in (0.25, 1.0, None)] == [" 25%", "100%", "   –"]


@given(st.floats(allow_nan=True, allow_infinity=True, min_value=None))
def test_counts_keep_their_width(value: float) -> None:
    if abs(value) < 999e12 or value != value:
        assert len(fmt_count(value).lstrip("-")) <= 5


@given(st.floats(min_value=0, max_value=1e15))
def test_sizes_keep_their_width(value: float) -> None:
    assert len(fmt_bytes(value)) <= 8
