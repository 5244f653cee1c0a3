"""Recording a CUDA graph, with stand-ins for the device: what is done in which order, and what is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from engine.model.capture import WARM_UPS, capture, recording

GPU = torch.device("cuda", 0)


@dataclass
class Stream:
    name: str
    priority: int = 0

    def wait_stream(self, other: Stream) -> None: ...


class Generator:
    """torch's generator of a GPU: a state that can be exchanged."""

    def __init__(self, state: object) -> None:
        self.state = state

    def graphsafe_get_state(self) -> Generator:
        return Generator(self.state)

    def clone_state(self) -> Generator:
        return Generator(object())

    def graphsafe_set_state(self, other: Generator) -> None:
        self.state = other.state


class Device:
    """What `torch.cuda` is asked for; `log` says what ran: (where, with which generator state)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own = object()
        self.generator = Generator(self.own)
        self.current = Stream("training", -1)
        self.capturing: Any = None
        self.log: list[tuple[str, int, bool, bool]] = []
        for name, value in {
            "current_stream": lambda device: self.current,
            "Stream": lambda device, priority: Stream("side", priority),
            "stream": self.stream,
            "CUDAGraph": lambda: self,
            "graph": self.graph,
            "default_generators": (self.generator,),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph: object, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local" and recording.locked()
        self.capturing = graph
        with self.stream(stream):
            yield
        self.capturing = None

    def ran(self) -> torch.Tensor:
        where = self.current
        self.log.append((where.name, where.priority, self.capturing is self, self.generator.state is self.own))
        return torch.zeros(1)

    def replay(self) -> None:
        self.log.append(("replay", self.current.priority, False, self.generator.state is self.own))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


@pytest.mark.parametrize("draws", [False, True])
def test_it_is_warmed_up_and_recorded_on_a_stream_of_the_same_priority(gpu: Device, draws: bool) -> None:
    replay = capture(gpu.ran, GPU, draws)
    assert gpu.log == [("side", -1, False, draws)] * WARM_UPS + [("side", -1, True, draws)]
    assert replay() is replay()  # always at the same place
    assert gpu.log[-2:] == [("replay", -1, False, True)] * 2
    assert gpu.generator.state is gpu.own and not recording.locked()


@pytest.mark.parametrize("runs", range(WARM_UPS + 1))
def test_a_failure_leaves_everything_as_it_was(gpu: Device, runs: int) -> None:
    def fails() -> torch.Tensor:
        if len(gpu.log) == runs:
            raise RuntimeError("operation not permitted when stream is capturing")
        return gpu.ran()

    training = gpu.current
    with pytest.raises(RuntimeError, match="not permitted"):
        capture(fails, GPU)
    assert gpu.generator.state is gpu.own and gpu.current is training and not recording.locked()


def test_on_a_cpu_there_is_nothing_to_record() -> None:
    def function() -> torch.Tensor:
        return torch.zeros(1)

    assert capture(function, torch.device("cpu")) is function
