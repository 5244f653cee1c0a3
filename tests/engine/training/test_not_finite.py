"""Steps whose loss or gradient is not finite, loss scales, and where batches lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training.batches import Batches
from engine.training.device import SCALE_GROWTH_STEPS, SCALE_START, LossScaler
from engine.training.step import make_step

from .conftest import flat, tiny_config

CPU = torch.device("cpu")


@pytest.fixture
def dataset(corpus: Path) -> TokenDataset:
    return TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)


@pytest.mark.parametrize("sets", [("train.optimizer=adamw",), ("train.optimizer=muon",), ("train.precision=bf16",)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_step_changes_nothing(dataset: TokenDataset, sets: tuple[str, ...], bad: float) -> None:
    """Neither weights nor their average nor the optimizer's state."""
    step = make_step(tiny_config(*sets, "train.ema=0.5"), dataset, CPU)
    assert not step(0, 1.0).bad and not step(1, 1.0).bad
    weights, averaged = flat(step.model), torch.cat([each.flatten() for each in step.optimizer.averaged.values()])
    state = {name: tensor.clone() for name, tensor in step.optimizer.tensors().items()}
    good = step.loss_function
    step.loss_function = lambda x, y: good(x, y) * bad
    assert step(2, 1.0).bad
    assert torch.equal(flat(step.model), weights) and not torch.equal(weights, averaged)
    assert torch.equal(torch.cat([each.flatten() for each in step.optimizer.averaged.values()]), averaged)
    assert all(torch.equal(tensor, state[name]) for name, tensor in step.optimizer.tensors().items())


def test_an_overflow_in_fp16_skips_a_step_and_halves_the_scale(dataset: TokenDataset) -> None:
    step = make_step(tiny_config("train.precision=fp16", "train.ema=0.5"), dataset, CPU)
    good = step.loss_function
    step.loss_function = lambda x, y: good(x, y) * float("inf")
    before, averaged = flat(step.model), {k: v.clone() for k, v in step.optimizer.averaged.items()}
    assert not step(0, 1.0).bad
    assert step.scaler.scale == SCALE_START / 2 and torch.equal(flat(step.model), before)
    assert all(torch.equal(averaged[k], v) for k, v in step.optimizer.averaged.items()), "a step skipped is none"
    step.loss_function = good
    loss, norm, bad = step(1, 1.0)
    assert not bad and not torch.equal(flat(step.model), before)
    other = make_step(tiny_config(), dataset, CPU)
    assert (loss, norm) == pytest.approx(other(1, 1.0)[:2], rel=0.05)  # clipped and reported without the scale


def test_what_no_loss_scale_helps_is_bad_in_fp16_too(dataset: TokenDataset) -> None:
    step = make_step(tiny_config("train.precision=fp16"), dataset, CPU)
    good, before = step.loss_function, flat(step.model)
    step.loss_function = lambda x, y: good(x, y) * float("nan")
    assert [step(number, 1.0).bad for number in range(20)].index(True) == 16  # from 65536 down to below 1
    assert torch.equal(flat(step.model), before)


def test_a_scale_doubles_after_so_many_good_steps_in_a_row() -> None:
    scaler = LossScaler(True)
    for _ in range(SCALE_GROWTH_STEPS - 1):
        scaler.update(True)
    scaler.update(False)
    assert (scaler.scale, scaler.good) == (SCALE_START / 2, 0)
    for _ in range(SCALE_GROWTH_STEPS):
        scaler.update(True)
    assert (scaler.scale, scaler.good) == (SCALE_START, 0)
    other = LossScaler(True)
    other.load(scaler.tensors())
    assert (other.scale, other.good) == (scaler.scale, scaler.good)


@pytest.mark.parametrize(("dtype", "top"), [("uint16", 65_535), ("uint32", 200_000)])
def test_large_ids_survive_on_the_device(dataset: TokenDataset, dtype: str, top: int) -> None:
    ids = np.linspace(0, top, 4000).astype(dtype)
    large, config = replace(dataset, train=ids), tiny_config("train.batch_size=64")
    batches, seen = Batches(large, config, CPU), 0
    for number in range(3):
        x, y = batches.get(number, 0)
        starts = batches.offsets(number, 0)
        for given, after in ((x, 0), (y, 1)):
            places = starts[:, None] + np.arange(x.size(1)) + after
            assert given.dtype == torch.int64 and np.array_equal(given.numpy(), ids[places])
        seen = max(seen, int(y.max()))
    assert seen > 0.9 * top
