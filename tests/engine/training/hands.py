"""Ranks of a group as threads of this process: what they say to each other goes from hand to hand, by no network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from engine.training.ranks import Ranks

T = TypeVar("T")


class Hands:
    """Stands for the group that torch.distributed speaks in, while a test goes on."""

    def __init__(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.size = size
        self._here = threading.local()
        self._barrier = threading.Barrier(size, timeout=120.0)
        self._said: list[Any] = [None] * size
        for name in ("broadcast", "broadcast_object_list", "all_gather", "all_gather_object", "all_to_all_single"):
            monkeypatch.setattr(dist, name, getattr(self, name))

    def run(self, do: Callable[[Ranks], T]) -> list[T]:
        """What `do` gives on each rank, all at the same time; the error of the first that fails by itself."""

        def each(rank: int) -> T:
            self._here.rank = rank
            try:
                return do(Ranks(rank, self.size))
            except BaseException:
                self._barrier.abort()
                raise

        with ThreadPoolExecutor(self.size) as pool:
            made = [pool.submit(each, rank) for rank in range(self.size)]
        errors = [error for one in made if (error := one.exception()) is not None]
        if errors:
            raise next((each for each in errors if not isinstance(each, threading.BrokenBarrierError)), errors[0])
        return [one.result() for one in made]

    def _all(self, mine: Any) -> list[Any]:
        """What each says, in their order."""
        self._said[self._here.rank] = mine
        self._barrier.wait()
        found = list(self._said)
        self._barrier.wait()
        return found

    def broadcast(self, tensor: Tensor, source: int, async_op: bool = False) -> Any:
        found = self._all(tensor.detach().clone())[source]
        assert (found.shape, found.dtype) == (tensor.shape, tensor.dtype)
        if not async_op:
            tensor.copy_(found)
        return SimpleNamespace(wait=lambda: tensor.copy_(found)) if async_op else None

    def broadcast_object_list(self, given: list[Any], source: int) -> None:
        given[:] = self._all(list(given))[source]

    def all_gather(self, into: list[Tensor], tensor: Tensor) -> None:
        for place, found in zip(into, self._all(tensor.clone()), strict=True):
            assert (found.shape, found.dtype) == (place.shape, place.dtype)
            place.copy_(found)

    def all_gather_object(self, into: list[Any], thing: Any) -> None:
        into[:] = self._all(thing)

    def all_to_all_single(self, into: Tensor, sent: Tensor, wanted: list[int], sizes: list[int]) -> None:
        assert sum(sizes) == len(sent)
        parts = [found[self._here.rank] for found in self._all(torch.split(sent.clone(), sizes))]
        assert [len(part) for part in parts] == wanted
        into.copy_(torch.cat(parts))
