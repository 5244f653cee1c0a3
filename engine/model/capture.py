"""CUDA graphs: many kernels recorded once and launched as one, where launching them costs more than running them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

WARM_UPS = 3

recording = threading.Lock()
"""Held while a graph is recorded, and by whoever draws from torch's own generator of a GPU beside other threads.

Recording begins by waiting for the device, which would break another recording; and it borrows that generator.
"""


def capture(function: Callable[[], Tensor], device: torch.device, draws: bool = False) -> Callable[[], Tensor]:
    """`function` as one CUDA graph, each call repeating its kernels on the same memory; on a CPU `function` itself.

    What `function` reads and writes must stay where it is, and what it returns is overwritten by the next call. It
    runs WARM_UPS times before it is recorded. If it `draws` random numbers, they are those that torch's generator has
    next at the time of each call. Raises RuntimeError when PyTorch cannot record it.
    """
    if device.type != "cuda":
        return function
    current = torch.cuda.current_stream(device)
    generator = nullcontext() if draws else _other_generator(device)
    with recording, generator, torch.cuda.stream(current):  # a recording that fails leaves its stream in place of this
        side = torch.cuda.Stream(device, current.priority)  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                function()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # "thread_local": a prompt in another thread may go on allocating memory meanwhile
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            result = function()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


@contextmanager
def _other_generator(device: torch.device) -> Iterator[None]:
    """Another state in torch's generator, so that a graph recorded here has nothing to do with its own.

    Up to PyTorch 2.11 all graphs of a generator share the place on the device where they find its seed: each replay of
    one would write there, whatever another on another stream has yet to read.
    """
    generator = torch.cuda.default_generators[device.index or 0]
    own = generator.graphsafe_get_state()
    generator.graphsafe_set_state(generator.clone_state())
    try:
        yield
    finally:
        generator.graphsafe_set_state(own)
