"""Which rank sees to which matrices, and how they come to it and back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.training.ranks import Ranks
from engine.training.shares import Shares, deal, rows_of

from .hands import Hands

SHAPES = [(6, 4), (3, 5), (1, 7), (8, 8), (2, 2), (5, 1)]


def test_the_dearest_is_dealt_first_and_of_equals_the_first() -> None:
    assert deal([1, 1, 1, 1, 4], 2) == [1, 1, 1, 1, 0]
    assert deal([1, 1], 2) == [0, 1] and deal([2, 2, 1, 1], 2) == [0, 1, 0, 1]
    assert deal([3, 5, 4], 3) == [2, 0, 1] and deal([1.0], 4) == [0] and deal([], 2) == []


def test_a_matrix_costs_what_its_turning_does() -> None:
    """Of the same number of weights a square one costs most: 64 x 64 as much as four of 16 x 256 and more."""
    shapes = [(64, 64), (16, 256), (256, 16), (16, 256), (16, 256)]
    shares = Shares([torch.empty(shape) for shape in shapes], Ranks(1, 2))
    assert shares.owners == [0, 1, 1, 1, 1] and shares.mine == [1, 2, 3, 4]
    assert (shares.of(0), shares.of(1)) == ([0], [1, 2, 3, 4])


def part_of(tensor: Tensor, rank: int, size: int) -> Tensor:
    parts = torch.chunk(tensor, size)
    return parts[rank].clone() if rank < len(parts) else tensor[:0].clone()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("sharded", [False, True])
def test_each_has_its_own_whole_and_all_have_what_it_made_of_them(
    monkeypatch: pytest.MonkeyPatch, size: int, sharded: bool
) -> None:
    """A parameter is as it was, and then the rank that saw to it has added its number, plus one."""
    whole = [torch.arange(float(rows * width)).view(rows, width) + 100 * n for n, (rows, width) in enumerate(SHAPES)]
    parameters: Any = [SimpleNamespace(shape=each.shape, to_local=None) for each in whole] if sharded else whole

    def do(here: Ranks) -> tuple[list[int], list[Tensor]]:
        shares = Shares(parameters, here)
        assert shares.sharded is sharded
        parts = [part_of(each, here.rank, size) if sharded else each.clone() for each in whole]
        mine = shares.to_owners(parts)
        assert [each.tolist() for each in mine] == [whole[item].tolist() for item in shares.mine]
        for each in mine:
            each += 1 + here.rank
        shares.from_owners(mine, parts)
        return shares.owners, parts

    told = Hands(size, monkeypatch).run(do)
    for rank, (owners, parts) in enumerate(told):
        assert owners == told[0][0] and sorted(set(owners)) == list(range(min(size, len(SHAPES))))
        for item, (before, after) in enumerate(zip(whole, parts, strict=True)):
            expected = before + 1 + owners[item]
            assert torch.equal(after, part_of(expected, rank, size) if sharded else expected)


def test_rows_that_do_not_go_round_leave_the_last_without() -> None:
    assert [rows_of(5, rank, 4) for rank in range(4)] == [2, 2, 1, 0]
    assert [rows_of(1, rank, 3) for rank in range(3)] == [1, 0, 0] and rows_of(6, 1, 2) == 3
