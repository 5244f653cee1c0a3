"""Who looks at whom: the attention weights of every layer and head for a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import UserError
from engine.inspect.losses import Ids
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


def attention_maps(model: GPT, ids: Ids, most: int = MOST) -> AttentionMaps:
    """The maps of the last tokens of `ids` that fit the context and `most`, and all maps together LARGEST.

    Raises UserError for a model that does not attend, and for no tokens.
    """
    layers, heads = attention_shape(model.config)
    if not layers:
        raise UserError("a bigram looks at the last token alone and attends to nothing; choose a run of another kind")
    most = min(most, model.config.block_size, int((LARGEST / (4 * layers * heads)) ** 0.5))
    shown = shown_ids(ids, max(1, most))
    with evaluating(model):
        maps: Sequence[Tensor] = model.attention_maps(as_row(model, shown))
        weights = np.stack([each[0].float().cpu().numpy() for each in maps])
    return AttentionMaps(tuple(shown), len(ids) - len(shown), weights)


def shown_ids(ids: Ids, most: int) -> list[int]:
    """The last `most` of ids. Raises UserError for none."""
    shown = [int(id) for id in ids[max(0, len(ids) - most) :]]
    if not shown:
        raise UserError("there is no text to look at; type some, or choose a passage")
    return shown


def as_row(model: GPT, ids: Sequence[int]) -> Tensor:
    """(1, T) on the model's device."""
    return torch.tensor([ids], dtype=torch.int64, device=next(model.parameters()).device)
