"""A prompt on its way: a thread that keeps what the model writes and puts it into the history however it ends."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.control import ControlClient
from engine.errors import UserError, is_out_of_memory
from engine.sampling.settings import SamplingSettings
from tui.state.history import Prompted

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
    """The checkpoint loaded last, so that the next prompt to it starts at once: one, whoever asks.

    It is known by the run's path and what is in the checkpoint, never by a name alone: a run may be deleted and made
    again, and "best" is another one after each evaluation. Prompts of several threads take turns.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: tuple[tuple[str, str], tuple[Any, Any, int]] | None = None

    def get(self, run: RunDir, source: str | int, say: Callable[[str], None]) -> tuple[Any, Any, int]:
        """Model, tokenizer and step of that checkpoint; raises CheckpointError when there is none or it is damaged.

        A damaged "best" or "last" is passed over for the next one that is whole, which `say` is told.
        """
        from engine.training.checkpoint import choose_checkpoint, load_model

        with self._guard:
            wanted = _content(run, choose_checkpoint(run, source).name)
            if self._known is not None and self._known[0] == wanted and wanted[1]:
                return self._known[1]
            self._known = None  # two at a time would take twice the memory
            loaded = load_model(run, which=source, say=say)
            self._known = _content(run, run.checkpoint(loaded[2]).name), loaded
            return loaded


def _content(run: RunDir, checkpoint: str) -> tuple[str, str]:
    """The run's path and the hash of the manifest, which holds those of all files; "" where it cannot be read."""
    try:
        manifest = (run.checkpoints / checkpoint / "manifest.json").read_bytes()
    except OSError:
        return str(run.path), ""
    return str(run.path), hashlib.sha256(manifest).hexdigest()


class PromptJob(threading.Thread):
    """One prompt. `pieces` grows while it runs; then `outcome` is set, or `error`, and `done` is true.

    `keep` is given what became of it, once, before it is done.
    """

    def __init__(self, request: Request, models: LoadedModels, keep: Callable[[Prompted], None]) -> None:
        super().__init__(name="prompt", daemon=True)
        self.request = request
        self.pieces: list[str] = []
        self.outcome: Outcome | None = None
        self.error: str | None = None
        self.passed_over: list[str] = []
        """Damaged checkpoints that stood before the one that answers, a line each."""
        self.done = False
        self._models = models
        self._keep = keep
        self._kept = threading.Lock()
        self._client = ControlClient(request.run) if request.source == LIVE else None
        self._cancelled = threading.Event()

    @property
    def text(self) -> str:
        """What the model wrote so far, raw."""
        return "".join(self.pieces)

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
        except Exception as error:
            if is_out_of_memory(error):
                self.error = "no memory left for this; ask for fewer tokens, or end what else needs memory"
                return
            # a bug; the screen lives on and names it
            self.error = f"this is a bug: {' '.join(f'{type(error).__name__}: {error}'.split())}"
        finally:
            if self.outcome is None and self.error is None:
                self.outcome = Outcome(stop_reason="cancelled", seed=self.request.settings.seed)
            self.keep()
            self.done = True

    def keep(self) -> None:
        """Put it into the history as it stands, unless it is there."""
        if not self._kept.acquire(blocking=False):
            return
        request = self.request
        outcome = self.outcome or Outcome("failed" if self.error is not None else "cancelled")
        seed = outcome.seed if outcome.seed is not None else request.settings.seed
        self._keep(
            Prompted(
                prompt=request.prompt,
                text=self.text,
                source=str(request.source),
                step=outcome.step,
                settings={**request.settings.to_dict(), "seed": seed},
                templated=request.templated,
                time=round(time.time(), 3),
                stop_reason=outcome.stop_reason,
                tokens=outcome.tokens,
                tokens_per_second=round(outcome.tokens_per_second, 1),
                problem=self.error or "",
            )
        )

    def _live(self) -> Iterator[str]:
        assert self._client is not None
        for line in self._client.prompt(self.request.applied, self.request.settings.to_dict()):
            if "piece" in line:
                yield str(line["piece"].get("text", ""))
            elif "done" in line:
                self._finish(line["done"])

    def _local(self) -> Iterator[str]:
        from engine.sampling.generate import generate

        model, tokenizer, step = self._models.get(self.request.run, self.request.source, self.passed_over.append)
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
