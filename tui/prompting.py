"""A prompt on its way: a thread that leaves what the model writes where the screen picks it up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.control import ControlClient
from engine.errors import UserError
from engine.sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from engine.runs.layout import RunDir

LIVE = "live"


@dataclass(frozen=True)
class Request:
    """What is asked of whom. `applied` is what the model is given: the prompt, or the template around it."""

    run: RunDir
    source: str | int  # LIVE, "best", "last" or a checkpoint's step
    prompt: str
    applied: str
    settings: SamplingSettings
    templated: bool = False


@dataclass
class Outcome:
    """How a prompt ended; numbers as the sampler gives them."""

    stop_reason: str = ""
    seed: int | None = None
    step: int | None = None
    tokens: int = 0
    tokens_per_second: float = 0.0


class LoadedModels:
    """The checkpoint loaded last, so that the next prompt to it starts at once. Used by one prompt at a time."""

    def __init__(self) -> None:
        self._key: tuple[str, str | int] | None = None
        self._loaded: tuple[Any, Any, int] | None = None

    def get(self, run: RunDir, source: str | int) -> tuple[Any, Any, int]:
        """Model, tokenizer and step of that checkpoint; raises CheckpointError when there is none or it is damaged."""
        from engine.training.checkpoint import load_model

        key = (str(run.path), source)
        if self._loaded is None or self._key != key or not isinstance(source, int):
            self._key, self._loaded = key, None
            self._loaded = load_model(run, which=source)
        return self._loaded


class PromptJob(threading.Thread):
    """One prompt. `pieces` fills while it runs; then `outcome` or `error` is set and `done` is true."""

    def __init__(self, request: Request, models: LoadedModels) -> None:
        super().__init__(name="prompt", daemon=True)
        self.request = request
        self.pieces: deque[str] = deque()
        self.outcome: Outcome | None = None
        self.error: str | None = None
        self.done = False
        self._models = models
        self._client = ControlClient(request.run) if request.source == LIVE else None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask it to stop at the next token; what is written so far stays."""
        self._cancelled.set()
        if self._client is not None:
            self._client.cancel()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def run(self) -> None:
        try:
            for piece in self._live() if self.request.source == LIVE else self._local():
                self.pieces.append(piece)
                if self.cancelled:
                    break
        except (UserError, OSError) as error:
            self.error = str(error)
        except Exception as error:  # a bug; the screen lives on and names it
            self.error = f"this is a bug: {' '.join(f'{type(error).__name__}: {error}'.split())}"
        finally:
            if self.outcome is None and self.error is None:
                self.outcome = Outcome(stop_reason="cancelled", seed=self.request.settings.seed)
            self.done = True

    def _live(self) -> Iterator[str]:
        assert self._client is not None
        for line in self._client.prompt(self.request.applied, self.request.settings.to_dict()):
            if "piece" in line:
                yield str(line["piece"].get("text", ""))
            elif "done" in line:
                self._finish(line["done"])

    def _local(self) -> Iterator[str]:
        from engine.sampling.generate import generate

        model, tokenizer, step = self._models.get(self.request.run, self.request.source)
        if self.cancelled:
            return
        for piece in generate(
            model, tokenizer, self.request.applied, self.request.settings, cancelled=self._cancelled.is_set
        ):
            if hasattr(piece, "stop_reason"):
                self._finish(vars(piece), step)
            else:
                yield piece.text

    def _finish(self, done: dict[str, Any], step: int | None = None) -> None:
        self.outcome = Outcome(
            stop_reason=str(done.get("stop_reason", "")),
            seed=done.get("seed"),
            step=done.get("step", step),
            tokens=int(done.get("tokens", 0)),
            tokens_per_second=float(done.get("tokens_per_second", 0.0)),
        )
