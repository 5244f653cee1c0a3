"""The step as it is on a GPU, run on the CPU: the host launches it and looks at nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from engine.config import Config
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training.batches import HostBatches, ResidentBatches, make_batches
from engine.training.precision import SCALE_START
from engine.training.step import TrainStep, make_step

from .conftest import tiny_config

CPU = torch.device("cpu")
LOOKS = {"tolist", "item", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "__array__"}
WAITS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "equal", "masked_select", "_unique2", "allclose"}


class HostWaits(Exception):
    """The host asked for a value that the device has yet to compute."""


class _NoDispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAITS:
            raise HostWaits(str(func))
        return func(*args, **(kwargs or {}))


class _NoMethods(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in LOOKS:
            raise HostWaits(func.__name__)
        return func(*args, **(kwargs or {}))


@contextmanager
def nobody_waits() -> Iterator[None]:
    with _NoMethods(), _NoDispatch():
        yield


@pytest.fixture
def dataset(corpus: Path) -> TokenDataset:
    return TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)


def launched(config: Config, dataset: TokenDataset) -> TrainStep:
    """A step that treats the CPU as a device of its own, corpus resident."""
    step = make_step(config, dataset, CPU)
    step.host_sees = False
    step.batches = ResidentBatches(dataset, config, CPU)
    return step


SETTINGS = [
    ("train.optimizer=adamw",),
    ("train.optimizer=muon", "train.grad_accum=2"),
    ("train.precision=bf16", "model.dropout=0.1"),
    ("train.precision=fp16",),
    ("train.ema=0.9", "model.n_kv_head=1"),
]


@pytest.mark.parametrize("sets", SETTINGS)
def test_a_step_never_makes_the_host_wait(dataset: TokenDataset, sets: tuple[str, ...]) -> None:
    step = launched(tiny_config(*sets), dataset)
    step(0, 1.0)
    with nobody_waits():
        results = [step(number, 1.0) for number in range(1, 4)]
    assert torch.stack(results).isfinite().all()


@pytest.mark.parametrize(
    "look",
    [
        lambda t: float(t),
        lambda t: t.item(),
        lambda t: bool(t > 0),
        lambda t: t.tolist(),
        lambda t: t.cpu(),
        lambda t: t if t > 0 else None,
        lambda t: t[t > 0],
        lambda t: torch.equal(t, t),
    ],
)
def test_looking_is_noticed(dataset: TokenDataset, look: Callable[[torch.Tensor], object]) -> None:
    step = launched(tiny_config(), dataset)
    function = step.loss_function
    step.loss_function = lambda x, y: (loss := function(x, y), look(loss.detach()))[0]
    with nobody_waits(), pytest.raises(HostWaits):
        step(0, 1.0)


def test_the_synchronous_step_is_noticed(dataset: TokenDataset) -> None:
    step = launched(tiny_config(), dataset)
    step.host_sees = True
    with nobody_waits(), pytest.raises(HostWaits):
        step(0, 1.0)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_it_computes_what_the_synchronous_step_computes(dataset: TokenDataset, optimizer: str) -> None:
    rates = ("learning_rate=0.015625", "muon_learning_rate=0.03125", "embd_lr_scale=8")  # powers of two: no rounding
    config = tiny_config(f"train.optimizer={optimizer}", "train.grad_accum=2", *(f"train.{rate}" for rate in rates))
    seeing, blind = make_step(config, dataset, CPU), launched(config, dataset)
    for number in range(6):
        torch.testing.assert_close(blind(number, 1.0), seeing(number, 1.0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(blind.parameters.flat, seeing.parameters.flat, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("room", [0, 8, 1 << 20])
def test_a_corpus_lives_on_a_gpu_that_has_room_for_it(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    memory = SimpleNamespace(total_memory=room * dataset.train.nbytes)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    monkeypatch.setattr(ResidentBatches, "__init__", HostBatches.__init__)  # there is no device to put it on
    kind = type(make_batches(dataset, tiny_config(), torch.device("cuda", 0)))
    assert kind is (ResidentBatches if room else HostBatches)
    assert type(make_batches(dataset, tiny_config(), CPU)) is HostBatches


@pytest.mark.parametrize("sets", [("train.optimizer=adamw",), ("train.optimizer=muon",), ("train.precision=bf16",)])
@pytest.mark.parametrize("host_sees", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_step_and_those_after_it_change_nothing(
    dataset: TokenDataset, sets: tuple[str, ...], host_sees: bool, bad: float
) -> None:
    """Neither weights nor their average, which stood still for none of them."""
    step = launched(tiny_config(*sets, "train.ema=0.5"), dataset)
    step.host_sees = host_sees
    step(0, 1.0)
    flat, averaged = step.parameters.flat.clone(), step.optimizer.averaged.clone()
    state = {name: tensor.clone() for name, tensor in step.optimizer.tensors().items()}
    good = step.loss_function
    step.loss_function = lambda x, y: good(x, y) * bad
    step(1, 1.0)
    step.loss_function = good
    step(2, 1.0)
    assert int(step.bad_step) == 1
    assert torch.equal(step.parameters.flat, flat) and torch.equal(step.optimizer.averaged, averaged)
    assert not torch.equal(flat, averaged)
    assert all(torch.equal(tensor, state[name]) for name, tensor in step.optimizer.tensors().items())


def test_an_overflow_in_fp16_skips_a_step_and_halves_the_scale(dataset: TokenDataset) -> None:
    step = launched(tiny_config("train.precision=fp16", "train.ema=0.5"), dataset)
    good = step.loss_function
    step.loss_function = lambda x, y: good(x, y) * float("inf")
    before = step.parameters.flat.clone()
    step.optimizer.averaged.add_(1.0)
    averaged = step.optimizer.averaged.clone()
    step(0, 1.0)
    assert float(step.scaler.scale) == SCALE_START / 2 and torch.equal(step.parameters.flat, before)
    assert torch.equal(step.optimizer.averaged, averaged), "a step that is skipped is none"
    step.loss_function = good
    loss, norm = step(1, 1.0).tolist()
    assert int(step.bad_step) == -1 and not torch.equal(step.parameters.flat, before)
    other = launched(tiny_config(), dataset)
    assert (loss, norm) == pytest.approx(other(1, 1.0).tolist(), rel=0.05)  # clipped and reported without the scale


def test_what_no_loss_scale_helps_stops_training_in_fp16_too(dataset: TokenDataset) -> None:
    step = launched(tiny_config("train.precision=fp16"), dataset)
    good, before = step.loss_function, step.parameters.flat.clone()
    step.loss_function = lambda x, y: good(x, y) * float("nan")
    for number in range(20):
        step(number, 1.0)
    assert int(step.bad_step) == 16  # from 65536 down to below 1
    assert torch.equal(step.parameters.flat, before)


@pytest.mark.parametrize(("dtype", "top"), [("uint16", 65_535), ("uint32", 200_000)])
def test_large_ids_survive_on_the_device(dataset: TokenDataset, dtype: str, top: int) -> None:
    ids = np.linspace(0, top, 4000).astype(dtype)
    large, config = replace(dataset, train=ids), tiny_config("train.batch_size=64")
    host, resident = HostBatches(large, config, CPU), ResidentBatches(large, config, CPU)
    assert resident.ids.element_size() == ids.itemsize
    seen = 0
    for number in range(3):
        for a, b in zip(host.get(number, 0), resident.get(number, 0), strict=True):
            assert torch.equal(a, b) and b.dtype == torch.int64
            seen = max(seen, int(b.max()))
    assert seen > 0.9 * top
