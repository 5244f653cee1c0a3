"""How slow a server may be, and how long it is watched before that is said."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import CorpusError
from engine.text import web

SAID = "comes too slowly: {} bytes so far; try again later"


def received(monkeypatch: pytest.MonkeyPatch, blocks: list[tuple[float, int]], length: int | None, had: int) -> int:
    """Bytes that come in blocks after so many seconds each, 60 of which are watched for 10 bytes a second."""
    monkeypatch.setattr(web, "WATCHED", 60.0)
    monkeypatch.setattr(web, "SLOWEST", 10)
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(web, "time", SimpleNamespace(monotonic=lambda: clock.now))
    coming: Iterator[tuple[float, int]] = iter(blocks)

    def read(most: int) -> bytes:
        seconds, size = next(coming, (0.0, 0))
        clock.now += seconds
        return b"x" * size

    answer: Any = SimpleNamespace(length=length, read1=read)
    return sum(map(len, web._blocks(answer, "https://example.org", None, had)))


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ([(60.0, 1), (0.0, 1)], None),  # not watched long enough
        ([(60.5, 604)], 604),
        ([(60.5, 605)], None),
        ([(30.0, 1), (31.0, 608)], 609),
        ([(30.0, 1), (31.0, 609)], None),
        ([(1.0, 9000), (70.0, 701), (70.0, 699)], 10_400),  # what came before the time that is watched does not help
        ([(1.0, 9000), (70.0, 701), (70.0, 700)], None),
        ([(61.0, 610), (61.0, 610), (61.0, 609)], 1829),
    ],
)
@pytest.mark.parametrize("had", [0, 5000])
def test_a_server_keeps_up_or_is_given_up(
    monkeypatch: pytest.MonkeyPatch, blocks: list[tuple[float, int]], told: int | None, had: int
) -> None:
    if told is None:
        assert received(monkeypatch, blocks, None, had) == sum(size for _, size in blocks)
    else:
        with pytest.raises(CorpusError, match=SAID.format(f"{had + told:,}")):
            received(monkeypatch, blocks, None, had)


@pytest.mark.parametrize("had", [0, 30])
def test_an_answer_that_ends_too_soon_is_named_with_what_came(monkeypatch: pytest.MonkeyPatch, had: int) -> None:
    assert received(monkeypatch, [(1.0, 100)], 100, had) == 100
    with pytest.raises(CorpusError, match=f"ended after {had + 99} of {had + 100} bytes; try again"):
        received(monkeypatch, [(1.0, 99)], 100, had)
    assert received(monkeypatch, [(1.0, 99)], None, had) == 99
