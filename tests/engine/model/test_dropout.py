"""Dropout acts at each of its places: what it leaves is scaled by 1 / (1 - p), and evaluation has none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.model import build_model
from engine.model.gpt import GPT, Block

P = 0.25
VOCAB = 13


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(
        **{"n_layer": 1, "n_head": 1, "n_embd": 16, "block_size": 16, "init": "xavier", "dropout": P} | changes
    )


def check(dropped: Tensor, plain: Tensor) -> None:
    """Each value is zero or scaled up, a share of about P zero; where `plain` is zero nothing is asked."""
    there = plain.abs() > 1e-5
    gone = dropped.eq(0) & there
    torch.testing.assert_close(dropped[there & ~gone], plain[there & ~gone] / (1 - P), rtol=1e-4, atol=1e-5)
    share = gone.sum().item() / there.sum().item()
    assert P / 2 < share < 2 * P, share


def ids() -> Tensor:
    return torch.randint(VOCAB, (8, 16), generator=torch.Generator().manual_seed(1))


def both(model: nn.Module, compute: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """In training and in evaluation, where it is the same each time."""
    torch.manual_seed(3)
    with torch.no_grad():
        dropped = compute()
        model.eval()
        plain = compute()
        assert torch.equal(compute(), plain)
    return dropped, plain


@pytest.mark.parametrize("position", ["rope", "learned", "sinusoidal"])
def test_of_the_embedding(position: str) -> None:
    model = GPT(config(position=position), VOCAB)
    check(*both(model, lambda: model.embed(ids())[0]))


class Given(nn.Module):
    """Gives what it is asked to, in place of a part."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, *args: Any) -> Tensor:
        return self.value


@pytest.mark.parametrize("part", ["attn", "mlp"])
def test_of_what_a_part_adds_to_the_residual_stream(part: str) -> None:
    block = Block(config())
    x, added = torch.randn(2, 8, 16, 16)
    setattr(block, part, Given(added))
    setattr(block, "mlp" if part == "attn" else "attn", Given(torch.zeros(())))
    dropped, plain = both(block, lambda: block(x, None) - x)
    torch.testing.assert_close(plain, added, atol=1e-5, rtol=1e-4)
    check(torch.where(dropped.abs() < 1e-6, 0.0, dropped), added)


def test_of_the_attention_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the unit vectors as values and nothing mixed after them, what comes out are the weights themselves."""
    attn = GPT(config(), VOCAB).blocks[0].attn
    assert attn.training
    q, k = torch.randn(2, 4, 1, 16, 16)
    v = torch.eye(16).expand(4, 1, 16, 16)
    monkeypatch.setattr(attn, "heads", lambda x, rope: (q, k, v))
    attn.proj.weight.data.copy_(torch.eye(16))
    dropped, weights = both(attn, lambda: attn(torch.zeros(4, 16, 16), None))
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 16))
    check(dropped, weights)


@pytest.mark.parametrize(
    ("kind", "embedded", "attention", "residual"),
    [("single-head", 1, 1, 0), ("multi-head", 1, 2, 0), ("blocks", 1, 2 * 3, 2 * 3), ("decoder", 1, 3, 2 * 3)],
)
def test_of_each_rung(kind: str, embedded: int, attention: int, residual: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three layers and two heads, where there are any; the decoder's attention is PyTorch's own module."""
    model = build_model(config(kind=kind, n_layer=3, n_head=2, position="learned"), VOCAB)
    shapes: list[int] = []
    plain, own = F.dropout, F.multi_head_attention_forward

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        assert p == P
        shapes.extend([x.size(-1)] * training)
        return plain(x, p, training, inplace)

    def forward(*args: Any, **kwargs: Any) -> Any:
        assert args[10] == P  # dropout_p
        shapes.extend([-1] * kwargs["training"])
        return own(*args, **kwargs)

    monkeypatch.setattr(F, "dropout", dropout)
    monkeypatch.setattr(F, "multi_head_attention_forward", forward)
    tokens = ids()[:, :9]
    with torch.no_grad():
        model.train()(tokens)
        assert shapes.count(16) == embedded + residual
        assert shapes.count(-1 if kind == "decoder" else 9) == attention
        shapes.clear()
        model.eval()(tokens)
    assert shapes == []
