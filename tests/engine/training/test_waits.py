"""How often the host waits for the device, and that nothing mixes the two: on a device that only has shapes ("meta").

What waits on a GPU must be answered there: a number read from a tensor, an index on the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.model import build_for
from engine.sampling.beam import beam_search
from engine.sampling.generate import generate, generate_many
from engine.sampling.settings import SamplingSettings
from engine.training import evaluate as evaluation
from engine.training.batches import Batches
from engine.training.evaluate import Portion, evaluate
from engine.training.optim import Optimizer
from engine.training.step import TrainStep

from .conftest import tiny_config
from .told import tokens

DEVICE = torch.device("meta")
READ = {"aten::_local_scalar_dense", "aten::item"}
MOVED = {"aten::_to_copy", "aten::to", "aten::copy_"}


class Device(TorchDispatchMode):
    """Counts the times that a number is read from the device; refuses work that mixes it with the host's tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.name().partition(".")[0], kwargs or {}
        given = [each for part in args for each in (part if isinstance(part, list | tuple) else (part,))]
        if name in READ and args[0].device == DEVICE:
            self.waits += 1
            return 1.0 if args[0].is_floating_point() else 1
        kinds = {each.device.type for each in given if isinstance(each, Tensor) and each.dim()}
        assert len(kinds) < 2 or name in MOVED, f"{name} mixes {kinds}"
        assert DEVICE.type not in kinds or name != "aten::to" or kwargs.get("device", DEVICE) == DEVICE, "read back"
        return func(*args, **kwargs)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The numbers of one `tolist` are one wait."""
    plain = Tensor.tolist

    def tolist(self: Tensor) -> Any:
        if self.device != DEVICE:
            return plain(self)
        found.waits += 1
        return torch.ones(self.shape, dtype=self.dtype).tolist()

    monkeypatch.setattr(Tensor, "tolist", tolist)
    monkeypatch.setattr("torch.nn.utils.clip_grad._device_has_foreach_support", lambda device: True)
    with Device() as found:
        yield found


def step_of(*sets: str) -> TrainStep:
    config = tiny_config("train.ema=0.9", "model.n_layer=1", *sets)
    model = build_for(config, tokens().tokenizer.vocab_size, drawn=False).to(DEVICE).train()
    return TrainStep(model, Optimizer(model, config.train), Batches(tokens(), config, DEVICE), config)


KINDS = [
    (),
    ("train.optimizer=adamw", "train.grad_accum=2", "train.grad_clip=0"),
    ("model.dropout=0.1", "train.recompute=true", "model.n_kv_head=1"),
    ("train.lora_r=2", "model.position=sinusoidal", "model.embd_window=1"),
    ("model.kind=blocks", "model.position=learned", "model.embd_window=1"),
]


@pytest.mark.parametrize("sets", KINDS)
def test_a_step_waits_for_the_device_once(device: Device, sets: tuple[str, ...]) -> None:
    """For its loss and the norm of its gradient, before the update."""
    take_step = step_of(*sets)
    for number in range(2):
        assert take_step(number, 1.0) == (1.0, 1.0, False)
        assert device.waits == number + 1
    with take_step.optimizer.averaged_weights():
        assert device.waits == 2


def test_an_evaluation_waits_once_for_many_sums(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Portion, "fitting", lambda *_: Portion(2, 16))
    monkeypatch.setattr(evaluation, "QUEUED", 6)
    found = evaluate(step_of().model, tokens(), 16, DEVICE, most=224)  # 7 batches of 2 windows, a window at a time
    assert found.tokens == 224 and device.waits == -(-7 // 3)


@pytest.mark.parametrize(
    "rules", [{}, {"temperature": 0.0}, {"top_k": 3, "top_p": 0.5, "min_p": 0.1, "repetition_penalty": 1.2}]
)
def test_a_token_is_waited_for_once(device: Device, rules: dict[str, Any]) -> None:
    settings = SamplingSettings(max_tokens=18, seed=1, **rules)
    model, tokenizer = step_of().model.eval(), tokens().tokenizer
    (*pieces, _) = generate(model, tokenizer, [1], settings)
    assert len(pieces) == 18 > model.config.block_size and device.waits == 18
    generate_many(model, tokenizer, [1], SamplingSettings(max_tokens=2, seed=1, **rules), 2)
    assert device.waits == 20


def test_beams_are_waited_for_twice_a_token(device: Device) -> None:
    beam_search(step_of().model.eval(), tokens().tokenizer, [1], SamplingSettings(max_tokens=6), 2)
    assert device.waits == 2 * 6
