"""Decoding one token with shapes and addresses that never change, so that on a GPU it is a single launch."""

from __future__ import annotations

import logging
import weakref

import torch
from torch import Tensor

from engine.model.cache import KVCache, Slot
from engine.model.capture import capture
from engine.model.gpt import GPT


class StaticStep:
    """`decode_one_token` for a cache of its own, recorded as a CUDA graph (run as it is on a CPU).

    Made and called in evaluation and inference mode. Only for as long as `fits`: the graph reads the parameters where
    they lay when it was recorded.
    """

    def __init__(self, model: GPT, batch: int) -> None:
        """Raises RuntimeError when the graph cannot be recorded."""
        first = next(model.parameters())
        self.batch = batch
        self.cache = KVCache(model.config, batch, None, first.device, first.dtype)
        self._ids = torch.zeros(batch, 1, dtype=torch.int64, device=first.device)
        mask = torch.full((1, 1, 1, self.cache.capacity), -torch.inf, dtype=first.dtype, device=first.device)
        self._slot = Slot(torch.zeros(1, dtype=torch.int64, device=first.device), mask)
        self._order = torch.arange(self.cache.capacity, device=first.device)
        self._addresses = _addresses(model)
        reference = weakref.ref(model)  # a step is kept by its model, not the other way round

        def run() -> Tensor:
            model = reference()
            assert model is not None
            self._slot.mask.fill_(-torch.inf)
            self._slot.mask.masked_fill_(self._order <= self._slot.position, 0.0)
            logits: Tensor = model(self._ids, self.cache, last=True)
            self.cache.length -= 1  # counted by `__call__`
            return logits[:, -1].float()

        self.cache.slot = self._slot
        self._run = capture(run, first.device)
        self.cache.slot = None

    def fits(self, model: GPT, batch: int) -> bool:
        """Whether this is a step of `model`, with its parameters where they were, for `batch` sequences."""
        return batch == self.batch and self._addresses == _addresses(model)

    def begin(self) -> None:
        """Forget everything. The cache is then filled by ordinary forward passes."""
        self.cache.reset()
        for layer in self.cache.layers:  # a weight of zero does not hide what is not a number
            layer.keys.zero_()
            layer.values.zero_()

    def __call__(self, ids: Tensor) -> Tensor:
        """Logits (B, V) of the token after ids (B, 1), which follow what the cache holds and are added to it."""
        self._ids.copy_(ids)
        self._slot.position.fill_(self.cache.length)
        self.cache.slot = self._slot
        try:
            logits = self._run().clone()  # the next call overwrites what the graph gives
        finally:
            self.cache.slot = None
        self.cache.length += 1
        return logits


_kept: weakref.WeakKeyDictionary[GPT, list[StaticStep]] = weakref.WeakKeyDictionary()
_refused: weakref.WeakSet[GPT] = weakref.WeakSet()


def borrow_step(model: GPT, batch: int, borrower: object) -> StaticStep | None:
    """A step for `borrower` alone; it is kept for the next one when `borrower` is no more. One is kept for a model.

    Called in evaluation and inference mode. None when the device cannot record it: then ordinary forward passes do,
    more slowly.
    """
    if model in _refused:
        return None
    kept = _kept.setdefault(model, [])
    step = kept.pop() if kept else None
    if step is None or not step.fits(model, batch):
        try:
            step = StaticStep(model, batch)
        except RuntimeError as error:
            _refused.add(model)
            logging.getLogger(__name__).info("decoding without a CUDA graph: %s", str(error).split("\n", 1)[0])
            return None
    step.begin()
    give_back = weakref.finalize(borrower, _keep, kept, step)
    give_back.atexit = False
    return step


def _keep(kept: list[StaticStep], step: StaticStep) -> None:
    kept[:] = [step]


def _addresses(model: GPT) -> tuple[int, ...]:
    return tuple(tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers()))
