"""Which rank orthogonalizes which matrices: all of them a share, for that is most of what Muon has to do.

A sharded parameter is sent to its owner, who needs it whole, and back; of a replicated one only the result is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import Tensor

from engine.training.ranks import Ranks
from engine.training.sharded import is_sharded


def deal(costs: Sequence[float], ranks: int) -> list[int]:
    """The owner of each item: the dearest first, to whoever has least so far. The same on every rank."""
    owners, loads = dict[int, int](), [0.0] * ranks
    for item in sorted(range(len(costs)), key=lambda item: (-costs[item], item)):
        owners[item] = loads.index(min(loads))
        loads[owners[item]] += costs[item]
    return [owners[item] for item in range(len(costs))]


def rows_of(rows: int, rank: int, ranks: int) -> int:
    """How many of `rows` lie on `rank` where `torch.chunk` parts them."""
    each = -(-rows // ranks)
    return max(0, min(rows, (rank + 1) * each) - rank * each)


class Shares:
    """The parameters (rows, width) that each rank sees to."""

    def __init__(self, parameters: Sequence[Tensor], ranks: Ranks) -> None:
        self.ranks, self.sharded = ranks, is_sharded(parameters[0])
        self.shapes = [tuple(parameter.shape) for parameter in parameters]
        self.owners = deal([rows * width * min(rows, width) for rows, width in self.shapes], ranks.size)
        self.mine = [item for item, owner in enumerate(self.owners) if owner == ranks.rank]

    def to_owners(self, parts: list[Tensor]) -> list[Tensor]:
        """Of every parameter what lies here -> those of this rank, whole."""
        if not self.sharded:
            return [parts[item] for item in self.mine]
        out = [[parts[item].reshape(-1) for item in self.of(rank)] for rank in range(self.ranks.size)]
        sizes = [[self._size(item, rank) for item in self.mine] for rank in range(self.ranks.size)]
        came = self._exchange(out, sizes, parts[0])
        return [torch.cat(pieces).view(self.shapes[item]) for item, *pieces in zip(self.mine, *came, strict=True)]

    def from_owners(self, whole: list[Tensor], parts: list[Tensor]) -> None:
        """The other way: every rank's own parameters, whole, into what each has of all."""
        if not self.sharded:
            self._broadcast(parts)
            return
        out: list[list[Tensor]] = [[] for _ in range(self.ranks.size)]
        for item, tensor in zip(self.mine, whole, strict=True):
            pieces = torch.split(tensor.reshape(-1), [self._size(item, rank) for rank in range(self.ranks.size)])
            for rank, piece in enumerate(pieces):
                out[rank].append(piece)
        sizes = [[self._size(item, self.ranks.rank) for item in self.of(rank)] for rank in range(self.ranks.size)]
        for rank, came in enumerate(self._exchange(out, sizes, parts[0])):
            for item, piece in zip(self.of(rank), came, strict=True):
                parts[item].copy_(piece.view_as(parts[item]))

    def of(self, rank: int) -> list[int]:
        """Which parameters are a rank's."""
        return [item for item, owner in enumerate(self.owners) if owner == rank]

    def _size(self, item: int, rank: int) -> int:
        rows, width = self.shapes[item]
        return rows_of(rows, rank, self.ranks.size) * width

    def _exchange(self, out: list[list[Tensor]], sizes: list[list[int]], like: Tensor) -> list[list[Tensor]]:
        """Sends each rank its tensors; what came from each, in pieces of `sizes`."""
        empty = like.new_empty(0)
        sent = [torch.cat([empty, *tensors]) for tensors in out]
        wanted = [sum(each) for each in sizes]
        came = like.new_empty(sum(wanted))
        dist.all_to_all_single(came, torch.cat(sent), wanted, [len(each) for each in sent])
        ends = [0, *accumulate(wanted)]
        return [list(torch.split(came[a:b], each)) for a, b, each in zip(ends, ends[1:], sizes, strict=False)]

    def _broadcast(self, parts: list[Tensor]) -> None:
        rows = []
        for rank in range(self.ranks.size):
            if items := self.of(rank):
                flat = torch.cat([parts[item].reshape(-1) for item in items])
                rows.append((items, flat, dist.broadcast(flat, rank, async_op=True)))
        for items, flat, work in rows:
            work.wait()
            for item, piece in zip(items, torch.split(flat, [parts[item].numel() for item in items]), strict=True):
                parts[item].copy_(piece.view_as(parts[item]))
