"""Nothing in what is pasted is taken for keys, however the input is cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.drivers import linux_driver, web_driver

from tui.terminal.pastes import BEGIN, END, SHOWN, Pastes
from tui.terminal.private import read_pastes_as_text

PIECES = st.lists(st.sampled_from([BEGIN, END, "\x1b", "\x1b[", "\x1b[20", "0~", "1~", "[200~", "é", "q"]), max_size=9)


def pieces(text: str, lengths: list[int]) -> Iterator[str]:
    for length in [*lengths, len(text)]:
        piece, text = text[:length], text[length:]
        yield piece


@given(PIECES.map("".join), st.lists(st.integers(1, 7), max_size=30))
def test_however_it_is_cut_pastes_alone_are_changed(text: str, lengths: list[int]) -> None:
    pastes = Pastes()
    passed = "".join(map(pastes.cleaned, pieces(text + BEGIN + END, lengths)))
    rest, wanted = text + BEGIN + END, ""
    while rest:
        keys, begin, rest = rest.partition(BEGIN)
        pasted, end, rest = rest.partition(END)
        wanted += keys + begin + pasted.replace("\x1b", SHOWN) + end
    assert passed == wanted


@pytest.mark.parametrize("driver", [linux_driver, web_driver])
def test_a_coloured_log_is_a_paste_and_no_keys(driver: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "XTermParser", driver.XTermParser)
    read_pastes_as_text(driver)
    parser = driver.XTermParser(False)
    came = [
        event for piece in ("a\x1b[2", "00~x \x1b[31mq\x1b", "[0m\x1b[201", "~b\x1b[A") for event in parser.feed(piece)
    ]
    assert [getattr(event, "key", None) for event in came] == ["a", None, "b", "up"]
    assert isinstance(came[1], events.Paste) and came[1].text == f"x {SHOWN}[31mq{SHOWN}[0m"
    assert [*parser.feed("")] == []
