"""A prompt beside training: its work is done in a context of its own, which nobody else ever sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from engine.model import build_model
from engine.text.chars import CharTokenizer
from engine.training.flat import FlatParameters
from engine.training.live import LivePrompter, LiveWeights, each_within

from .conftest import tiny_config


def test_the_context_is_left_while_somebody_looks_at_an_item() -> None:
    inside: list[bool] = [False]
    seen: list[bool] = []

    @contextmanager
    def context() -> Iterator[None]:
        inside[0] = True
        try:
            yield
        finally:
            inside[0] = False

    def items() -> Iterator[int]:
        for number in range(3):
            seen.append(inside[0])
            yield number
        raise ValueError("at the end")

    found = []
    with pytest.raises(ValueError, match="at the end"):
        for item in each_within(context, items()):
            found.append((item, inside[0]))
    assert found == [(number, False) for number in range(3)] and seen == [True] * 3 and inside == [False]


def test_on_a_gpu_a_prompt_has_a_stream_that_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made once; it waits for what was launched before, the copy of the weights included."""
    made: list[tuple[torch.device, int]] = []
    waited: list[object] = []

    class Stream:
        def __init__(self, device: torch.device, priority: int) -> None:
            made.append((device, priority))

        def wait_stream(self, other: object) -> None:
            waited.append(other)

    entered: list[object] = []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "training")
    monkeypatch.setattr(torch.cuda, "stream", entered.append)
    gpu = torch.device("cuda", 0)
    tokenizer = CharTokenizer("abc")
    prompter = LivePrompter(LiveWeights(), lambda: build_model(tiny_config().model, 3), tokenizer)
    prompter._beside(gpu)(), prompter._beside(gpu)()
    assert made == [(gpu, -1)] and waited == ["training"] * 2
    assert isinstance(entered[0], Stream) and entered[0] is entered[1]


def test_a_prompt_is_answered_with_the_weights_of_a_step_boundary() -> None:
    config, tokenizer = tiny_config(), CharTokenizer("abc")
    flat = FlatParameters(build_model(config.model, 3, torch.Generator().manual_seed(5)), gradients=False).flat
    live = LiveWeights()
    over = threading.Event()

    def train() -> None:
        while not over.wait(0.01):
            live.serve(7, flat)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        prompter = LivePrompter(live, lambda: build_model(config.model, 3).eval(), tokenizer)
        request = {"prompt": "a", "settings": {"max_tokens": 5, "seed": 1}}
        said = list(prompter(request, lambda: False))
    finally:
        over.set()
        thread.join()
    assert len(said) == 6 and said[-1]["done"]["step"] == 7 and said[-1]["done"]["tokens"] == 5
    (kept,) = live.kept
    assert torch.equal(kept[1].flat, flat)
