"""What a model makes of a text, token by token: loss, rank, what it would have said instead; where it fails worst."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.model.gpt import GPT
from engine.sampling.decode import evaluating
from engine.tokenizers.answers import Answers
from engine.tokenizers.base import Tokenizer
from engine.training.evaluate import Portion

Cancelled = Callable[[], bool]
Ids = Sequence[int] | NDArray[np.integer[Any]]
Windows = NDArray[np.integer[Any]]

ALTERNATIVES = 5
AT_FIRST = 1  # windows computed together; doubled each time, so that something is there at once
PASSAGE = 48
"""Tokens of a passage."""
MOST_TOKENS = 100_000
"""Tokens of a split that are looked at for passages; of a larger one an even sample."""


@dataclass(frozen=True, eq=False)
class Losses:
    """Consecutive tokens of a text, each predicted from those before it in its window.

    `start` is the place of the first in the text. `ids` int32 (n,); `loss` float32 (n,) in nats; `rank` int32 (n,), 1
    for the likeliest; `top` int32 (n, k) and `top_p` float32 (n, k): the likeliest tokens and their probabilities.
    """

    start: int
    ids: NDArray[np.int32]
    loss: NDArray[np.float32]
    rank: NDArray[np.int32]
    top: NDArray[np.int32]
    top_p: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def probability(self) -> NDArray[np.float32]:
        """(n,) of each token."""
        return np.exp(-self.loss)

    @property
    def mean(self) -> float:
        """Nats a token; nan for none."""
        return float(self.loss.sum(dtype=np.float64)) / len(self) if len(self) else math.nan

    def bits_per_byte(self, tokenizer: Tokenizer) -> float:
        """Bits a byte of the text that the tokens stand for; nan where they stand for none."""
        n_bytes = int(tokenizer.byte_lengths[self.ids].sum())
        return float(self.loss.sum(dtype=np.float64)) / math.log(2) / n_bytes if n_bytes else math.nan


def joined(parts: Sequence[Losses]) -> Losses:
    """Parts that follow each other as one."""
    _, *arrays = (field.name for field in fields(Losses))
    return Losses(parts[0].start, *(np.concatenate([getattr(part, name) for part in parts]) for name in arrays))


def text_losses(
    model: GPT,
    ids: Ids,
    *,
    cancelled: Cancelled | None = None,
) -> Iterator[Losses]:
    """The losses of all tokens of `ids` but the first, which nothing predicts, as they are computed.

    The text is cut into consecutive windows of the context, as for the validation loss. Ends early after a yes from
    `cancelled`, asked between parts. Memory does not grow with the length of the text.
    """
    size, targets = model.config.block_size, len(ids) - 1
    portion = portion_for(model)
    start, together = 0, AT_FIRST
    while start < targets:
        if cancelled is not None and cancelled():
            return
        rows = min(together, (targets - start) // size)
        n = rows * size or targets - start  # a shorter last window comes by itself
        part = np.asarray(ids[start : start + n + 1])
        width = min(size, n)
        yield replace(
            windows_losses(model, part[:-1].reshape(-1, width), part[1:].reshape(-1, width), portion, ALTERNATIVES),
            start=start + 1,
        )
        start += n
        together = min(2 * together, portion.rows)


def portion_for(model: GPT) -> Portion:
    """How much of a text is computed together."""
    return Portion.fitting(model.config.block_size, model.vocab_size, next(model.parameters()).device)


def windows_losses(model: GPT, x: Windows, y: Windows, portion: Portion, alternatives: int) -> Losses:
    """The losses of targets y (B, T) given x (B, T), row after row. Their `start` is 0."""
    device = next(model.parameters()).device
    k = min(alternatives, model.vocab_size)
    targets = torch.from_numpy(y.astype(np.int64)).to(device).flatten()
    parts: list[tuple[Tensor, ...]] = []
    with evaluating(model):
        # logits of all at once would not fit
        hidden = model.hidden(torch.from_numpy(x.astype(np.int64)).to(device)).flatten(0, 1)
        for at in range(0, len(targets), portion.tokens):
            target = targets[at : at + portion.tokens, None]
            logits = model.logits(hidden[None, at : at + portion.tokens])[0].float()
            own, norm = logits.gather(1, target), logits.logsumexp(1, keepdim=True)
            top = logits.topk(k, dim=1)
            parts.append((norm - own, (logits > own).sum(1, keepdim=True) + 1, top.indices, (top.values - norm).exp()))
        loss, rank, top_ids, top_p = (torch.cat(each).cpu().numpy() for each in zip(*parts, strict=True))
    return Losses(
        0, y.flatten().astype(np.int32), loss[:, 0], rank[:, 0].astype(np.int32), top_ids.astype(np.int32), top_p
    )


# -- the passages that a model understands least -----------------------------------------------------------------------


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
    length = min(length, -(-model.config.block_size // 2))  # half a context stays before it
    spans = _spans(len(ids) - 1, model.config.block_size, length, most_tokens)
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


def _spans(targets: int, block_size: int, length: int, most_tokens: int) -> Sequence[_Span]:
    """Where to look: spans of whole passages, one after the other, or some of them evenly spread."""
    judged = -(-block_size // 2) // length * length
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
