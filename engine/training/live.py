"""Prompting the weights that are training now.

The trainer copies its weights at a step boundary, only when somebody waits for them, and goes on. The prompt runs on
that copy in another thread, with a private generator, so it can change nothing of the training's result. On a GPU it
has a stream of its own, or each token would wait for all the steps that are launched already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import Tensor

from engine.errors import RunError
from engine.model.gpt import GPT
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.text.tokenizer import Tokenizer
from engine.training.flat import FlatParameters

PATIENCE = 120.0
"""Seconds a prompt waits for a step boundary: a step of a large model, a compilation."""

T = TypeVar("T")


class LiveWeights:
    """Hands copies of the training weights to other threads."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._ready = threading.Condition()
        self._snapshot: tuple[int, Tensor] | None = None
        self._ended = False

    def serve(self, step: int, flat: Tensor) -> None:
        """Called by the trainer between steps; does nothing unless someone waits."""
        if self._wanted.is_set():
            with self._ready:
                self._wanted.clear()
                self._snapshot = (step, flat.detach().clone())
                self._ready.notify_all()

    def end(self) -> None:
        """No more weights will come: whoever waits is told."""
        with self._ready:
            self._ended = True
            self._ready.notify_all()

    def _arrived(self) -> tuple[int, Tensor] | None:
        return self._snapshot

    def take(self, cancelled: Callable[[], bool]) -> tuple[int, Tensor]:
        """(step, flat copy) of the weights at the next step boundary. Raises RunError when training has ended."""
        with self._ready:
            self._snapshot = None
            self._wanted.set()
            waited = 0.0
            while not (snapshot := self._arrived()):
                if self._ended:
                    raise RunError("training has ended; prompt one of its checkpoints")
                if cancelled() or waited > PATIENCE:
                    raise RunError("no step ended while the prompt waited; try again, or prompt a checkpoint")
                self._ready.wait(0.2)
                waited += 0.2
            return snapshot


class LivePrompter:
    """What a `ControlServer` calls for a prompt: `{"prompt", "settings"}` in, `{"piece"}` lines and `{"done"}` out."""

    def __init__(self, live: LiveWeights, build: Callable[[], GPT], tokenizer: Tokenizer) -> None:
        """`build` makes a model like the one in training, on its device, in evaluation mode."""
        self.live, self.build, self.tokenizer = live, build, tokenizer
        self._idle: list[tuple[GPT, FlatParameters]] = []
        self._guard = threading.Lock()
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        settings = SamplingSettings.from_dict(request.get("settings") or {})
        settings.check()
        step, weights = self.live.take(cancelled)
        model, parameters = self._borrow()
        try:
            parameters.flat.copy_(weights)
            del weights
            pieces = generate(
                model,
                self.tokenizer,
                str(request.get("prompt", "")),
                settings,
                cancelled=cancelled,
                alternatives=int(request.get("alternatives", 0)),
            )
            for piece in each_within(self._beside(parameters.flat.device), pieces):
                if isinstance(piece, Done):
                    yield {"done": {**asdict(piece), "step": step}}
                else:
                    yield {"piece": asdict(piece)}
        finally:
            with self._guard:
                self._idle.append((model, parameters))

    def _beside(self, device: torch.device) -> Callable[[], AbstractContextManager[object]]:
        """Makes contexts whose work on a GPU goes beside the training's and before it, after all launched until now."""
        if device.type != "cuda":
            return nullcontext
        with self._guard:
            if self._stream is None:
                self._stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
            stream = self._stream
        stream.wait_stream(torch.cuda.current_stream(device))
        return lambda: torch.cuda.stream(stream)

    def _borrow(self) -> tuple[GPT, FlatParameters]:
        """A model of its own for every prompt under way, kept for the next one."""
        with self._guard:
            if self._idle:
                return self._idle.pop()
        model = self.build()
        return model, FlatParameters(model, gradients=False)


def each_within(context: Callable[[], AbstractContextManager[object]], items: Iterator[T]) -> Iterator[T]:
    """The items, each made inside a context of its own, which is left while somebody looks at it."""
    while True:
        with context():
            item = next(items, None)
        if item is None:
            return
        yield item
