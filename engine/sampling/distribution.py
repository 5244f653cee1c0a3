"""What might have stood at a place, and what the rules made of it: exactly what a token is drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.machine import one_thread
from engine.sampling.kept import TopLogits
from engine.sampling.rules import CUT, Rule, not_a_number, probabilities, stages
from engine.sampling.settings import SamplingSettings


@dataclass(frozen=True)
class Candidate:
    """One token: its probability as the model gives it, after the rules, and the rule that cut it (None: none did)."""

    id: int
    raw: float
    after: float
    cut: Rule | None = None


@dataclass(frozen=True)
class Distribution:
    """The next token's distribution before and after the rules.

    `candidates` are the likeliest that the rules leave, then those of the others, likeliest first; `taken` is the token
    that was drawn, whether among them or not. `others` tokens are not listed and have the probabilities `others_raw`
    and `others_after` together. `left` of all `vocab_size` tokens are not cut. The entropies are in bits. `beyond`
    names the rules whose effect is an estimate because not all logits were there (`TopLogits.beyond`).
    """

    candidates: tuple[Candidate, ...]
    taken: Candidate | None
    others: int
    others_raw: float
    others_after: float
    left: int
    vocab_size: int
    entropy_raw: float
    entropy_after: float
    beyond: tuple[Rule, ...] = ()


def distribution(
    logits: Tensor | TopLogits,
    settings: SamplingSettings,
    history: Sequence[int] = (),
    *,
    most: int = 20,
    taken: int | None = None,
) -> Distribution:
    """The rules of `settings` applied to the raw logits (V,) of one place, as sampling applies them.

    `history` are all tokens before it, prompt and output, for the repetition penalty; `most` is how many candidates
    are listed. Raises UserError when the logits are not numbers.
    """
    with torch.inference_mode(), one_thread():
        row = logits.row() if isinstance(logits, TopLogits) else logits
        beyond = logits.beyond(settings, history) if isinstance(logits, TopLogits) else ()
        penalized = settings.repetition_penalty != 1 and len(history) > 0
        ids = torch.tensor(history, dtype=torch.int64)[None] if penalized else None
        told = list(stages(row[None], settings, ids))
        raw, after = probabilities(row), probabilities(told[-1][1][0])
        if not bool(raw.isfinite().all()):
            raise not_a_number()
        final, left = told[-1][1][0], int((told[-1][1] > CUT).sum())
        listed = _likeliest(told[0][1][0], final, left, min(most, len(row)))
        asked = listed if taken is None else [*listed, taken]
        shares = raw[asked].tolist(), after[asked].tolist()
        found = [Candidate(*each) for each in zip(asked, *shares, _cut_by(told, asked), strict=True)]
        last = found.pop() if taken is not None else None
        return Distribution(
            candidates=tuple(found),
            taken=last,
            others=len(row) - len(found),
            others_raw=_rest(raw, listed),
            others_after=_rest(after, listed),
            left=left,
            vocab_size=len(row),
            entropy_raw=_bits(raw),
            entropy_after=_bits(after),
            beyond=beyond,
        )


def _likeliest(penalized: Tensor, final: Tensor, left: int, most: int) -> list[int]:
    """Token ids: the likeliest of the `left` that the rules leave, then of those cut; equals by their number."""
    kept = final.topk(min(most, left))
    listed = _ordered(kept.values, kept.indices)
    if left < most:
        cut = (final == CUT).nonzero()[:, 0]
        top = penalized[cut].topk(most - left)
        listed += _ordered(top.values, cut[top.indices])
    return listed


def _ordered(values: Tensor, ids: Tensor) -> list[int]:
    return [id for _, id in sorted(zip((-values).tolist(), ids.tolist(), strict=True))]


def _cut_by(told: list[tuple[Rule, Tensor]], ids: list[int]) -> list[Rule | None]:
    """The rule that cut each of `ids`."""
    cut: list[Rule | None] = [None] * len(ids)
    before = told[0][1][0][ids] > CUT
    for rule, logits in told:
        now = logits[0][ids] > CUT
        for i in (before & ~now).nonzero()[:, 0].tolist():
            cut[i] = rule
        before = now
    return cut


def _rest(mass: Tensor, listed: list[int]) -> float:
    """The mass of all but `listed`, which is exactly 0 where they have none."""
    if len(listed) == len(mass):
        return 0.0
    return float(mass.double().index_fill(0, torch.tensor(listed, dtype=torch.int64), 0.0).sum())


def _bits(mass: Tensor) -> float:
    return float(torch.special.entr(mass.double()).sum()) / math.log(2)
