"""Prompting the weights that are training now.

The trainer copies its weights at a step boundary, straight into the model of whoever waits for them, and goes on. The
prompt runs on that copy in another thread, with a private generator, so it can change nothing of the training's result.
On a GPU it has a stream of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from engine.errors import RunError, is_out_of_memory
from engine.model.gpt import GPT
from engine.sampling.generate import Done, Piece, generate
from engine.sampling.kept import KeptLogits, TopLogits
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.base import Tokenizer
from engine.training.device import beside
from engine.training.shortage import free_memory

PATIENCE = 120.0
"""Seconds a prompt waits for a step boundary: a step of a large model, a compilation."""

AT_ONCE = 2
"""Prompts that have a copy of the weights at the same time."""

T = TypeVar("T")


@dataclass(eq=False)
class _Waiter:
    """A prompt that waits for the weights of a step."""

    target: GPT
    step: int | None = None


class LiveWeights:
    """Hands the training weights to other threads, each into a copy of its own."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._waiting: list[_Waiter] = []
        self._ended = False

    def serve(self, step: int, weights: Callable[[], Mapping[str, Tensor]]) -> None:
        """Called by the trainer between steps; asks for its weights, by name, only when someone waits."""
        if self._waiting:
            with self._ready, torch.no_grad():
                given = weights()
                for waiter in self._waiting:
                    for name, parameter in waiter.target.named_parameters():
                        parameter.copy_(given[name])
                    waiter.step = step
                self._waiting.clear()
                self._ready.notify_all()

    def end(self) -> None:
        """No more weights will come: whoever waits is told."""
        with self._ready:
            self._ended = True
            self._ready.notify_all()

    def check(self) -> None:
        """Raises RunError when training has ended."""
        if self._ended:
            raise RunError("training has ended; prompt one of its checkpoints")

    def take(self, target: GPT, cancelled: Callable[[], bool]) -> int:
        """The step whose weights `target` has now, that of the next boundary. Raises RunError when none comes."""
        waiter = _Waiter(target)
        with self._ready:
            self._waiting.append(waiter)
            deadline = time.monotonic() + PATIENCE
            try:
                while waiter.step is None:
                    self.check()
                    if cancelled() or time.monotonic() > deadline:
                        raise RunError("no step ended while the prompt waited; try again, or prompt a checkpoint")
                    self._ready.wait(0.2)
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
        return waiter.step


class LivePrompter:
    """What a `ControlServer` calls for a prompt: `{"prompt", "settings"}` in, `{"piece"}` lines and `{"done"}` out.

    What else a request may hold are the arguments of `generate`, and `top`: how many logits come with each piece.

    AT_ONCE prompts have a copy of the weights at the same time, others wait for theirs.
    """

    def __init__(self, live: LiveWeights, build: Callable[[], GPT], tokenizer: Tokenizer) -> None:
        """`build` makes a model like the one in training, on its device, in evaluation mode."""
        self.live, self.build, self.tokenizer = live, build, tokenizer
        self._places = threading.Semaphore(AT_ONCE)

    def __call__(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        settings = SamplingSettings(**(request.get("settings") or {}))
        self._sit_down(cancelled)
        try:
            yield from self._answer(request, settings, cancelled)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        finally:
            self._places.release()
        free_memory()
        raise RunError("no memory for this prompt beside training; ask for fewer tokens, or prompt a checkpoint later")

    def _sit_down(self, cancelled: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._places.acquire(timeout=0.2):
            self.live.check()
            if cancelled() or time.monotonic() > deadline:
                raise RunError(f"{AT_ONCE} prompts are being answered; try again when one has ended")

    def _answer(
        self, request: dict[str, Any], settings: SamplingSettings, cancelled: Callable[[], bool]
    ) -> Iterator[dict[str, Any]]:
        self.live.check()
        model = self.build()
        step = self.live.take(model, cancelled)
        most = int(request.get("top", 0))
        keep = KeptLogits() if most else None
        pieces = generate(
            model,
            self.tokenizer,
            str(request.get("prompt", "")),
            settings,
            cancelled=cancelled,
            forced=request.get("forced", ()),
            alternatives=int(request.get("alternatives", 0)),
            keep=keep,
        )
        for piece in each_within(beside(next(model.parameters()).device), pieces):
            if isinstance(piece, Done):
                yield {"done": {**asdict(piece), "step": step}}
            else:
                yield {"piece": _told(piece, keep, most)}


def _told(piece: Piece, keep: KeptLogits | None, most: int) -> dict[str, Any]:
    """A piece as the socket's answer: instead of the place of its logits the largest of them."""
    told = asdict(piece)
    kept = told.pop("kept")
    if keep is not None and isinstance(logits := keep.get(kept), Tensor):
        told["top"] = TopLogits.of(logits, most).to_dict()
        keep.clear()
    return told


def each_within(context: Callable[[], AbstractContextManager[object]], items: Iterator[T]) -> Iterator[T]:
    """The items, each made inside a context of its own, which is left while somebody looks at it."""
    while True:
        with context():
            item = next(items, None)
        if item is None:
            return
        yield item
