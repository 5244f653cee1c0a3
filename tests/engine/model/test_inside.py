"""What every model lets be seen of its inside is what it computes with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.model import build_model
from engine.model.gpt import GPT, Attention
from engine.model.ladder import Head
from engine.sampling.decode import for_decoding

VOCAB = 11
SHAPE = {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 8, "init": "xavier", "vocab_multiple": 8}
KINDS: dict[str, dict[str, object]] = {
    "gpt": {"kind": "gpt", "position": "rope"},
    "grouped": {"kind": "gpt", "n_kv_head": 2, "qk_norm": True, "embd_window": 3, "softcap": 5.0},
    "one key head": {"kind": "gpt", "n_kv_head": 1, "position": "learned", "norm": "layernorm", "bias": True},
    "untied": {"kind": "gpt", "tie_embeddings": False, "embd_norm": True, "position": "none", "mlp": "swiglu"},
    "bigram": {"kind": "bigram"},
    "single-head": {"kind": "single-head", "position": "learned"},
    "multi-head": {"kind": "multi-head", "position": "sinusoidal"},
    "blocks": {"kind": "blocks", "position": "learned", "softcap": 5.0},
    "decoder": {"kind": "decoder", "position": "learned", "bias": True, "embd_norm": True},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def model_of(kind: str) -> GPT:
    model = build_model(ModelConfig.model_validate({**SHAPE, **KINDS[kind]}), VOCAB, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)  # so that attention is far from even
    return model.eval()


IDS = torch.randint(VOCAB, (2, 8), generator=torch.Generator().manual_seed(2))


@every_kind
@pytest.mark.parametrize("decoding", [False, True])
@torch.inference_mode()
def test_the_last_layer_read_out_is_the_output(kind: str, decoding: bool) -> None:
    model = for_decoding(model_of(kind)) if decoding else model_of(kind)
    stream = model.residuals(IDS)
    layers = {"bigram": 0, "single-head": 1, "multi-head": 1}.get(kind, 2)
    assert len(stream) == layers + 1
    assert torch.equal(model.logits(model.norm_f(stream[-1])), model(IDS))
    for x in stream:
        logits = model.logits(model.norm_f(x))
        assert logits.shape == (2, 8, VOCAB) and (logits.abs().max() <= 5 or not model.config.softcap)


@every_kind
@torch.inference_mode()
def test_attention_maps_are_what_the_model_attends_by(kind: str) -> None:
    """The outputs of its own attention come again from the maps and the values."""
    model = model_of(kind)
    maps = model.attention_maps(IDS)
    if kind == "bigram":
        assert maps == []
        return
    heads = 1 if kind == "single-head" else 4
    assert len(maps) == len(model.residuals(IDS)) - 1
    for each in maps:
        assert each.shape == (2, heads, 8, 8) and each.triu(1).eq(0).all()
        torch.testing.assert_close(each.sum(-1), torch.ones(2, heads, 8))
        assert each[..., -1, :].amax() > 0.2  # not all alike, or anything would do
    seen: list[tuple[Tensor, Tensor]] = []
    parts = [m for m in model.modules() if isinstance(m, Attention | nn.MultiheadAttention)]
    parts = parts or [m for m in model.modules() if isinstance(m, Head)]
    for part in parts:
        part.register_forward_hook(
            lambda part, given, out: seen.append((given[0], out[0] if isinstance(out, tuple) else out))
        )
    model(IDS)
    for i, (part, (x, out)) in enumerate(zip(parts, seen, strict=True)):
        torch.testing.assert_close(mixed(part, x, maps, i), out, atol=1e-5, rtol=1e-4)


def mixed(part: nn.Module, x: Tensor, maps: list[Tensor], i: int) -> Tensor:
    """The output of attention number i for x, from its map."""
    if isinstance(part, Head):
        heads = maps[0].size(1)
        return maps[i // heads][:, i % heads] @ part.value(x)
    if isinstance(part, Attention):
        _, _, v = part.heads(x, None)
        v = v.repeat_interleave(part.n_head // part.kv_heads, dim=1)
        return part.proj((maps[i] @ v).transpose(1, 2).flatten(2))
    assert isinstance(part, nn.MultiheadAttention) and part.in_proj_weight is not None
    bias = None if part.in_proj_bias is None else part.in_proj_bias[32:]
    v = nn.functional.linear(x, part.in_proj_weight[32:], bias).view(2, 8, 4, 4).transpose(1, 2)
    return part.out_proj((maps[i] @ v).transpose(1, 2).flatten(2))
