"""The logit lens (nostalgebraist 2020): what a model would say if it stopped after each layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.inspect.attention import as_row, shown_ids
from engine.inspect.losses import Cancelled, Ids, portion_for
from engine.model.gpt import GPT
from engine.sampling.decode import evaluating

MOST = 256
"""Tokens of a text that are looked at; the last ones of a longer one."""


@dataclass(frozen=True, eq=False)
class Lens:
    """For layer 0 (the embedding) to the last, at each of the tokens `ids` (T,), from place `start` of the text on.

    `token` int32 (layers + 1, T): the likeliest next token there; `probability` float32, its probability; `of_next`
    float32 (layers + 1, T - 1), that of the token that does come next. The last layer is the model's own output.
    """

    ids: tuple[int, ...]
    start: int
    token: NDArray[np.int32]
    probability: NDArray[np.float32]
    of_next: NDArray[np.float32]


def logit_lens(model: GPT, ids: Ids, most: int = MOST, *, cancelled: Cancelled | None = None) -> Lens | None:
    """The lens on the last tokens of `ids` that fit the context and `most`; None after a yes from `cancelled`.

    After each layer the model's own final norm and head are applied. Raises UserError for no tokens.
    """
    shown = shown_ids(ids, min(most, model.config.block_size))
    at_once = portion_for(model).tokens
    T = len(shown)
    with evaluating(model):
        row = as_row(model, shown)
        stream = model.residuals(row)
        token = np.empty((len(stream), T), np.int32)
        probability, of_next = np.empty((len(stream), T), np.float32), np.empty((len(stream), T - 1), np.float32)
        for layer, x in enumerate(stream):
            for at in range(0, T, at_once):
                if cancelled is not None and cancelled():
                    return None
                end = min(T, at + at_once)
                logits = model.readout(x[:, at:end])[0].float()
                shares = logits.softmax(-1)
                best = logits.argmax(-1, keepdim=True)
                token[layer, at:end] = best[:, 0].cpu().numpy()
                probability[layer, at:end] = shares.gather(1, best)[:, 0].cpu().numpy()
                following = row[0, at + 1 : end + 1, None]
                of_next[layer, at : at + len(following)] = shares[: len(following)].gather(1, following)[:, 0].cpu()
    return Lens(tuple(shown), len(ids) - T, token, probability, of_next)
