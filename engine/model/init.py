"""Initialization of weights, all of it, from one private generator: building a model never moves the global RNG."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from engine.config import ModelConfig
from engine.model import stacked_rows


def embedding_std(config: ModelConfig, rows: int) -> float:
    """Standard deviation of fresh token embeddings.

    zero-projection: 1, the scale of a normalized residual stream; unless tied, where the same weights are the head and
    logits would start out with a spread of sqrt(n_embd).
    """
    if config.init == "xavier":
        return math.sqrt(2 / (rows + config.n_embd))
    return 1.0 if config.init == "zero-projection" and not config.tie_embeddings else 0.02


@torch.no_grad()
def init_weights(model: nn.Module, config: ModelConfig, generator: Generator | None) -> None:
    """Draw every parameter of `model` in the order of its names; modules are told apart by name.

    gpt2: normal, std 0.02, projections into the residual stream by 1 / sqrt(2 n_layer) less (Radford et al. 2019).
    xavier: uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010); queries, keys, values each by itself.
    zero-projection: projections into the residual stream, an untied head and the tables of earlier tokens start at
    zero, so that every block starts as the identity and the first loss is log(vocab); other matrices uniform with
    variance 1 / fan_in, which keeps a normalized input's scale (the practice of modded-nanogpt and nanochat).
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    for name, parameter in model.named_parameters():
        kind, leaf = name.split(".")[-2:] if "." in name else ("", name)
        if leaf.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0)
        elif kind == "before" and config.init == "zero-projection":
            parameter.zero_()  # at first a token is only itself
        elif kind in ("wte", "wpe", "before"):
            _embedding(parameter, config, generator)
        else:
            _matrix(parameter, name, kind, config, generator)


def _embedding(weight: Tensor, config: ModelConfig, generator: Generator) -> None:
    if config.init == "xavier":
        nn.init.xavier_uniform_(weight, generator=generator)
    else:
        weight.normal_(0.0, embedding_std(config, weight.size(0)), generator=generator)


def _matrix(weight: Tensor, name: str, kind: str, config: ModelConfig, generator: Generator) -> None:
    into_residual = kind in ("proj", "out_proj")
    if config.init == "gpt2":
        weight.normal_(0.0, 0.02 / math.sqrt(2 * config.n_layer) if into_residual else 0.02, generator=generator)
    elif config.init == "xavier":
        for part in torch.split(weight, list(stacked_rows(name, weight.size(0), config))):
            nn.init.xavier_uniform_(part, generator=generator)
    elif into_residual or kind == "head":
        weight.zero_()
    else:
        bound = math.sqrt(3 / weight.size(1))
        weight.uniform_(-bound, bound, generator=generator)
