from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.config import ModelConfig
from engine.errors import ConfigError
from engine.model import build_model
from engine.model.cache import KVCache
from engine.model.ladder import RUNGS

VOCAB = 11


def tiny(kind: str, **changes: object) -> ModelConfig:
    settings: dict[str, object] = {
        "kind": kind, "n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "position": "learned", "init": "xavier",
    }  # fmt: skip
    return ModelConfig(**{**settings, **changes})


def some_ids() -> torch.Tensor:
    return torch.randint(VOCAB, (3, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", RUNGS)
def test_rungs_answer_to_the_same_names(kind: str) -> None:
    model = build_model(tiny(kind), VOCAB)
    ids = some_ids()
    assert model.vocab_size == VOCAB and model.config.kind == kind and not model.supports_cache
    logits = model(ids)
    assert logits.shape == (3, 8, VOCAB)
    torch.testing.assert_close(model(ids, last=True), logits[:, -1:])
    torch.testing.assert_close(model.loss(ids, ids), F.cross_entropy(logits.flatten(0, 1), ids.flatten()))
    with pytest.raises(ValueError, match="9 tokens do not fit"):
        model(torch.zeros(1, 9, dtype=torch.long))
    with pytest.raises(ValueError, match="no cache"):
        model(ids, KVCache(tiny(kind), 1, 4, torch.zeros(())))


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "none"])
@pytest.mark.parametrize("kind", RUNGS)
def test_a_rungs_state_holds_its_weights_and_no_more(kind: str, position: str) -> None:
    model = build_model(tiny(kind, position=position), VOCAB)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters(remove_duplicate=False)}


@pytest.mark.parametrize("kind", RUNGS)
def test_rungs_do_not_see_the_future(kind: str) -> None:
    model = build_model(tiny(kind), VOCAB)
    ids = some_ids()
    changed = ids.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % VOCAB
    torch.testing.assert_close(model(ids)[:, :5], model(changed)[:, :5])


@pytest.mark.parametrize("kind", RUNGS)
def test_rungs_learn(kind: str) -> None:
    """Every rung can at least memorize which token follows which."""
    model = build_model(tiny(kind), VOCAB)
    ids = torch.arange(8)[None]
    targets = ids + 1
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    first = model.loss(ids, targets).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(ids, targets)
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 3


def test_bigram_knows_the_last_token_only() -> None:
    model = build_model(tiny("bigram"), VOCAB)
    torch.testing.assert_close(model(torch.tensor([[1, 2, 3]]))[:, -1], model(torch.tensor([[5, 4, 3]]))[:, -1])
    assert [tuple(p.shape) for p in model.parameters()] == [(VOCAB, VOCAB)]


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
@pytest.mark.parametrize("bias", [True, False])
def test_decoder_is_gpt_with_the_same_weights(norm: str, bias: bool) -> None:
    """PyTorch's MultiheadAttention and the own attention are the same mathematics."""
    settings: dict[str, object] = {"norm": norm, "bias": bias, "mlp": "gelu_tanh", "tie_embeddings": False}
    own = build_model(tiny("gpt", **settings), VOCAB)
    decoder = build_model(tiny("decoder", **settings), VOCAB)
    renamed = {}
    for name, tensor in own.state_dict().items():
        name = name.replace("attn.qkv.", "attn.in_proj_").replace("attn.proj.", "attn.out_proj.")
        renamed[name] = tensor
    decoder.load_state_dict(renamed)
    ids = some_ids()
    torch.testing.assert_close(decoder(ids), own(ids), atol=1e-5, rtol=1e-5)
    own.loss(ids, ids).backward()
    decoder.loss(ids, ids).backward()
    torch.testing.assert_close(
        decoder.blocks[0].attn.in_proj_weight.grad, own.blocks[0].attn.qkv.weight.grad, atol=1e-5, rtol=1e-4
    )


def test_own_attention_is_the_ladders_heads_put_together() -> None:
    own = build_model(tiny("gpt"), VOCAB).blocks[0].attn
    ladder = build_model(tiny("multi-head"), VOCAB).attn
    queries, keys, values = own.qkv.weight.chunk(3)
    with torch.no_grad():
        for i, head in enumerate(ladder.heads):
            part = slice(8 * i, 8 * i + 8)
            head.query.weight.copy_(queries[part])
            head.key.weight.copy_(keys[part])
            head.value.weight.copy_(values[part])
        ladder.proj.weight.copy_(own.proj.weight)
    x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(own(x, None), ladder(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("single-head", {"position": "rope"}, "position learned"),
        ("decoder", {"qk_norm": True}, "qk_norm"),
        ("decoder", {"n_kv_head": 1}, "n_kv_head"),
        ("multi-head", {"init": "zero-projection"}, "never learn"),
    ],
)
def test_what_a_rung_cannot_have_is_said(kind: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model(tiny(kind, **changes), VOCAB)
