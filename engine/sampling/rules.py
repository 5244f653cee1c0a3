"""From a model's logits to the token drawn: the rules, then the draw; pure functions on logits (B, V).

The rules cut tokens by -inf, with the semantics of the logits processors in Hugging Face transformers. Rules that are
off cost nothing. +inf logits share the whole mass; NaN goes through every rule.

A token is drawn by inverse distribution function, with random numbers from private generators on the CPU. They never
depend on where the logits are, and sums run in float64, so the same seed and logits give the same token on every
device; torch's global generators are neither read nor advanced. A draw from something that is no distribution (NaN,
everything cut) gives V, one past the last token: the host finds out when it reads the token, so that looking for damage
costs no synchronization of its own.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from engine.errors import UserError
from engine.sampling.settings import SamplingSettings

CUT = -math.inf
COLD = 1e-6  # temperatures below could overflow float32
COLDEST = 1e-30  # what is less would be 0 in float32
SORT_ALL = 1024  # up to this many tokens sorting them with their places costs a CPU nothing
BELOW_ONE = 1 - 2**-52  # keeps u * total under total after rounding
RANDOM_BLOCK = 256  # random numbers fetched at a time

Rule = Literal["repetition penalty", "temperature", "top-k", "top-p", "min-p"]


def stages(logits: Tensor, settings: SamplingSettings, ids: Tensor | None = None) -> Iterator[tuple[Rule, Tensor]]:
    """Logits (B, V) after each rule, in order: repetition penalty, temperature (0 ends it), top-k, top-p, min-p.

    `ids` (B, T) are the tokens so far, for the repetition penalty. A row may be shifted by a constant.
    """
    if ids is not None:
        logits = apply_repetition_penalty(logits, ids, settings.repetition_penalty)
    yield "repetition penalty", logits
    logits = apply_temperature(logits, settings.temperature)
    yield "temperature", logits
    if settings.greedy:
        return
    logits = keep_top_k(logits, settings.top_k)
    yield "top-k", logits
    logits = keep_top_p(logits, settings.top_p)
    yield "top-p", logits
    yield "min-p", keep_min_p(logits, settings.min_p)


def process(logits: Tensor, settings: SamplingSettings, ids: Tensor | None = None) -> Tensor:
    """Logits (B, V) after all rules; arguments as for `stages`."""
    for _, each in stages(logits, settings, ids):
        logits = each
    return logits


def apply_repetition_penalty(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Divide positive and multiply negative logits of tokens in ids (B, T) (Keskar et al. 2019); penalty 1 is off."""
    if penalty == 1 or ids.size(-1) == 0:
        return logits
    seen = logits.gather(-1, ids)
    return logits.scatter(-1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits over `temperature`; 0 is greedy. Near 0 the largest is shifted to 0, so that nothing overflows."""
    if temperature == 1:
        return logits
    if temperature == 0:
        return keep_top(logits)
    if temperature >= COLD:
        return logits / temperature
    logits = finite_top(logits)
    return (logits - logits.amax(-1, keepdim=True)) / max(temperature, COLDEST)


def keep_top(logits: Tensor) -> Tensor:
    """Cut all but the first of the largest logits."""
    top = logits.argmax(-1, keepdim=True)
    return torch.full_like(logits, CUT).scatter_(-1, top, logits.gather(-1, top))


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Cut all but the k largest, keeping all that are tied with the k-th (Fan et al. 2018); 0 and k >= V are off."""
    if k <= 0 or k >= logits.size(-1):
        return logits
    lowest = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < lowest, CUT)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest tokens whose mass reaches p, the one that crosses it included (Holtzman et al. 2020).

    1 is off; 0 leaves the likeliest token alone. Among equals at the border those of higher number are kept.
    """
    if p >= 1:
        return logits
    if p <= 0:
        return keep_top(logits)
    if logits.device.type == "cpu" and logits.size(-1) > SORT_ALL:
        return _keep_top_p_of_many(logits, p)
    rising, order = logits.sort(dim=-1, stable=True)
    cut = _tail(rising, p)
    return logits.masked_fill(torch.empty_like(cut).scatter_(-1, order, cut), CUT)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as likely as the likeliest (Nguyen et al. 2024); 0 is off."""
    if p <= 0:
        return logits
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(p), CUT)


