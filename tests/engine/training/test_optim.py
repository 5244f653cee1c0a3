"""Schedules, AdamW and Muon against their definitions."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.config import ModelConfig, TrainConfig
from engine.errors import CheckpointError
from engine.model import build_model
from engine.model.gpt import roles
from engine.preset_files import load_config
from engine.training import optim
from engine.training.optim import Optimizer, by_name, orthogonalize
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
    if schedule != "constant" and warmup < steps:
        for beyond in (0, 1, 1000):
            assert lr_multiplier(steps + beyond, train) == pytest.approx(min(floor, 1)), "and there it stays"


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
    """Muon's iteration with its coefficients as published (Jordan et al. 2024), five times."""
    a, b, c = 3.4445, -4.7750, 2.0315
    flip = x.shape[0] > x.shape[1]
    x = x.mT if flip else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if flip else x


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 32), (2, 32, 8)])
def test_orthogonalize_is_the_newton_schulz_iteration(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def orthogonal(matrices: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        monkeypatch.setattr(optim, "muon_dtype", lambda device: dtype)
        return orthogonalize(matrices)

    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.stack([textbook_newton_schulz(matrix) for matrix in matrices])
    torch.testing.assert_close(orthogonal(matrices, torch.float64), expected, rtol=1e-8, atol=1e-8)
    single = orthogonal(matrices.float(), torch.float32)
    torch.testing.assert_close(single, expected.float(), rtol=1e-3, atol=1e-3)
    half = orthogonal(matrices.float(), torch.bfloat16)
    torch.testing.assert_close(half, expected.float(), rtol=0.1, atol=0.1)
    values = torch.linalg.svdvals(single)
    assert float(values.min()) > 0.3 and float(values.max()) < 1.3


def gradients(model: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        grad = torch.randn(parameter.shape, generator=generator) * 0.1
        parameter.grad = grad if parameter.grad is None else parameter.grad.copy_(grad)


def test_adamw_is_torchs_adamw() -> None:
    train = TrainConfig(weight_decay=0.1, learning_rate=1e-2)
    ours = build_model(SMALL, 11)
    theirs = copy.deepcopy(ours)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(train.beta1, train.beta2), fused=False)
    optimizer = Optimizer(ours, train)
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
    optimizer = Optimizer(model, train)
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


class TextbookMuon:
    """Muon on one matrix in float64 (Jordan et al. 2024): momentum 0.95 as a running mean, Nesterov, weight decay."""

    def __init__(self, weight: torch.Tensor, lr: float, weight_decay: float) -> None:
        self.weight, self.lr, self.weight_decay = weight.detach().double().clone(), lr, weight_decay
        self.momentum = torch.zeros_like(self.weight)

    def step(self, grad: torch.Tensor, multiplier: float) -> None:
        grad, lr = grad.double(), self.lr * multiplier
        self.momentum = 0.95 * self.momentum + 0.05 * grad
        direction = textbook_newton_schulz(0.95 * self.momentum + 0.05 * grad)
        rows, columns = self.weight.shape
        self.weight *= 1 - lr * self.weight_decay
        self.weight -= lr * max(1, rows / columns) ** 0.5 * direction


MUONS = {
    "square": {},
    "grouped": {"n_kv_head": 1},
    "as wide as qkv": {"mlp_width": 48},  # the shape of queries, keys and values together
    "grouped, as wide": {"n_kv_head": 1, "mlp_width": 32},
    "gated": {"mlp": "swiglu"},
    "gated, as wide": {"mlp": "swiglu", "mlp_width": 24},
    "decoder": {"kind": "decoder", "position": "learned"},
    "heads": {"kind": "blocks", "position": "learned"},
}


def matrices(name: str, tensor: torch.Tensor, config: ModelConfig) -> tuple[torch.Tensor, ...]:
    """The matrices that are one in the model's equations: queries, keys, values; gate and value."""
    kv = (config.n_kv_head or config.n_head) * (config.n_embd // config.n_head)
    if name.endswith(("attn.qkv.weight", "attn.in_proj_weight")):
        return tensor.split((config.n_embd, kv, kv))
    if name.endswith("mlp.fc.weight") and config.mlp == "swiglu":
        return tensor.chunk(2)
    return (tensor,)


@pytest.mark.parametrize("kind", MUONS)
def test_muon_is_the_textbooks_on_every_matrix_by_itself(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps; what the model declares as a matrix is one, whatever shapes fall together."""
    monkeypatch.setattr(optim, "muon_dtype", lambda device: torch.float32)
    config = ModelConfig(**{**SMALL.model_dump(), **MUONS[kind]})
    train = TrainConfig(optimizer="muon", weight_decay=0.3, muon_learning_rate=0.05)
    model = build_model(config, 11, torch.Generator().manual_seed(1))
    declared = roles(model)
    books = {
        name: [TextbookMuon(part, 0.05, 0.3) for part in matrices(name, parameter.detach(), config)]
        for name, parameter in model.named_parameters()
        if declared[name].role == "matrix"
    }
    assert books
    optimizer = Optimizer(model, train)
    for number, multiplier in enumerate((0.5, 1.0, 0.7, 0.2)):
        gradients(model, number)
        for name, parameter in model.named_parameters():
            for book, grad in zip(books.get(name, ()), matrices(name, parameter.grad, config), strict=False):
                book.step(grad, multiplier)
        optimizer.step(multiplier)
    for name, parameter in model.named_parameters():
        if name in books:
            for number, (book, part) in enumerate(zip(books[name], matrices(name, parameter, config), strict=True)):
                torch.testing.assert_close(
                    part.detach().double(), book.weight, rtol=1e-3, atol=1e-4, msg=f"{name}, matrix {number}"
                )


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_state_of_the_first_format_is_taken_by_its_place(kind: str) -> None:
    """In one row by role, then shape, then name; momenta were cut as the program of then saw matrices."""
    config = SMALL.model_copy(update={"n_kv_head": 1, "mlp_width": 48, "norm_weight": True})
    train, model = TrainConfig(optimizer=kind), build_model(config, 11)
    optimizer = Optimizer(model, train)
    for seed in (1, 2):
        gradients(model, seed)
        optimizer.step(1.0)
    new = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    named = dict(model.named_parameters())
    order = ("matrix", "embedding", "head", "vector")
    of = {role: [n for n in named if roles(model)[n].role == role] for role in order}
    old = {"scaler.scale": torch.tensor(4.0)}
    for role, names in of.items():
        names.sort(key=lambda name: (tuple(named[name].shape), name))
        if role == "matrix" and kind == "muon":
            row = torch.cat([new[f"muon.momentum.{name}"].flatten() for name in names])
            for start, end in ((0, 1000), (1000, 1024), (1024, len(row))):
                old[f"muon.1x{end - start}@{start}"] = row[start:end].view(1, -1)
        elif names:
            for each in ("exp_avg", "exp_avg_sq"):
                row = torch.cat([new[f"adamw.{each}.{name}"].flatten() for name in names])
                old[f"adamw.{role}.{each}"] = row
            old[f"adamw.{role}.step"] = torch.tensor(2.0)
    found = by_name(old, model)
    assert found.keys() == new.keys() | {"scaler.scale"}
    assert all(torch.equal(found[name], tensor) for name, tensor in new.items())
    wrong = [{name: each for name, each in old.items() if not name.endswith("@1000")}] if kind == "muon" else []
    wrong.append(old | {"adamw.embedding.exp_avg": torch.zeros(5)})
    for each in wrong:
        with pytest.raises(CheckpointError, match="the optimizer's state in the checkpoint"):
            by_name(each, model)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_each_role_has_its_own_learning_rate(optimizer: str) -> None:
    """Adam's first step is the learning rate itself, whatever the gradient."""
    scales = {"embd_lr_scale": 3.0, "head_lr_scale": 7.0}
    train = TrainConfig(optimizer=optimizer, weight_decay=0.0, learning_rate=1e-3, **scales)
    config = SMALL.model_copy(update={"tie_embeddings": False, "position": "learned", "bias": True, "embd_window": 2})
    model = build_model(config, 11)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    step = Optimizer(model, train)
    gradients(model, 0)
    step.step(0.5)
    expected = {"embedding": 3.0, "head": 7.0, "vector": 1.0, "matrix": 1.0}
    seen = set()
    for name, parameter in model.named_parameters():
        role = roles(model)[name].role
        if role == "matrix" and optimizer == "muon":
            continue
        seen.add(role)
        change = (parameter.detach() - before[name]).abs()
        torch.testing.assert_close(change, torch.full_like(change, 0.5e-3 * expected[role]), rtol=1e-3, atol=1e-7)
    assert seen == expected.keys() - ({"matrix"} if optimizer == "muon" else set())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_average_starts_warm_and_moves_with_every_update(optimizer: str) -> None:
    """It soon forgets how the weights were drawn: decay 1/10, 2/11, 3/12, … until it is the run's own."""
    model = build_model(SMALL, 11)
    step = Optimizer(model, TrainConfig(optimizer=optimizer, ema=0.35))
    expected = {name: each.detach().double() for name, each in model.named_parameters()}
    for number in range(1, 9):
        gradients(model, number)
        step.step(1.0)
        decay = min(0.35, number / (number + 9))
        for name, parameter in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach().double()
            torch.testing.assert_close(step.averaged[name].double(), expected[name], rtol=1e-5, atol=1e-6)


def test_the_average_takes_the_models_place_and_gives_it_back() -> None:
    model = build_model(SMALL, 11)
    step = Optimizer(model, TrainConfig(ema=0.9))
    for tensor in step.averaged.values():
        tensor.normal_()
    own = {name: each.detach().clone() for name, each in model.named_parameters()}
    averaged = {name: each.clone() for name, each in step.averaged.items()}

    def is_now(named: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(each, named[name]) for name, each in model.named_parameters())

    with pytest.raises(ValueError, match="in the midst"), step.averaged_weights():
        assert is_now(averaged)
        assert all(torch.equal(each, averaged[name]) for name, each in step.weights().items())
        raise ValueError("in the midst")
    assert is_now(own)
    assert all(torch.equal(each, averaged[name]) for name, each in step.weights().items())
    plain = Optimizer(model, TrainConfig())
    with plain.averaged_weights():
        assert all(torch.equal(each, own[name]) for name, each in plain.weights().items())


def test_state_goes_out_and_comes_back() -> None:
    train = TrainConfig(optimizer="muon")
    one, two = build_model(SMALL, 11), build_model(SMALL, 11)
    first, second = Optimizer(one, train), Optimizer(two, train)
    gradients(one, 0)
    first.step(1.0)
    two.load_state_dict(one.state_dict())
    state = {name: tensor.clone() for name, tensor in first.tensors().items()}
    assert second.fits(state)
    for name, tensor in second.tensors().items():
        tensor.copy_(state[name])
    for optimizer, model in ((first, one), (second, two)):
        gradients(model, 1)
        optimizer.step(0.5)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(CheckpointError, match=r"train\.optimizer muon"):
        wider = build_model(SMALL.model_copy(update={"n_embd": 32}), 11)
        Optimizer(wider, train).fits(first.tensors())
