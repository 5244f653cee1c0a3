from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import ModelConfig
from engine.model import build_model, sizes
from engine.model.cache import KVCache
from engine.model.gpt import GPT, roles
from engine.model.lora import apply_lora
from engine.model.sizes import count_parameters, flops_per_token, padded_vocab, parameter_table
from engine.preset_files import load_preset, preset_names
from engine.sampling.decode import for_decoding
from engine.tokenizers.table import expected_vocab

VOCAB = 13


def tiny(**changes: object) -> ModelConfig:
    settings: dict[str, object] = {"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": 12, "init": "xavier"}
    return ModelConfig(**{**settings, **changes})


def some_ids(batch: int = 2, length: int = 12, vocab: int = VOCAB) -> torch.Tensor:
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(1))


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    kind = draw(st.sampled_from(["gpt", "gpt", "gpt", "bigram", "single-head", "multi-head", "blocks", "decoder"]))
    rung = kind != "gpt"
    n_head = draw(st.sampled_from([1, 2, 4]))
    return ModelConfig(
        kind=kind,
        n_layer=draw(st.integers(1, 3)),
        n_head=n_head,
        n_kv_head=None if rung else draw(st.sampled_from([None, 1, n_head])),
        n_embd=n_head * draw(st.sampled_from([2, 4, 6])),
        block_size=draw(st.integers(2, 9)),
        bias=draw(st.booleans()),
        position=draw(st.sampled_from(["learned", "sinusoidal", "none"] + ([] if rung else ["rope"]))),
        embd_window=1 if rung else draw(st.sampled_from([1, 1, 2, 4])),
        norm=draw(st.sampled_from(["layernorm", "rmsnorm"])),
        norm_weight=draw(st.booleans()),
        embd_norm=draw(st.booleans()),
        mlp=draw(st.sampled_from(["gelu", "gelu_tanh", "relu", "relu2", "swiglu"])),
        mlp_width=draw(st.sampled_from([None, 10])),
        qk_norm=not rung and draw(st.booleans()),
        tie_embeddings=draw(st.booleans()),
        softcap=draw(st.sampled_from([0.0, 5.0])),
        init=draw(st.sampled_from(["gpt2", "xavier"] + ([] if kind == "multi-head" else ["zero-projection"]))),
        vocab_multiple=draw(st.sampled_from([1, 8])),
    )


@settings(max_examples=60, deadline=None)
@given(configs(), st.integers(2, 20))
def test_parameters_are_counted_without_making_them(config: ModelConfig, vocab: int) -> None:
    model = build_model(config, vocab)
    assert count_parameters(config, vocab) == sum(p.numel() for p in model.parameters())
    assert count_parameters(config, vocab) == sum(n for _, n in parameter_table(config, vocab))
    logits = model(some_ids(1, config.block_size, vocab))
    assert logits.shape == (1, config.block_size, vocab)
    assert logits.isfinite().all()


def test_presets_have_their_published_sizes() -> None:
    def size(preset: str, vocab: int) -> int:
        return count_parameters(load_preset(preset).model, vocab)

    # nanoGPT prints sizes without position embeddings: 0.80M and 10.65M
    assert size("nanogpt-char-cpu", 65) == 804_096 and 804_096 - 64 * 128 == 795_904
    assert size("nanogpt-char", 65) == 10_745_088 and 10_745_088 - 256 * 384 == 10_646_784
    assert size("gpt2", 50_257) == 124_439_808
    assert 9.5e6 < size("small", 65) < 11.5e6
    for name in preset_names():
        config = load_preset(name)
        assert size(name, expected_vocab(config.data)) > 0
        assert config.model.kind == "bigram" or flops_per_token(config.model, expected_vocab(config.data)) > 0