def _tail(rising: Tensor, p: float) -> Tensor:
    """Which of the rising logits are the tail that top-p cuts, never the last: what fits into 1 - p."""
    cut = probabilities(rising).cumsum(-1) <= 1 - p  # mass of the token and of all below it
    cut[..., -1] = False
    return cut


def _keep_top_p_of_many(logits: Tensor, p: float) -> Tensor:
    """The same, for which a CPU sorts the values alone: where each one stood takes four times as long."""
    rising = torch.from_numpy(np.sort(logits.detach().numpy(), axis=-1))
    n = _tail(rising, p).sum(-1, keepdim=True)
    border = rising.gather(-1, n)
    below, equal = logits < border, logits == border
    of_equals = n - below.sum(-1, keepdim=True)
    return logits.masked_fill(below | (equal & (equal.cumsum(-1) <= of_equals)), CUT)


# -- the draw ---------------------------------------------------------------------------------------------------------


def finite_top(logits: Tensor) -> Tensor:
    """The logits with +inf made finite: what is +inf then shares the whole mass."""
    return logits.clamp(max=torch.finfo(logits.dtype).max)


def probabilities(logits: Tensor) -> Tensor:
    """Softmax (..., V) that is defined for infinite logits too; NaN where a row has NaN or nothing but -inf."""
    return finite_top(logits).softmax(-1)


def fresh_seed() -> int:
    """A seed from the operating system, short enough to be typed again."""
    return secrets.randbelow(2**31)


def uniform(n: int, generator: Generator) -> Tensor:
    """n numbers in [0, 1), float64 (n,), on the CPU."""
    return torch.rand(n, dtype=torch.float64, generator=generator).mul_(BELOW_ONE)


class Dice:
    """Random numbers for a batch: sequence i has a generator of its own, and its n-th token its n-th number.

    So a sequence does not depend on what it is sampled beside, and a text taken up in the middle goes on with the
    numbers it would have had.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [Generator().manual_seed(seed) for seed in seeds]
        self._device = device
        self._block = torch.empty(0, len(seeds), dtype=torch.float64)
        self._at = 0

    def throw(self) -> Tensor:
        """The next number of each sequence, (B,) in [0, 1), on the device."""
        if self._at == len(self._block):
            rows = [uniform(RANDOM_BLOCK, generator) for generator in self._generators]
            self._block, self._at = torch.stack(rows, dim=1).to(self._device), 0
        self._at += 1
        return self._block[self._at - 1]


def pick(mass: Tensor, u: Tensor) -> Tensor:
    """Token ids (B,) at u (B,) in [0, 1) of the distribution function of `mass` (B, V), which need not sum to 1.

    A token without mass is never picked. V where a row is no distribution.
    """
    summed = mass.cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(summed, (u * summed[:, -1])[:, None], right=True)[:, 0]


def pick_top(logits: Tensor) -> Tensor:
    """The first of the likeliest tokens (B,); V where a row is no distribution."""
    top = logits.max(-1)
    return torch.where(top.values > -torch.inf, top.indices, logits.size(-1))


def sample(logits: Tensor, settings: SamplingSettings, dice: Dice, ids: Tensor) -> Tensor:
    """Token ids (B,) drawn from logits (B, V) by the settings' rules; ids (B, T) are the tokens so far.

    V stands for a row with nothing to draw from; looking is left to the caller.
    """
    penalized = settings.repetition_penalty != 1
    if settings.greedy and not penalized:
        return pick_top(logits)
    logits = process(logits, settings, ids if penalized else None)
    return pick_top(logits) if settings.greedy else pick(probabilities(logits), dice.throw())


def check_drawn(token: int, vocab_size: int) -> None:
    """Raise UserError when `token` says that there was nothing to draw from."""
    if token >= vocab_size:
        raise not_a_number()


def not_a_number() -> UserError:
    """What is said of NaN logits."""
    return UserError("the model's output is not a number (NaN); its weights are damaged, use an earlier checkpoint")
