"""The rules between a model's logits and the token drawn: pure functions on logits (B, V), -inf where a token is cut.

The semantics are those of the logits processors in Hugging Face transformers. Rules that are off cost nothing.
+inf logits share the whole mass; NaN goes through every rule and is found when a token is drawn
(`engine.sampling.draw`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from engine.sampling.draw import finite_top, probabilities
from engine.sampling.settings import SamplingSettings

CUT = -math.inf
COLD = 1e-6  # temperatures below could overflow float32
COLDEST = 1e-30  # what is less would be 0 in float32
SORT_ALL = 1024  # up to this many tokens sorting them with their places costs a CPU nothing

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
