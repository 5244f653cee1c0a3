"""What goes on between the layers, for a text: who looks at whom, and what a model would say if it stopped there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import UserError
from engine.inspect.losses import Cancelled, Ids, portion_for
from engine.model.gpt import GPT
from engine.model.sizes import attention_shape
from engine.sampling.decode import evaluating

MOST = 256
"""Tokens of a text that are looked at; the last ones of a longer one."""
LARGEST = 128 << 20
"""Bytes of all maps together; a model of many layers and heads shows fewer tokens."""


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """`weights` float32 (layers, heads, T, T): how much of what token i takes comes from token j; rows sum to 1.

    `ids` (T,) are the tokens, from place `start` of the text on.
    """

    ids: tuple[int, ...]
    start: int
    weights: NDArray[np.float32]

    def wall(self, size: int) -> NDArray[np.float32]:
        """The maps made small, (layers, heads, m, m) with m at most `size`.

        A row is the mean of neighbouring tokens' rows, a column the sum over neighbouring tokens: rows still sum to 1.
        """
        T = self.weights.shape[-1]
        edges = np.linspace(0, T, min(size, T), endpoint=False).astype(np.int64)
        tall = np.diff(np.append(edges, T)).astype(np.float32)
        rows = np.add.reduceat(self.weights, edges, axis=2) / tall[:, None]
        return np.add.reduceat(rows, edges, axis=3)


def attention_maps(model: GPT, ids: Ids) -> AttentionMaps:
    """The maps of the last tokens of `ids` that fit the context and MOST, and all maps together LARGEST.

    Raises UserError for a model that does not attend, and for no tokens.
    """
    layers, heads = attention_shape(model.config)
    if not layers:
        raise UserError("a bigram looks at the last token alone and attends to nothing; choose a run of another kind")
    most = min(MOST, model.config.block_size, int((LARGEST / (4 * layers * heads)) ** 0.5))
    shown = _shown(ids, max(1, most))
    with evaluating(model):
        maps: Sequence[Tensor] = model.attention_maps(_row(model, shown))
        weights = np.stack([each[0].float().cpu().numpy() for each in maps])
    return AttentionMaps(tuple(shown), len(ids) - len(shown), weights)


@dataclass(frozen=True, eq=False)
class Lens:
    """What a model would say if it stopped after each layer, from 0 (the embedding) to the last (nostalgebraist 2020).

    At each of the tokens `ids` (T,), from place `start` of the text on: `token` int32 (layers + 1, T), the likeliest
    next token there; `probability` float32, its probability; `of_next` float32 (layers + 1, T - 1), that of the token
    that does come next. The last layer is the model's own output.
    """

    ids: tuple[int, ...]
    start: int
    token: NDArray[np.int32]
    probability: NDArray[np.float32]
    of_next: NDArray[np.float32]


def logit_lens(model: GPT, ids: Ids, *, cancelled: Cancelled | None = None) -> Lens | None:
    """The lens on the last tokens of `ids` that fit the context and MOST; None after a yes from `cancelled`.

    After each layer the model's own final norm and head are applied. Raises UserError for no tokens.
    """
    shown = _shown(ids, min(MOST, model.config.block_size))
    at_once = portion_for(model).tokens
    T = len(shown)
    with evaluating(model):
        row = _row(model, shown)
        stream = model.residuals(row)
        token = np.empty((len(stream), T), np.int32)
        probability, of_next = np.empty((len(stream), T), np.float32), np.empty((len(stream), T - 1), np.float32)
        for layer, x in enumerate(stream):
            for at in range(0, T, at_once):
                if cancelled is not None and cancelled():
                    return None
                end = min(T, at + at_once)
                logits = model.logits(model.norm_f(x[:, at:end]))[0].float()
                shares = logits.softmax(-1)
                best = logits.argmax(-1, keepdim=True)
                token[layer, at:end] = best[:, 0].cpu().numpy()
                probability[layer, at:end] = shares.gather(1, best)[:, 0].cpu().numpy()
                following = row[0, at + 1 : end + 1, None]
                of_next[layer, at : at + len(following)] = shares[: len(following)].gather(1, following)[:, 0].cpu()
    return Lens(tuple(shown), len(ids) - T, token, probability, of_next)


def _shown(ids: Ids, most: int) -> list[int]:
    """The last `most` of ids. Raises UserError for none."""
    shown = [int(id) for id in ids[max(0, len(ids) - most) :]]
    if not shown:
        raise UserError("there is no text to look at; type some, or choose a passage")
    return shown


def _row(model: GPT, ids: Sequence[int]) -> Tensor:
    """(1, T) on the model's device."""
    return torch.tensor([ids], dtype=torch.int64, device=next(model.parameters()).device)
