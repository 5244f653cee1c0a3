from __future__ import annotations

import pytest
import torch

from engine.config import ModelConfig
from engine.errors import ConfigError
from engine.model import build_model
from engine.model.gpt import GPT, roles
from engine.model.lora import adapted_layers, apply_lora, merge_lora, merged_state_dict

VOCAB = 11


def small_model(bias: bool = False) -> GPT:
    return GPT(ModelConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, bias=bias, init="xavier"), VOCAB)


def some_ids() -> torch.Tensor:
    return torch.randint(VOCAB, (3, 8), generator=torch.Generator().manual_seed(1))


def adapters(model: GPT) -> dict[str, torch.Tensor]:
    """The detours' weights alone, by their names in the model: blocks.N.PART.NAME.lora_a and .lora_b."""
    declared = roles(model)
    return {name: tensor for name, tensor in model.state_dict().items() if declared[name].role == "adapter"}


def trained(model: GPT, steps: int = 5) -> GPT:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        model.loss(some_ids(), some_ids()).backward()
        optimizer.step()
    return model


def test_an_adapter_changes_nothing_until_it_learns_and_then_only_itself() -> None:
    model = small_model(bias=True)
    before, logits = {k: v.clone() for k, v in model.state_dict().items()}, model(some_ids())
    apply_lora(model, 4, 16.0)
    assert torch.equal(model(some_ids()), logits)
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning == set(adapters(model)) and all(".lora_" in name for name in learning)
    trained(model)
    assert not torch.allclose(model(some_ids()), logits, atol=1e-3)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("bias", [True, False])
def test_merging_changes_no_logits(bias: bool) -> None:
    model = trained(apply_lora(small_model(bias), 4, 6.0))
    logits = model(some_ids())
    plain = small_model(bias)
    plain.load_state_dict(merged_state_dict(model))
    torch.testing.assert_close(plain(some_ids()), logits, atol=1e-5, rtol=1e-5)
    assert any(adapted_layers(model))
    merge_lora(model)
    torch.testing.assert_close(model(some_ids()), logits, atol=1e-5, rtol=1e-5)
    assert set(model.state_dict()) == set(plain.state_dict())
    assert all(p.requires_grad for p in model.parameters())


def test_adapter_weights_are_drawn_from_the_given_generator_only() -> None:
    before = torch.get_rng_state()
    first, same, other = (
        adapters(apply_lora(small_model(), 8, 16.0, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
    )
    assert torch.equal(before, torch.get_rng_state())
    name = "blocks.1.mlp.fc.lora_a"
    assert torch.equal(first[name], same[name]) and not torch.equal(first[name], other[name])
    assert all(tensor.eq(0).all() for key, tensor in first.items() if key.endswith("lora_b"))


def test_every_matrix_of_a_block_has_one_of_that_rank() -> None:
    model = apply_lora(small_model(), 3, 16.0)
    names = {f"blocks.{i}.{target}" for i in (0, 1) for target in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")}
    assert {name for name, _ in adapted_layers(model)} == names
    state = adapters(model)
    assert state["blocks.0.attn.qkv.lora_a"].shape == (3, 16)
    assert state["blocks.0.attn.qkv.lora_b"].shape == (48, 3)


def test_a_rung_of_the_ladder_takes_none() -> None:
    rung = build_model(ModelConfig(kind="blocks", n_head=2, n_embd=8, position="none"), VOCAB)
    with pytest.raises(ConfigError, match="kind gpt"):
        apply_lora(rung, 8, 16.0)
