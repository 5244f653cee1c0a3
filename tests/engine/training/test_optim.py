"""Schedules, AdamW and Muon against their definitions."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.config import ModelConfig, TrainConfig, load_config
from engine.errors import CheckpointError
from engine.model import build_model
from engine.training.flat import FlatParameters
from engine.training.optim import NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, Optimizer, orthogonalize
from engine.training.schedule import lr_multiplier

SMALL = ModelConfig(n_layer=2, n_head=2, n_embd=16, block_size=8)


@given(
    schedule=st.sampled_from(["cosine", "wsd", "linear", "constant"]),
    warmup=st.integers(0, 50),
    steps=st.integers(1, 200),
    floor=st.floats(0, 1),
)
def test_multiplier_stays_between_floor_and_peak(schedule: str, warmup: int, steps: int, floor: float) -> None:
    train = TrainConfig(
        schedule=schedule, warmup_steps=warmup, max_steps=steps, learning_rate=1e-3, min_learning_rate=1e-3 * floor
    )
    values = [lr_multiplier(step, train) for step in range(steps)]
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    assert all(b >= a for a, b in pairwise(values[:warmup]))
    after = values[warmup:]
    assert all(b <= a + 1e-12 for a, b in pairwise(after))
    assert all(value >= min(floor, 1) - 1e-9 for value in after)


def test_cosine_is_nanogpts() -> None:
    train = load_config("nanogpt-char-cpu").train
    for step in (0, 50, 99, 100, 1000, 1999):
        if step < 100:
            expected = 1e-3 * (step + 1) / 101
        else:
            ratio = (step - 100) / (2000 - 100)
            expected = 1e-4 + 0.5 * (1 + math.cos(math.pi * ratio)) * (1e-3 - 1e-4)
        assert 1e-3 * lr_multiplier(step, train) == pytest.approx(expected, rel=1e-9)


def textbook_newton_schulz(x: torch.Tensor) -> torch.Tensor:
    a, b, c = NEWTON_SCHULZ
    flip = x.shape[0] > x.shape[1]
    x = x.mT if flip else x
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if flip else x


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 32), (2, 32, 8)])
def test_orthogonalize_is_the_newton_schulz_iteration(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.stack([textbook_newton_schulz(matrix) for matrix in matrices])
    torch.testing.assert_close(orthogonalize(matrices, torch.float64), expected, rtol=1e-8, atol=1e-8)
    single = orthogonalize(matrices.float(), torch.float32)
    torch.testing.assert_close(single, expected.float(), rtol=1e-3, atol=1e-3)
    half = orthogonalize(matrices.float(), torch.bfloat16)
    torch.testing.assert_close(half, expected.float(), rtol=0.1, atol=0.1)
    values = torch.linalg.svdvals(single)
    assert float(values.min()) > 0.3 and float(values.max()) < 1.3


def gradients(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        grad = torch.randn(parameter.shape, generator=generator) * 0.1
        parameter.grad = grad if parameter.grad is None else parameter.grad.copy_(grad)


def test_flat_adamw_is_torchs_adamw() -> None:
    train = TrainConfig(weight_decay=0.1, learning_rate=1e-2)
    ours = build_model(SMALL, 11)
    theirs = copy.deepcopy(ours)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(train.beta1, train.beta2), fused=False)
    optimizer = Optimizer(FlatParameters(ours), train)
    for step in range(5):
        gradients(ours, step)
        gradients(theirs, step)
        optimizer.step(1.0)
        reference.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    train = TrainConfig(optimizer="muon", weight_decay=0.0, muon_learning_rate=0.02, learning_rate=1e-2)
    model = build_model(SMALL, 11)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = Optimizer(FlatParameters(model), train)
    gradients(model, 0)
    optimizer.step(1.0)
    for name, parameter in model.named_parameters():
        change = parameter.detach() - before[name]
        if ".attn.proj" in name or ".mlp.fc" in name:
            expected = textbook_newton_schulz(parameter.grad.double()).float()
            scale = 0.02 * max(1.0, change.shape[0] / change.shape[1]) ** 0.5
            torch.testing.assert_close(change, -scale * expected, rtol=0.1, atol=0.1 * scale)
        elif name.startswith("wte"):
            assert float(change.abs().max()) == pytest.approx(1e-2, rel=1e-3)  # Adam's first step


def test_every_parameter_and_gradient_is_a_view_of_the_buffers() -> None:
    model = build_model(SMALL, 11)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    flat = FlatParameters(model)
    assert flat.flat.numel() == flat.grad.numel() == sum(value.numel() for value in before.values())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name])
    flat.flat.zero_()
    assert all(float(parameter.detach().abs().sum()) == 0 for parameter in model.parameters())
    model.loss(torch.zeros(1, 4, dtype=torch.long), torch.ones(1, 4, dtype=torch.long)).backward()
    assert all(parameter.grad.data_ptr() >= flat.grad.data_ptr() for parameter in model.parameters())


def test_state_goes_out_and_comes_back() -> None:
    train = TrainConfig(optimizer="muon")
    one, two = build_model(SMALL, 11), build_model(SMALL, 11)
    first, second = Optimizer(FlatParameters(one), train), Optimizer(FlatParameters(two), train)
    gradients(one, 0)
    first.step(1.0)
    two.load_state_dict(one.state_dict())
    second.load({name: tensor.clone() for name, tensor in first.tensors().items()})
    for optimizer, model in ((first, one), (second, two)):
        gradients(model, 1)
        optimizer.step(0.5)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(CheckpointError, match=r"train\.optimizer muon"):
        wider = build_model(SMALL.model_copy(update={"n_embd": 32}), 11)
        Optimizer(FlatParameters(wider), train).load(first.tensors())
