"""Drawing a token: by inverse distribution function, with random numbers from a private generator on the CPU.

The random numbers never depend on where the logits are, and sums run in float64, so the same seed and logits give the
same token on every device; torch's global generators are neither read nor advanced. A draw from something that is no
distribution (NaN, everything cut) gives V, one past the last token: the host finds out when it reads the token, so that
looking for damage costs no synchronization of its own.
"""

from __future__ import annotations

import secrets

import torch
from torch import Generator, Tensor

from engine.errors import UserError

BELOW_ONE = 1 - 2**-52  # keeps u * total under total after rounding


def fresh_seed() -> int:
    """A seed from the operating system, short enough to be typed again."""
    return secrets.randbelow(2**31)


def make_generator(seed: int) -> Generator:
    """A generator of our own on the CPU."""
    return Generator().manual_seed(seed)


def uniform(n: int, generator: Generator) -> Tensor:
    """n numbers in [0, 1), float64 (n,), on the CPU."""
    return torch.rand(n, dtype=torch.float64, generator=generator).mul_(BELOW_ONE)


def finite_top(logits: Tensor) -> Tensor:
    """The logits with +inf made finite: what is +inf then shares the whole mass."""
    return logits.clamp(max=torch.finfo(logits.dtype).max)


def probabilities(logits: Tensor) -> Tensor:
    """Softmax (..., V) that is defined for infinite logits too; NaN where a row has NaN or nothing but -inf."""
    return finite_top(logits).softmax(-1)


def pick(mass: Tensor, u: Tensor) -> Tensor:
    """Token ids (B,) at u (B,) in [0, 1) of the distribution function of `mass` (B, V), which need not sum to 1.

    A token without mass is never picked. V where a row is no distribution.
    """
    summed = mass.cumsum(-1, dtype=torch.float64)
    return torch.searchsorted(summed, (u * summed[:, -1])[:, None], right=True)[:, 0]


def pick_top(logits: Tensor) -> Tensor:
    """The first of the likeliest tokens (B,); V where a row is no distribution."""
    top = logits.max(-1)
    return torch.where(top.values > -torch.inf, top.indices, logits.size(-1))


def draw(probs: Tensor, generator: Generator) -> Tensor:
    """One token id (B,) for each row of probs (B, V). Raises UserError when a row is no distribution."""
    ids = pick(probs, uniform(probs.size(0), generator).to(probs.device))
    check_drawn(int(ids.max()), probs.size(-1))
    return ids


def check_drawn(token: int, vocab_size: int) -> None:
    """Raise UserError when `token` says that there was nothing to draw from."""
    if token >= vocab_size:
        raise not_a_number()


def not_a_number() -> UserError:
    """What is said of NaN logits."""
    return UserError("the model's output is not a number (NaN); its weights are damaged, use an earlier checkpoint")
