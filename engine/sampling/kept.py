"""Logits that stay: of the tokens on a screen, so that any rule can be tried on them without the model."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch
from torch import Tensor

from engine.sampling.top import TopLogits

BUDGET = 64 << 20
"""Bytes: 300 tokens of GPT-2's vocabulary."""
MOST = 8192
"""Tokens: twenty long answers. Of 65 characters one takes three times its bytes, and the budget would be 200 MB."""


class KeptLogits:
    """Raw logits of single tokens by a number each; the oldest go when they take more than `budget` bytes, or are
    more than `most`.

    They are kept as the sampler saw them, in float32: the rules give the same probabilities again, bit for bit on a
    CPU. May be used by several threads.
    """

    def __init__(self, budget: int = BUDGET, most: int = MOST) -> None:
        self.budget, self.most = budget, most
        self._rows: OrderedDict[int, Tensor | TopLogits] = OrderedDict()
        self._bytes = 0
        self._next = 0
        self._guard = threading.Lock()

    def add(self, logits: Tensor | TopLogits) -> int:
        """Keep logits (V,), or the likeliest of them; the number they have from now on."""
        kept = logits if isinstance(logits, TopLogits) else _copied(logits)
        with self._guard:
            number = self._next
            self._next += 1
            self._rows[number] = kept
            self._bytes += kept.nbytes
            while self._bytes > self.budget or len(self._rows) > self.most:
                self._bytes -= self._rows.popitem(last=False)[1].nbytes
        return number

    def get(self, number: int | None) -> Tensor | TopLogits | None:
        """The logits of that number, not to be changed; None when they are gone, or for None."""
        with self._guard:
            return None if number is None else self._rows.get(number)

    def clear(self) -> None:
        """Let all go."""
        with self._guard:
            self._rows.clear()
            self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes held now, at most `budget`."""
        return self._bytes


def _copied(logits: Tensor) -> Tensor:
    """On the CPU and alone: a row may be a view of many times its size, or memory that the device wants back."""
    return torch.empty(logits.shape, dtype=torch.float32).copy_(logits.detach())
