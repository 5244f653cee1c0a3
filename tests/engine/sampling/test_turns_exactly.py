"""How much of a conversation a model is given, and what is remembered of an answer that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine.sampling.chat import Chat, fit_turns
from engine.sampling.generate import Done, Piece
from engine.text.template import Template

TEMPLATE = Template(prefix="<", infix="|", suffix=">")


def fitted(history: list[tuple[str, str]], prompt: str, block_size: int, max_tokens: int) -> tuple[str, int]:
    ids, turns = fit_turns(TEMPLATE, history, prompt, lambda text: [ord(char) for char in text], block_size, max_tokens)
    return "".join(map(chr, ids)), turns


@pytest.mark.parametrize(
    ("block_size", "max_tokens", "given", "turns"),
    [
        (100, 30, "<a|b><c|d><e|", 2),
        (16, 3, "<a|b><c|d><e|", 2),  # 13 of 16, with room for three
        (15, 3, "<c|d><e|", 1),
        (16, 4, "<c|d><e|", 1),
        (16, 99, "<c|d><e|", 1),  # never more than a quarter for the answer
        (17, 99, "<a|b><c|d><e|", 2),
        (8, 0, "<c|d><e|", 1),
        (7, 0, "<e|", 0),
        (4, 0, "<e|", 0),
        (3, 0, "<e|", 0),
        (2, 0, "e|", 0),
        (1, 9, "|", 0),
    ],
)
def test_as_many_turns_as_leave_room_for_an_answer(block_size: int, max_tokens: int, given: str, turns: int) -> None:
    assert fitted([("a", "b"), ("c", "d")], "e", block_size, max_tokens) == (given, turns)


DONE: Any = Done.__new__(Done)


@pytest.mark.parametrize("before", [[], [("x", "y")], [("q", "ab")]])
@pytest.mark.parametrize(
    ("read", "remembered"), [(0, None), (1, "a"), (2, "ab"), (3, "ab")], ids=["none", "one", "two", "all"]
)
def test_what_was_seen_of_an_answer_is_remembered_once(
    before: list[tuple[str, str]], read: int, remembered: str | None
) -> None:
    model: Any = SimpleNamespace()
    chat = Chat(model, model, TEMPLATE)
    chat.history = list(before)
    pieces: Iterator[Any] = chat._answer("q", iter([Piece(0, "a"), Piece(0, "b"), DONE]))
    for _ in range(read):
        next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert chat.history == [*before, *([("q", remembered)] if remembered else [])]
