"""How much an evaluation computes together, and how it becomes less."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.training import evaluate
from engine.training.evaluate import Portion

CPU, GPU, OTHER = torch.device("cpu"), torch.device("cuda", 0), torch.device("meta")


@pytest.mark.parametrize(
    ("block_size", "vocab_size", "device", "rows", "tokens"),
    [
        (128, 65, CPU, 16, 2048),
        (4096, 65, CPU, 1, 4096),
        (128, 50_257, CPU, 16, (256 << 20) // (8 * 50_257)),
        (1024, 50_257, GPU, 64, (2 << 30) // (8 * 50_257)),
        (1024, 65, GPU, 64, 65536),
        (128, 1 << 26, CPU, 16, 16),
        (1024, 65, OTHER, 8, 8192),
        (1024, 1 << 17, OTHER, 8, 1024),
        (4096, 65, OTHER, 2, 8192),
        (2731, 65, OTHER, 2, 5462),
    ],
)
def test_what_the_bounds_allow(block_size: int, vocab_size: int, device: torch.device, rows: int, tokens: int) -> None:
    assert Portion.fitting(block_size, vocab_size, device) == Portion(rows, tokens)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ((5, 100), [(2, 50), (1, 25), (1, 16)]),
        ((1, 64), [(1, 32), (1, 16)]),
        ((4, 16), [(2, 16), (1, 16)]),
        ((1, 16), []),
    ],
)
def test_both_are_halved_to_their_least(first: tuple[int, int], then: list[tuple[int, int]]) -> None:
    portion, found = Portion(*first), []
    while portion.halve():
        found.append((portion.rows, portion.tokens))
    assert found == then


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), ValueError("a bug")])
def test_what_has_no_room_is_tried_in_halves_until_it_is_the_least(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    freed: list[int] = []
    monkeypatch.setattr(evaluate, "free_memory", lambda: freed.append(1))

    def sums(x: torch.Tensor, y: torch.Tensor, tokens: int) -> list[torch.Tensor]:
        if tokens > room:
            raise error
        return [x.sum() + y.sum()]

    model: Any = SimpleNamespace(loss_sums=sums)
    ids, portion, room = np.ones((2, 3), dtype=np.int64), Portion(2, 40), 20
    if isinstance(error, ValueError):
        with pytest.raises(ValueError, match="a bug"):
            evaluate._sums(model, ids, ids, CPU, portion)
        assert portion == Portion(2, 40) and freed == []
        return
    assert evaluate._sums(model, ids, ids, CPU, portion) is None and portion == Portion(1, 20) and freed == [1]
    found = evaluate._sums(model, ids, ids, CPU, portion)
    assert found is not None and [int(each) for each in found] == [12] and freed == [1]
    room = 0
    assert evaluate._sums(model, ids, ids, CPU, portion) is None and portion == Portion(1, 16)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate._sums(model, ids, ids, CPU, portion)
    assert freed == [1, 1]
