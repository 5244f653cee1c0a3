"""What a model makes of a text, token by token: loss, rank, and what it would have said instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.model.gpt import GPT
from engine.sampling.decode import evaluating
from engine.tokenizers.base import Tokenizer
from engine.training.evaluate import Portion

Cancelled = Callable[[], bool]
Ids = Sequence[int] | NDArray[np.integer[Any]]
Windows = NDArray[np.integer[Any]]

ALTERNATIVES = 5
AT_FIRST = 1  # windows computed together; doubled each time, so that something is there at once


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
    return Losses(
        parts[0].start,
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.loss for part in parts]),
        np.concatenate([part.rank for part in parts]),
        np.concatenate([part.top for part in parts]),
        np.concatenate([part.top_p for part in parts]),
    )


def text_losses(
    model: GPT,
    ids: Ids,
    *,
    alternatives: int = ALTERNATIVES,
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
            windows_losses(model, part[:-1].reshape(-1, width), part[1:].reshape(-1, width), portion, alternatives),
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
