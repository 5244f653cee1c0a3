"""One token after the other: small functions around a model's forward pass.

Inference mode and evaluation mode are entered for one forward pass and left again, so that a caller may train between
two tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from engine.model.cache import KVCache
from engine.model.gpt import GPT, Linear

KEPT = 0.75  # share of the context that is read again when a full cache slides


def for_decoding(model: GPT) -> GPT:
    """The same model, changed in place: in evaluation mode, its matrices on a CPU laid out column by column.

    Their products with a single row are what decoding on a CPU is made of. Column by column these are sums of columns
    weighted by the row, which run straight through memory and through the registers, at the speed of memory; row by row
    each number that comes out is a sum within a row. PyTorch's own product does either.

    Names, shapes and values of the parameters stay. Only for a float32 model with a cache; others are as quick as they
    get. Not for a model in training: its optimizer holds the parameters that are replaced.
    """
    for layer in model.modules() if model.supports_cache else ():
        if isinstance(layer, Linear) and layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32:
            columns = layer.weight.detach().t().contiguous()
            layer.weight = nn.Parameter(columns.t(), layer.weight.requires_grad)
    return model.eval()


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """No dropout and no autograd inside; every module has its former mode after."""
    training = [module for module in model.modules() if module.training] if model.training else []
    for module in training:
        module.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def read(model: GPT, ids: Tensor, cache: KVCache | None) -> Tensor:
    """Logits (B, V) of the token after ids (B, T), which follow what the cache holds and are added to it."""
    logits: Tensor = model(ids, cache, last=True)
    return logits[:, -1].float()


class Context:
    """The whole history (B, n) and the part of it the model sees.

    A model without a cache sees the last block_size tokens, read anew for every token (nanoGPT's way). One with a cache
    does the same until that is full; then the last three quarters of the context are read again, which leaves
    room for the next quarter. Both are the same as long as everything fits the context.

    Tokens that count as drawn are read with the rest of the beginning, as far back as the model would have seen had
    they been drawn one by one.
    """

    def __init__(self, model: GPT, ids: Sequence[int], room: int, batch: int = 1, drawn: int = 0) -> None:
        """`ids` are the tokens all sequences begin with, at least one; `room` is how many more there will be.

        The last `drawn` of `ids`, but not all, count as drawn.
        """
        first = next(model.parameters())
        self.model = model
        self.length = len(ids)
        self.block_size = model.config.block_size
        self._history = torch.empty(batch, self.length + room, dtype=torch.int64, device=first.device)
        self._history[:, : self.length] = torch.tensor(ids, dtype=torch.int64, device=first.device)
        self._cache: KVCache | None = None
        if model.supports_cache:
            with evaluating(model):
                self._cache = KVCache(model.config, batch, self.length + room, first)
        self._unread = self.length  # tokens at the end of the history that the cache does not hold
        self._first = self.block_size if self._cache is None else self._held(drawn, self._cache.capacity)

    @property
    def ids(self) -> Tensor:
        """The history (B, n)."""
        return self._history[:, : self.length]

    def append(self, ids: Tensor) -> None:
        """Add one token to each sequence: ids (B,)."""
        self._history[:, self.length] = ids
        self.length += 1
        self._unread += 1

    def select(self, rows: Tensor) -> None:
        """Sequence i goes on from what sequence rows[i] was; rows is (B,)."""
        self._history[:, : self.length] = self._history[rows, : self.length]
        if self._cache is not None:
            with torch.inference_mode():
                self._cache.select(rows)

    def logits(self) -> Tensor:
        """Logits (B, V) of the next token, float32."""
        cache, unread = self._cache, self._unread
        self._unread = 0
        with evaluating(self.model):
            if cache is None:
                return read(self.model, self._last(self.block_size), None)
            if not cache.length:
                return self._read_first(cache)
            if unread == 1 and cache.length < cache.capacity:
                return read(self.model, self._last(1), cache)
            cache.reset()
            return read(self.model, self._last(self._read_again), cache)

    @property
    def _read_again(self) -> int:
        """Tokens that are read when a full cache slides."""
        return max(1, int(self.block_size * KEPT))

    def _held(self, drawn: int, capacity: int) -> int:
        """How many tokens the cache would hold, were the last `drawn` drawn one by one."""
        held = min(self.length - drawn, self.block_size)
        for _ in range(drawn):
            held = held + 1 if held < capacity else min(self._read_again, capacity)
        return held

    def _read_first(self, cache: KVCache) -> Tensor:
        """All sequences are alike at first, so one is read and copied."""
        if self._history.size(0) == 1:
            return read(self.model, self._last(self._first), cache)
        one = KVCache(self.model.config, 1, cache.capacity, cache.layers[0].keys)
        logits = read(self.model, self._last(self._first)[:1], one)
        cache.fill(one)
        return logits.expand(self._history.size(0), -1)

    def _last(self, n: int) -> Tensor:
        return self._history[:, max(0, self.length - n) : self.length]
