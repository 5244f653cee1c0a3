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
    ids = encode_prompt(model, tokenizer, prompt)
    endings = Endings(tokenizer, settings)
    context = Context(model, ids, settings.max_tokens, beams)
    running = [_Open((), 0.0)] + [_Open((), NEVER)] * (beams - 1)
    finished: list[Beam] = []
    for length in range(1, settings.max_tokens + 1):
        finishing, running, parents = _step(context, running, endings, settings, length, length_penalty)
        finished = sorted(finished + finishing, key=lambda beam: -beam.score)[:beams]
        best = running[0].score / length**length_penalty if running else NEVER
        if not running or (len(finished) == beams and best <= finished[-1].score):
            return finished[:num]
        context.select(torch.tensor(parents, device=context.ids.device))
        context.append(torch.tensor([beam.ids[-1] for beam in running], device=context.ids.device))
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


@dataclass(frozen=True)
class _Open:
    """A beam that may go on: its tokens and their summed log probability."""

    ids: tuple[int, ...]
    score: float

    def finish(self, endings: Endings, length_penalty: float, reason: StopReason) -> Beam:
        return Beam(endings.text(self.ids), self.ids, self.score / len(self.ids) ** length_penalty, reason)


def _step(
    context: Context,
    running: list[_Open],
    endings: Endings,
    settings: SamplingSettings,
    length: int,
    length_penalty: float,
) -> tuple[list[Beam], list[_Open], list[int]]:
    """Beams that end with their `length`-th token, those that go on, and whose continuation each of these is.

    So many of the best continuations are looked at that enough go on even if every beam could end in every stop token;
    only those among the best `beams` may end (they are as many as there are beams in all).
    """
    beams = len(running)
    scores = context.logits().log_softmax(-1)
    scores = apply_repetition_penalty(scores, context.ids, settings.repetition_penalty)
    vocab_size = scores.size(-1)
    scores = scores + torch.tensor([beam.score for beam in running], device=scores.device)[:, None]
    looked_at = min(max(2, 1 + len(endings.stop_ids)) * beams, scores.numel())
    top = scores.flatten().topk(looked_at)
    values = top.values.tolist()
    if not math.isfinite(values[0]):
        raise not_a_number()
    finishing: list[Beam] = []
    going_on: list[_Open] = []
    parents: list[int] = []
    for rank, (score, index) in enumerate(zip(values, top.indices.tolist(), strict=True)):
        parent, token = divmod(index, vocab_size)
        beam = _Open((*running[parent].ids, token), score)
        reason = endings.reason(beam.ids)
        if reason is not None:
            finishing += [beam.finish(endings, length_penalty, reason)] if rank < beams else []
        elif len(going_on) < beams:
            going_on.append(beam)
            parents.append(parent)
    return finishing, going_on, parents
