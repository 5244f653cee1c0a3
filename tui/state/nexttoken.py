"""What could have stood at a token's place: the bars beside the answer, by the rules as they are set now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from engine.sampling.kept import TopLogits
    from engine.sampling.settings import SamplingSettings

MOST = 64
"""Candidates that are listed; more than fit on a screen."""


@dataclass(frozen=True)
class TokenBar:
    """One token: its label, its probability before and after the rules, the rule that cut it or "", its number, and
    whether it is the one that was taken."""

    text: str
    before: float
    after: float
    cut: str = ""
    id: int = -1
    taken: bool = False


@dataclass(frozen=True)
class NextToken:
    """The distribution of one place. `others` tokens are not among `bars`; entropies are in bits; `left` tokens are not
    cut; `estimate` names the rule whose effect is not known exactly, since a trainer sends the likeliest alone."""

    bars: tuple[TokenBar, ...]
    others: int
    others_before: float
    others_after: float
    left: int
    vocab_size: int
    entropy_before: float
    entropy_after: float
    estimate: str = ""


def next_token(
    logits: Tensor | TopLogits,
    settings: SamplingSettings,
    history: Sequence[int],
    taken: int | None,
    label: Callable[[int], str],
    most: int = MOST,
) -> NextToken:
    """The rules of `settings` on the logits of a place after the tokens `history`; `taken` is the token that stands
    there. The taken one is listed too, last where it is not among the likeliest."""
    from engine.sampling.distribution import distribution

    found = distribution(logits, settings, history, most=most, taken=taken)
    listed = list(found.candidates)
    if found.taken is not None and all(each.id != taken for each in listed):
        listed.append(found.taken)
    bars = tuple(TokenBar(label(c.id), c.raw, c.after, c.cut or "", c.id, c.id == taken) for c in listed)
    return NextToken(
        bars=bars,
        others=found.others,
        others_before=found.others_raw,
        others_after=found.others_after,
        left=found.left,
        vocab_size=found.vocab_size,
        entropy_before=found.entropy_raw,
        entropy_after=found.entropy_after,
        estimate=found.beyond[0] if found.beyond else "",
    )
