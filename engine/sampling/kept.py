"""Logits that stay: of the tokens on a screen, so that any rule can be tried on them without the model.

Whole, or the likeliest of them and what the others come to, which is as much as a message about one token can hold.
"""

from __future__ import annotations

import base64
import binascii
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import RunError
from engine.sampling.rules import Rule, apply_repetition_penalty
from engine.sampling.settings import SamplingSettings

SURE = 1e-6
"""A share of the mass: what is decided by less may be rounding."""
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


@dataclass(frozen=True, eq=False)
class TopLogits:
    """Raw logits of the likeliest tokens of one position: `ids` int64 (K,), rising, and `logits` float32 (K,).

    `others` tokens are not among them; `log_sum` is the log of the sum of their exponentials, -inf for none.
    """

    ids: NDArray[np.int64]
    logits: NDArray[np.float32]
    others: int
    log_sum: float

    @classmethod
    def of(cls, logits: Tensor, most: int) -> TopLogits:
        """The `most` likeliest of logits (V,)."""
        ids = logits.topk(min(most, len(logits))).indices.sort().values
        log_sum = logits.double().scatter(0, ids, -math.inf).logsumexp(0)
        return cls(ids.cpu().numpy(), logits[ids].float().cpu().numpy(), len(logits) - len(ids), float(log_sum))

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes + self.logits.nbytes

    def row(self) -> Tensor:
        """Logits (V,) float32 with the same probabilities of `ids`, and the others' shared evenly among them."""
        even = self.log_sum - math.log(self.others) if self.others else -math.inf
        row = torch.full((len(self.ids) + self.others,), even)
        row[torch.from_numpy(self.ids)] = torch.from_numpy(self.logits)
        return row

    def to_dict(self) -> dict[str, Any]:
        """For JSON: little-endian uint32 and float32 in base64; no ids when all tokens are there."""
        tree: dict[str, Any] = {"logits": _packed(self.logits.astype("<f4"))}
        if self.others:
            log_sum = self.log_sum if math.isfinite(self.log_sum) else None
            tree |= {"ids": _packed(self.ids.astype("<u4")), "others": self.others, "log_sum": log_sum}
        return tree

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> TopLogits:
        """From `to_dict`. Raises RunError for what it cannot have given."""
        try:
            logits = np.frombuffer(base64.b64decode(tree["logits"], validate=True), "<f4").astype(np.float32)
            if "ids" not in tree:
                return cls(np.arange(len(logits)), _checked(logits, len(logits) > 0), 0, -math.inf)
            ids = np.frombuffer(base64.b64decode(tree["ids"], validate=True), "<u4").astype(np.int64)
            others, log_sum = tree["others"], tree["log_sum"]
            whole = type(others) is int and 0 < others < 1 << 31 and len(ids) == len(logits) > 0
            whole = whole and bool((np.diff(ids) > 0).all()) and ids[-1] < len(ids) + others
            return cls(ids, _checked(logits, whole), others, -math.inf if log_sum is None else float(log_sum))
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise RunError(
                "the trainer's logits cannot be read; it may be of another version, resume the run"
            ) from None

    def beyond(self, settings: SamplingSettings, history: Sequence[int] = ()) -> tuple[Rule, ...]:
        """The rules that act on tokens which are not here, so that what `row` gives after them is an estimate.

        Empty: the fate and the probability of every token in `ids` are what all logits would give. So it is whenever
        the rules cut all others for certain, or leave them as they are.
        """
        if not self.others:
            return ()
        penalty, hidden = settings.repetition_penalty, False
        x = torch.from_numpy(self.logits)
        ceiling = float(x.min())  # no other token's logit is above
        if penalty != 1 and history:
            seen = np.isin(self.ids, history)
            hidden = len(set(history)) > int(seen.sum())
            x = apply_repetition_penalty(x, torch.from_numpy(np.flatnonzero(seen)), penalty)
            if hidden and penalty < 1:
                ceiling = max(ceiling, ceiling * penalty, ceiling / penalty)
        values = np.sort(x.double().numpy())[::-1]
        sure = values[values > ceiling]
        why: Rule = "repetition penalty" if hidden else "temperature"
        if settings.greedy:
            return () if len(sure) else (why,)
        vocab = len(self.ids) + self.others
        if 0 < settings.top_k < vocab:
            return () if settings.top_k <= len(sure) else ("top-k",)
        return self._beyond_mass(settings, values, len(sure), ceiling, hidden, why)

    def _beyond_mass(
        self,
        settings: SamplingSettings,
        values: NDArray[np.float64],
        sure: int,
        ceiling: float,
        hidden: bool,
        why: Rule,
    ) -> tuple[Rule, ...]:
        """`beyond` of the rules that act on probabilities; `sure` of the falling `values` are above the ceiling."""
        beta = 1 / max(settings.temperature, 1e-30)
        low, high = self._bounds(beta, ceiling, settings.repetition_penalty if why == "repetition penalty" else 1)
        top = float(values[0])
        with np.errstate(over="ignore", invalid="ignore"):
            summed = np.exp((values - top) * beta).cumsum()
            least, most = (summed[-1] + np.exp(min(each - top * beta, 700.0)) for each in (low, high))
        if not (math.isfinite(most) and most > 0):
            return (why,)
        if settings.top_p < 1:
            enough = settings.top_p * most + SURE * most
            last = int(np.searchsorted(summed[:sure], enough))
            needed = last < sure and (last == 0 or summed[last - 1] < (settings.top_p - SURE) * least)
            return () if needed or (settings.top_p <= 0 < sure) else ("top-p",)
        if settings.min_p > 0:
            return () if (ceiling - top) * beta < math.log(settings.min_p) - SURE else ("min-p",)
        return () if most - least <= SURE * most else (why,)

    def _bounds(self, beta: float, ceiling: float, penalty: float) -> tuple[float, float]:
        """Logs of the least and the most that the sum of exp(beta * logit) of the others can be, by convexity.

        `penalty` is that of the tokens among them that were there before; 1 for none.
        """
        if self.log_sum == -math.inf:
            return -math.inf, -math.inf
        even = math.log(self.others) + beta * (self.log_sum - math.log(self.others))  # all alike
        apart = self.log_sum + (beta - 1) * ceiling  # as unlike as the ceiling allows
        low, high = min(even, apart), max(even, apart)
        if penalty > 1:
            low = -math.inf
        elif penalty < 1:
            high = math.log(self.others) + beta * ceiling
        return low, high


def _packed(numbers: NDArray[Any]) -> str:
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def _checked(logits: NDArray[np.float32], whole: bool) -> NDArray[np.float32]:
    if not whole or bool(np.isnan(logits).any()):
        raise ValueError
    return logits
