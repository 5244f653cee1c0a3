"""CUDA graphs: many kernels recorded once and launched as one, where launching them costs more than running them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UPS = 3

_one_at_a_time = threading.Lock()  # recording begins by waiting for the device, which would break another recording


def capture(function: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """`function` as one CUDA graph, each call repeating its kernels on the same memory; on a CPU `function` itself.

    What `function` reads and writes must stay where it is, and what it returns is overwritten by the next call. It
    runs WARM_UPS times before it is recorded. Random numbers follow torch's generator at the time of each call.
    Raises RuntimeError when PyTorch cannot record it.
    """
    if device.type != "cuda":
        return function
    current = torch.cuda.current_stream(device)
    with _one_at_a_time, torch.cuda.stream(current):  # a recording that fails leaves its stream in place of this one
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
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
