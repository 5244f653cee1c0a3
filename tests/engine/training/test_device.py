"""What is asked of a GPU, in which order, where none is here: PyTorch's own classes are put in by what notes it."""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.training import beside as samples
from engine.training import device as devices
from engine.training.beside import Sample, SamplesBeside
from engine.training.device import beside, moment, ready_device, seconds_between

from .conftest import tiny_config
from .told import CPU, tokens

GPU = torch.device("cuda", 1)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Streams that note who waits for whom, and which one work goes to."""
    told = SimpleNamespace(made=[], waited=[], entered=[])

    class Stream:
        def __init__(self, device: torch.device, priority: int) -> None:
            told.made.append((device, priority))

        def wait_stream(self, other: object) -> None:
            told.waited.append(other)

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"that of {device}")
    monkeypatch.setattr(torch.cuda, "stream", lambda each: told.entered.append(each) or nullcontext())
    devices._stream_beside.cache_clear()
    return told


def test_what_goes_beside_training_has_a_stream_that_goes_first(streams: SimpleNamespace) -> None:
    """Made once; it waits for what was launched before, the copy of the weights included."""
    beside(GPU)(), beside(GPU)()
    assert streams.made == [(GPU, -1)] and streams.waited == ["that of cuda:1"] * 2
    assert streams.entered[0] is streams.entered[1]
    beside(CPU)()
    assert len(streams.entered) == 2


def test_samples_beside_training_go_to_that_stream(streams: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each of their tokens waits for the step under way, and those of the next checkpoint for all of them."""
    crew: Any = SimpleNamespace(config=tiny_config(), dataset=tokens(), device=GPU)
    made: list[int] = []
    monkeypatch.setattr(samples, "make_sample", lambda *_: made.append(len(streams.entered)) or Sample(None))
    SamplesBeside(crew, None)._make(3, None)  # type: ignore[arg-type]
    assert made == [1] and streams.waited == ["that of cuda:1"]


def test_time_on_a_gpu_is_between_two_events_of_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is ahead of it: its own clock would tell how long the launching took."""
    clock = [0.0]

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: str) -> None:
            assert stream == "that of cuda:1"
            self.at = clock[0]

        def elapsed_time(self, later: Event) -> float:
            return later.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"that of {device}")
    one = moment(GPU)
    clock[0] = 250.0  # milliseconds
    assert seconds_between(one, moment(GPU)) == 0.25
    assert 0 <= seconds_between(moment(CPU), moment(CPU)) < 60


def test_the_device_of_a_run_is_that_of_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks "this GPU" means the run's: whether it multiplies bf16, where a model is parted."""
    current = [0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.__setitem__(0, device.index))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: current == [1])
    assert ready_device("cuda:1", "bf16") == GPU and current == [1]
    assert ready_device("cpu", "fp32") == CPU and current == [1]


def test_pytorch_has_what_only_a_gpu_is_asked_for() -> None:
    """By the signatures of the version that is installed."""
    for function, arguments in (
        (torch.cuda.is_bf16_supported, {"including_emulation": False}),
        (torch.cuda.set_device, {"device": GPU}),
        (torch.cuda.current_stream, {"device": GPU}),
        (torch.cuda.memory_stats_as_nested_dict, {"device": GPU}),
        (torch.cuda.get_device_properties, {"device": GPU}),
        (torch.cuda.get_device_name, {"device": GPU}),
        (torch.cuda.Stream.__new__, {"cls": torch.cuda.Stream, "device": GPU, "priority": -1}),
        (torch.cuda.Event.__new__, {"cls": torch.cuda.Event, "enable_timing": True}),
        (torch.cuda.Stream.wait_stream, {"self": None, "stream": None}),
        (torch.cuda.Event.record, {"self": None, "stream": None}),
        (torch.cuda.Event.elapsed_time, {"self": None, "end_event": None}),
    ):
        inspect.signature(function).bind(**arguments)
