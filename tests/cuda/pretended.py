"""Steps on GPUs that are not there: shapes, types and devices as on "cuda", by PyTorch's fake tensors.

    python -m tests.cuda.pretended FOLDER     # where what it needs of C++ is made, by g++

Of every kind of step, alone and as the first of four ranks that have parts of the model, nothing may mix the host's
tensors with the device's, and the device may be waited for once. The backward pass, for which PyTorch wants a device's
threads, is left out; what it would be waited for with is not.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed import device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from engine.training import crew as crews
from engine.training.crew import Crew
from engine.training.ranks import Ranks

from ..engine.training.conftest import tiny_config
from ..engine.training.told import tokens

GPU = torch.device("cuda", 0)
RANKS = 4
KINDS = (
    (),
    ("train.precision=bf16", "model.bias=true", "model.norm=layernorm", "model.position=sinusoidal"),
    ("train.precision=fp16", "model.dropout=0.1", "train.ema=0.9"),
    ("train.recompute=true", "train.grad_accum=2", "model.n_kv_head=1"),
    ("train.optimizer=adamw", "train.grad_clip=0"),
    ("model.kind=blocks", "model.position=learned", "model.embd_window=1"),
)
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace c10::impl {
struct Guard final : NoOpDeviceGuardImpl<DeviceType::CUDA> {};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)
}
"""


class Waits(TorchDispatchMode):
    """Counts the times that the host waits for the device, and answers each number asked for with 1."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.name(), kwargs or {}
        if name == "aten::_local_scalar_dense":
            self.count += args[0].device == GPU
            return 1.0 if args[0].is_floating_point() else 1
        if name == "aten::_pin_memory":
            return args[0].clone()  # what is copied from there waits for nothing
        if name == "aten::_to_copy" and kwargs.get("device", args[0].device) != args[0].device:
            self.count += not kwargs.get("non_blocking")
        if name == "aten::copy_" and args[0].device != args[1].device:
            self.count += 1
        return func(*args, **kwargs)


class Event:
    """Stands for a stream, or a moment of one."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_, **__: 1.0 if name == "elapsed_time" else self


def pretend(folder: Path) -> None:
    """From here on PyTorch takes "cuda" for a device that is there, as far as fake tensors need one."""
    source, made = folder / "guard.cpp", folder / "guard.so"
    source.write_text(GUARD)
    parts = Path(torch.__file__).parent
    where = (f"-I{parts}/include", f"-I{parts}/include/torch/csrc/api/include", f"-L{parts}/lib", "-lc10")
    subprocess.run(["g++", "-O0", "-std=c++20", "-shared", "-fPIC", source, "-o", made, *where], check=True)
    ctypes.CDLL(str(made))
    cuda: Any = torch.cuda
    cuda.Event = cuda.Stream = Event
    cuda.current_stream = Event
    cuda.stream = lambda stream: contextlib.nullcontext()
    cuda.current_device, cuda.is_initialized = lambda: 0, lambda: True
    cuda.get_device_properties = lambda device: SimpleNamespace(total_memory=1 << 36, major=9, minor=0)
    cuda.memory_stats_as_nested_dict = lambda device: {}
    cuda.is_bf16_supported = lambda including_emulation=True: True
    cuda.manual_seed_all = lambda seed: None
    cuda.amp.common.amp_definitely_not_available = lambda: False


class One(Ranks):
    """The first of RANKS, which say what it says."""

    def gather(self, numbers: Any) -> list[list[float]]:
        return [[float(each) for each in numbers]] * self.size

    def share(self, thing: Any = None) -> Any:
        return thing

    def tell(self, what: str, *numbers: float) -> None: ...


def crew(*sets: str, ranks: int) -> Crew:
    """Alone, or with a part of the model; its weights are drawn by nobody."""
    config = tiny_config("model.n_layer=1", *sets)
    return Crew(config, tokens(), GPU, One(0, ranks), drawn=False, parallel="fsdp")


@contextlib.contextmanager
def without_a_backward_pass(made: Crew) -> Iterator[None]:
    def backward(loss: torch.Tensor) -> None:
        for each in made.take_step.trained:
            each.grad = torch.ones_like(each)

    plain, torch.Tensor.backward = torch.Tensor.backward, backward  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        torch.Tensor.backward = plain  # type: ignore[method-assign]


def main(folder: str) -> None:
    pretend(Path(folder))
    tokens()
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=RANKS)
    mesh, build = device_mesh.init_device_mesh("cuda", (RANKS,)), crews.build_for

    def on_the_device(*what: Any, **how: Any) -> Any:
        with GPU:
            return build(*what, **how)

    crews.build_for = on_the_device
    device_mesh.init_device_mesh = lambda *_, **__: mesh
    crews._group_for_saving = lambda: None
    torch.nn.Module.to = lambda self, *_, **__: self  # type: ignore[method-assign, assignment]
    for sets in KINDS:
        for ranks in (1, RANKS):
            with FakeTensorMode(allow_non_fake_inputs=True):
                made = crew(*sets, ranks=ranks)
                with without_a_backward_pass(made), Waits() as waits:
                    result = made.step(0, 1.0)
                assert (result.loss, waits.count) == (1.0, 2), (sets, ranks)  # two numbers, read at once
                assert all(each.device == GPU for each in made.model.state_dict().values())
            sys.stdout.write(f"ranks {ranks}: {' '.join(sets) or 'nano'}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