@pytest.mark.parametrize("kind", ["gpt", "bigram", "single-head", "multi-head", "blocks", "decoder"])
def test_building_a_model_leaves_the_global_generator_alone(kind: str) -> None:
    config = tiny(kind=kind, position="learned", init="gpt2")
    before = torch.get_rng_state()
    models = [build_model(config, VOCAB, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)]
    assert torch.equal(before, torch.get_rng_state())
    first, same, other = (torch.cat([p.flatten() for p in model.parameters()]) for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_gpt2_init_shrinks_the_residual_projections() -> None:
    config = ModelConfig(n_layer=8, n_embd=64, bias=True, position="learned", init="gpt2")
    model = GPT(config, 200)
    stds = {name: p.std().item() for name, p in model.named_parameters() if p.ndim == 2}
    for name, std in stds.items():
        assert std == pytest.approx(0.02 / 4 if ".proj." in name else 0.02, rel=0.05), name
    assert all(p.eq(0).all() for name, p in model.named_parameters() if name.endswith("bias"))


def test_zero_projection_starts_as_the_identity_with_even_odds() -> None:
    model = GPT(load_preset("nano").model, 65)
    ids = some_ids(2, 8, 65)
    assert model.loss(ids, ids).item() == pytest.approx(math.log(65), abs=1e-5)
    x, rope = model.embed(ids)
    assert torch.equal(model.blocks[0](x, rope), x)
    wide = model.blocks[0].mlp.fc.weight
    assert wide.std().item() == pytest.approx(wide.size(1) ** -0.5, rel=0.02)


def test_xavier_treats_queries_keys_and_values_apart() -> None:
    model = GPT(tiny(n_embd=64, n_kv_head=1), VOCAB)
    q, k, v = model.blocks[0].attn.qkv.weight.split((64, 16, 16))
    assert q.abs().max().item() == pytest.approx(math.sqrt(6 / 128), rel=0.02)
    assert k.abs().max().item() == pytest.approx(math.sqrt(6 / 80), rel=0.02)
    assert v.abs().max().item() == pytest.approx(math.sqrt(6 / 80), rel=0.02)


@pytest.mark.parametrize("position", ["learned", "rope", "sinusoidal", "none"])
def test_no_position_sees_what_comes_after_it(position: str) -> None:
    model = GPT(tiny(position=position), VOCAB)
    ids = some_ids()
    changed = ids.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % VOCAB
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


@pytest.mark.parametrize("position", ["learned", "rope", "sinusoidal"])
def test_order_matters_when_there_are_positions(position: str) -> None:
    model = GPT(tiny(position=position, n_layer=1), VOCAB)
    swapped = torch.tensor([[2, 1, 3]])
    assert not torch.allclose(model(torch.tensor([[1, 2, 3]]))[:, -1], model(swapped)[:, -1], atol=1e-4)
    blind = GPT(tiny(position="none", n_layer=1), VOCAB)
    torch.testing.assert_close(blind(torch.tensor([[1, 2, 3]]))[:, -1], blind(swapped)[:, -1])


def test_rope_makes_attention_depend_on_distance_only() -> None:
    model = GPT(tiny(position="rope", n_layer=1), VOCAB)
    attn = model.blocks[0].attn
    x = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(2)).expand(1, 12, 16)
    q, k, _ = attn.heads(x, (model.cos, model.sin))
    scores = q @ k.transpose(2, 3)
    for distance in range(12):
        along = scores.diagonal(-distance, dim1=2, dim2=3)
        torch.testing.assert_close(along, along[..., :1].expand_as(along), atol=1e-4, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(configs().filter(lambda c: c.kind == "gpt"), st.data())
def test_the_cache_changes_no_logits(config: ModelConfig, data: st.DataObject) -> None:
    model = build_model(config, VOCAB).eval()
    ids = some_ids(2, config.block_size)
    cache = KVCache(config, 2, config.block_size, torch.zeros(()))
    pieces = []
    with torch.inference_mode():
        while cache.length < config.block_size:
            n = data.draw(st.integers(1, config.block_size - cache.length))
            pieces.append(model(ids[:, cache.length : cache.length + n], cache))
        torch.testing.assert_close(torch.cat(pieces, 1), model(ids), atol=1e-5, rtol=1e-5)
        cache.reset()
        torch.testing.assert_close(model(ids, cache, last=True), model(ids)[:, -1:], atol=1e-5, rtol=1e-5)


def test_an_embedding_is_the_sum_over_its_window() -> None:
    model = build_model(tiny(embd_window=3), VOCAB)
    ids = some_ids(1, 5)[0]
    own, earlier = model.wte.weight, model.before.weight.view(2, VOCAB + 1, -1)  # two back, one back; row 0: nothing
    nothing = torch.tensor([0])
    two_back, one_back = torch.cat((nothing, nothing, ids[:-2] + 1)), torch.cat((nothing, ids[:-1] + 1))
    expected = own[ids] + earlier[0, two_back] + earlier[1, one_back]
    torch.testing.assert_close(model.embed(ids[None])[0][0], expected)


def test_more_tokens_than_the_context_are_refused() -> None:
    config = tiny()
    model = GPT(config, VOCAB)
    with pytest.raises(ValueError, match="13 tokens do not fit a context of 12"):
        model(some_ids(1, 13))
    cache = KVCache(config, 1, 4, torch.zeros(()))
    model(some_ids(1, 4), cache)
    with pytest.raises(ValueError, match="5 tokens do not fit a context of 4"):
        model(some_ids(1, 1), cache)
    assert cache.length == 4


def test_a_padded_vocabulary_is_invisible() -> None:
    config = tiny(vocab_multiple=32, tie_embeddings=False)
    padded, plain = GPT(config, VOCAB), GPT(tiny(tie_embeddings=False), VOCAB)
    assert padded_vocab(config, VOCAB) == 32 == padded.wte.num_embeddings
    state = padded.state_dict()
    state = {k: v[:VOCAB] if k in ("wte.weight", "head.weight") else v for k, v in state.items()}
    plain.load_state_dict(state)
    ids = some_ids()
    torch.testing.assert_close(padded(ids), plain(ids))
    torch.testing.assert_close(padded.loss(ids, ids), plain.loss(ids, ids))
    padded.loss(ids, ids).backward()
    assert padded.head.weight.grad[VOCAB:].eq(0).all()


def test_the_loss_is_the_cross_entropy_of_the_logits() -> None:
    model = GPT(tiny(softcap=3.0), VOCAB)
    ids, targets = some_ids(), some_ids().flip(0)
    logits = model(ids)
    assert logits.abs().max() <= 3.0
    expected = F.cross_entropy(logits.view(-1, VOCAB), targets.view(-1))
    torch.testing.assert_close(model.loss(ids, targets), expected)
    torch.testing.assert_close(
        model.loss_sum(model.hidden(ids).flatten(0, 1), targets.flatten()), expected * targets.numel()
    )
    part = targets.clone()
    part[:, 4:] = -100
    torch.testing.assert_close(
        model.loss(ids, part), F.cross_entropy(logits[:, :4].reshape(-1, VOCAB), part[:, :4].flatten())
    )


def test_dropout_is_for_training_only() -> None:
    model = GPT(tiny(dropout=0.5), VOCAB)
    ids = some_ids()
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_grouped_queries_are_repeated_keys_and_values() -> None:
    grouped, full = GPT(tiny(n_kv_head=2), VOCAB), GPT(tiny(), VOCAB)
    state = grouped.state_dict()
    for name in list(state):
        if name.endswith("qkv.weight"):
            q, k, v = state[name].split((16, 8, 8))
            twice = [part.view(2, 4, 16).repeat_interleave(2, 0).flatten(0, 1) for part in (k, v)]
            state[name] = torch.cat([q, *twice])
    full.load_state_dict(state)
    torch.testing.assert_close(grouped(some_ids()), full(some_ids()), atol=1e-5, rtol=1e-5)


def test_attention_maps_are_what_attention_uses() -> None:
    model = GPT(tiny(n_kv_head=2, qk_norm=True), VOCAB).eval()
    ids = some_ids()
    maps = model.attention_maps(ids)
    assert len(maps) == 2 and maps[0].shape == (2, 4, 12, 12)
    torch.testing.assert_close(maps[1].sum(-1), torch.ones(2, 4, 12))
    assert maps[1].triu(1).eq(0).all()
    x, rope = model.embed(ids)
    attn = model.blocks[0].attn
    normed = model.blocks[0].norm1(x)
    _, _, v = attn.heads(normed, rope)
    mixed = maps[0] @ v.repeat_interleave(2, dim=1)
    torch.testing.assert_close(attn.proj(mixed.transpose(1, 2).flatten(2)), attn(normed, rope), atol=1e-5, rtol=1e-5)


def test_state_holds_weights_only() -> None:
    config = load_preset("nano").model
    names = set(GPT(config, 65).state_dict())
    layer = {f"blocks.{i}.{part}.weight" for i in range(3) for part in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")}
    assert names == layer | {"wte.weight", "before.weight", "head.weight"}


def test_roles_sort_the_parameters_for_the_optimizer() -> None:
    config = tiny(position="learned", tie_embeddings=False, bias=True, embd_window=3)
    found = {name: each.role for name, each in roles(GPT(config, VOCAB)).items()}
    assert {name for name, role in found.items() if role == "embedding"} == {
        "wte.weight",
        "wpe.weight",
        "before.weight",
    }
    assert found["head.weight"] == "head"
    assert {name.split(".")[-2] for name, role in found.items() if role == "matrix"} == {"qkv", "proj", "fc"}
    assert found["blocks.0.norm1.weight"] == found["blocks.1.mlp.fc.bias"] == "vector"


@settings(max_examples=40, deadline=None)
@given(configs())
def test_every_parameter_declares_what_it_is(config: ModelConfig) -> None:
    model = build_model(config, VOCAB)
    declared = roles(model)
    assert declared.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        role, rows, _ = declared[name]
        assert (role == "vector") == (parameter.ndim == 1), name
        assert sum(rows) == (0 if role == "vector" else len(parameter)), name
    if config.kind == "gpt":
        adapted = roles(apply_lora(build_model(config, VOCAB), 1, 1.0))
        assert {name: each for name, each in adapted.items() if each.role != "adapter"} == declared
    assert roles(for_decoding(model)) == declared


def test_a_parameter_that_nobody_declares_is_found_at_once() -> None:
    model = GPT(tiny(), VOCAB)
    model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(KeyError, match="extra"):
        roles(model)


@pytest.mark.parametrize("groups", [4, 2, 1])
def test_rows_of_qkv_are_queries_then_keys_then_values(groups: int) -> None:
    attn = GPT(tiny(n_kv_head=groups), VOCAB).blocks[0].attn
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(4))
    q, k, v = attn.heads(x, None)
    rows = attn.qkv.weight
    first, second = 16, 16 + 4 * groups
    for found, weight, heads in ((q, rows[:first], 4), (k, rows[first:second], groups), (v, rows[second:], groups)):
        expected = (x @ weight.T).view(2, 5, heads, 4).transpose(1, 2)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gpt", "bigram", "single-head", "multi-head", "blocks", "decoder"])
def test_softcap_bends_the_logits_and_nothing_else(kind: str) -> None:
    plain, capped = (build_model(tiny(kind=kind, position="learned", softcap=cap), VOCAB) for cap in (0.0, 0.2))
    raw, bent = plain.eval()(some_ids()), capped.eval()(some_ids())
    assert raw.abs().max() > 0.3, "else there is nothing to bend"
    torch.testing.assert_close(bent, 0.2 * torch.tanh(raw / 0.2))
    ids, targets = some_ids(), some_ids().flip(0)
    torch.testing.assert_close(capped.loss(ids, targets), F.cross_entropy(bent.flatten(0, 1), targets.flatten()))


@pytest.mark.parametrize("kind", ["gpt", "bigram", "blocks", "decoder"])
@pytest.mark.parametrize("tokens", [1, 5, 12, 23, 24, 100])
def test_the_loss_in_parts_is_the_loss(kind: str, tokens: int) -> None:
    model = build_model(tiny(kind=kind, position="learned", softcap=2.0), VOCAB).eval()
    ids, targets = some_ids(), some_ids().flip(0)
    sums = model.loss_sums(ids, targets, tokens)
    torch.testing.assert_close(sum(sums), model.loss_sum(model.hidden(ids).flatten(0, 1), targets.flatten()))
    if tokens >= 24:
        assert len(sums) == 1 and torch.equal(
            sums[0], model.loss_sum(model.hidden(ids).flatten(0, 1), targets.flatten())
        )
    else:
        assert len(sums) == -(-24 // tokens)


@pytest.mark.parametrize(
    "changes", [{}, {"softcap": 15.0, "vocab_multiple": 64}, {"tie_embeddings": False, "embd_window": 2}]
)
@pytest.mark.parametrize("where", ["loss", "blocks"])
def test_what_is_computed_twice_gives_the_same_loss_and_gradients(
    changes: dict[str, Any], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits made piece by piece, and blocks whose activations are not kept."""
    config = ModelConfig(
        n_layer=2, n_head=2, n_embd=16, block_size=12, dropout=0.2 if where == "blocks" else 0, **changes
    )
    model = build_model(config, 11, torch.Generator().manual_seed(3)).train()
    ids = torch.randint(0, 11, (5, 12), generator=torch.Generator().manual_seed(4))
    targets = ids.roll(-1, 1).masked_fill(ids == 3, -100)

    def graded() -> tuple[float, list[torch.Tensor]]:
        torch.manual_seed(5)
        model.zero_grad()
        loss = model.loss(ids, targets)
        loss.backward()
        return float(loss.detach()), [parameter.grad.clone() for parameter in model.parameters()]

    seen: list[int] = []
    plain = model.logits
    monkeypatch.setattr(model, "logits", lambda x: seen.append(len(x)) or plain(x))
    loss, gradients = graded()
    assert seen == [60]
    seen.clear()
    if where == "loss":
        monkeypatch.setattr(sizes, "LOGITS_BYTES", 4 * 11 * 14)
    else:
        model.recompute = True
    again, others = graded()
    assert seen == ([14, 14, 14, 14, 4, 4, 14, 14, 14, 14] if where == "loss" else [60])
    assert again == pytest.approx(loss, rel=1e-6)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
