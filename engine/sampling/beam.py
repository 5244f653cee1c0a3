"""Beam search: the likeliest text found by following several beginnings at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.errors import UserError
from engine.model.gpt import GPT
from engine.sampling.decode import Context
from engine.sampling.generate import StopFilter, StopReason, encode_prompt, stop_tokens
from engine.sampling.rules import apply_repetition_penalty, not_a_number
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.base import Tokenizer

MOST_BEAMS = 64
NEVER = -1e9  # score of beams that do not exist yet: at first all are one


@dataclass(frozen=True)
class Beam:
    """A finished text: its tokens `ids`, a stop token included; `score` is log probability over length**penalty."""

    text: str
    ids: tuple[int, ...]
    score: float
    stop_reason: StopReason


def beam_search(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    settings: SamplingSettings | None = None,
    beams: int = 4,
    *,
    length_penalty: float = 1.0,
    num: int = 1,
) -> list[Beam]:
    """The `num` best texts that a search with `beams` beams finds, best first.

    Of the settings, the repetition penalty, max_tokens and what stops a text count; nothing is drawn. A length_penalty
    above 0 favours longer texts, below 0 shorter ones. Equal to transformers' `generate(num_beams=beams,
    do_sample=False, early_stopping=False)`: the search ends when the best open beam, scored at its present length,
    is no better than the worst of `beams` finished ones.
    """
    settings = settings or SamplingSettings()
    if not 1 <= num <= beams <= MOST_BEAMS:
        raise UserError(f"beams must be from 1 to {MOST_BEAMS} and give at most as many texts, not {beams} for {num}")
    context = Context(model, encode_prompt(model, tokenizer, prompt), settings.max_tokens, beams)
    device, endings = context.ids.device, Endings(tokenizer, settings)
    # tokens of the open beams, and their summed log probability
    running: list[tuple[tuple[int, ...], float]] = [((), NEVER if number else 0.0) for number in range(beams)]
    finished: list[Beam] = []
    for length in range(1, settings.max_tokens + 1):
        scores = context.logits().log_softmax(-1)
        scores = apply_repetition_penalty(scores, context.ids, settings.repetition_penalty)
        scores = scores + torch.tensor([score for _, score in running], device=device)[:, None]
        # so many of the best continuations that enough go on even if every beam could end in every stop token
        looked_at = min(max(2, 1 + len(endings.stop_ids)) * len(running), scores.numel())
        top = scores.flatten().topk(looked_at)
        values = top.values.tolist()
        if not math.isfinite(values[0]):
            raise not_a_number()
        open_ones: list[tuple[int, tuple[int, ...], float]] = []  # each with the number of the beam it goes on from
        for rank, (score, index) in enumerate(zip(values, top.indices.tolist(), strict=True)):
            parent, token = divmod(index, scores.size(-1))
            tokens = (*running[parent][0], token)
            reason = endings.reason(tokens)
            if reason is None and len(open_ones) < len(running):
                open_ones.append((parent, tokens, score))
            elif reason is not None and rank < len(running):  # only those among the best may end
                finished.append(Beam(endings.text(tokens), tokens, score / length**length_penalty, reason))
        finished = sorted(finished, key=lambda beam: -beam.score)[:beams]
        running = [(tokens, score) for _, tokens, score in open_ones]
        best = running[0][1] / length**length_penalty if running else NEVER
        if not running or (len(finished) == beams and best <= finished[-1].score):
            return finished[:num]
        context.select(torch.tensor([parent for parent, *_ in open_ones], device=device))
        context.append(torch.tensor([tokens[-1] for tokens, _ in running], device=device))
    return [Beam("", (), 0.0, "length")]  # no token was asked for


class Endings:
    """What ends a text: stop tokens, stop strings, its length."""

    def __init__(self, tokenizer: Tokenizer, settings: SamplingSettings) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = stop_tokens(tokenizer, settings)
        self.stops = settings.stop
        self.max_tokens = settings.max_tokens

    def reason(self, ids: Sequence[int]) -> StopReason | None:
        """Why the text ends with the last of `ids`; None when it goes on."""
        if ids[-1] in self.stop_ids:
            return "stop"
        if self.stops:
            text = self.tokenizer.decode(ids)
            if any(stop in text for stop in self.stops):
                return "stop"
        return "length" if len(ids) >= self.max_tokens else None

    def text(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without what ended it."""
        visible = StopFilter(self.stops)
        ended = ids and ids[-1] in self.stop_ids
        return visible.push(self.tokenizer.decode(ids[:-1] if ended else ids)) + visible.flush()
