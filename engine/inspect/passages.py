"""The passages of a text that a model understands least."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from engine.inspect.losses import AT_FIRST, Cancelled, Ids, portion_for, windows_losses
from engine.model.gpt import GPT
from engine.tokenizers.answers import Answers

PASSAGE = 48
"""Tokens of a passage."""
MOST_TOKENS = 100_000
"""Tokens of a split that are looked at; of a larger one an even sample."""


@dataclass(frozen=True)
class Passage:
    """`length` tokens of a split from `start` on, with the mean loss in nats of those that count.

    The model saw the split from `window` on: `text_losses` of `ids[window : start + length]` gives the same losses.
    """

    start: int
    length: int
    loss: float
    window: int


@dataclass(frozen=True)
class Worst:
    """The passages of the highest mean loss so far, worst first, in `looked_at` of the `wanted` tokens.

    `split` tokens could be looked at; where `wanted` is less, it is an even sample of them.
    """

    passages: tuple[Passage, ...]
    looked_at: int
    wanted: int
    split: int

    @property
    def sampled(self) -> bool:
        return self.wanted < self.split


@dataclass(frozen=True)
class _Span:
    """Targets `first` to `end` (numbers of the tokens before them) count; the model reads from `window` on."""

    window: int
    first: int
    end: int


def worst_passages(
    model: GPT,
    ids: Ids,
    *,
    most: int = 10,
    length: int = PASSAGE,
    most_tokens: int = MOST_TOKENS,
    answers: Answers | None = None,
    cancelled: Cancelled | None = None,
) -> Iterator[Worst]:
    """The worst passages of a split as they are found; the last one given is of all that is looked at.

    A passage is judged with at least half a context before it where there is so much: at the beginning of a window a
    model knows nothing yet, and those would be the worst of all. Passages do not overlap. A split of more than
    `most_tokens` is sampled by spans evenly spread over it, the same each time. Where only `answers` were learned
    they alone count, in passages of which they are a quarter. Ends early after a yes from `cancelled`.
    """
    spans = _spans(len(ids) - 1, model.config.block_size, length, most_tokens)
    length = min(length, _longest(model.config.block_size))
    wanted = sum(span.end - span.first for span in spans)
    portion = portion_for(model)
    found: list[tuple[float, int, Passage]] = []
    looked_at, done, together = 0, 0, AT_FIRST
    while done < len(spans) and not (cancelled is not None and cancelled()):
        rows = _alike(spans[done : done + together])
        windows = np.stack([np.asarray(ids[span.window : span.end + 1]) for span in rows])
        losses = windows_losses(model, windows[:, :-1], windows[:, 1:], portion, 1).loss.reshape(len(rows), -1)
        counts = np.ones_like(losses, bool)
        if answers is not None:
            counts = answers.mask(np.array([span.window for span in rows]), losses.shape[1])
        for span, row, counted in zip(rows, losses, counts, strict=True):
            for passage in _passages(span, row, counted, length):
                heapq.heappush(found, (passage.loss, -passage.start, passage))
                if len(found) > most:
                    heapq.heappop(found)
        done += len(rows)
        looked_at += sum(span.end - span.first for span in rows)
        yield Worst(tuple(each for *_, each in sorted(found, reverse=True)), looked_at, wanted, max(0, len(ids) - 1))
        together = min(2 * together, portion.rows)


def _longest(block_size: int) -> int:
    """Tokens of a passage that leave half a context before it."""
    return -(-block_size // 2)


def _spans(targets: int, block_size: int, length: int, most_tokens: int) -> Sequence[_Span]:
    """Where to look: spans of whole passages, one after the other, or some of them evenly spread."""
    length = min(length, _longest(block_size))
    judged = _longest(block_size) // length * length
    count = -(-targets // judged) if targets > 0 else 0
    some = min(count, max(1, most_tokens // judged))
    firsts = [number * count // some * judged for number in range(some)]
    return [_Span(max(0, at - (block_size - judged)), at, min(targets, at + judged)) for at in firsts]


def _alike(spans: Sequence[_Span]) -> list[_Span]:
    """The first of them, whose windows are as long as that of the very first."""
    width = spans[0].end - spans[0].window
    return list(takewhile(lambda span: span.end - span.window == width, spans))


def _passages(span: _Span, losses: NDArray[np.float32], counted: NDArray[np.bool_], length: int) -> Iterator[Passage]:
    """The passages of a span, whose window has these losses (T,). A rest of less than half of one is left out."""
    for at in range(span.first, span.end, length):
        n = min(length, span.end - at)
        here = slice(at - span.window, at - span.window + n)
        told = losses[here][counted[here]]
        if (2 * n >= length or at == 0) and 4 * len(told) >= n:
            yield Passage(at + 1, n, float(told.mean(dtype=np.float64)), span.window)
