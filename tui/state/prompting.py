"""A prompt on its way: a thread that keeps what the model writes and puts it into the history however it ends."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.control import ControlClient
from engine.errors import UserError, is_out_of_memory
from engine.sampling.settings import SamplingSettings
from tui.state.buglog import told
from tui.state.history import Prompted
from tui.state.tokens import Token, Written
from tui.state.vocabulary import Vocabularies

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.sampling.kept import KeptLogits, TopLogits
    from engine.text.template import Template
    from engine.tokenizers.base import Tokenizer

LIVE = "live"
TOP = 512
"""Logits that a trainer is asked for with each token: the rules that matter act on fewer."""
LABELS = 20
"""Likeliest tokens whose names a trainer is asked for while its run has no tokenizer to read yet."""


@dataclass(frozen=True)
class ChatSoFar:
    """The turns before a prompt, each what was said and the answer, and the context they have to fit into."""

    template: Template
    turns: tuple[tuple[str, str], ...]
    block_size: int


@dataclass(frozen=True)
class Request:
    """What is asked of whom. `applied` is what the model is given: the prompt, or the template around it.

    The answer begins with the tokens `begin`, or with the text `edited`, and goes on from there for
    `settings.max_tokens` tokens; `how` it came from another answer is told in the history. In a `chat`, as many of the
    turns before stand in front of the prompt as the context holds, and `applied` is not asked.
    """

    run: RunDir
    source: str | int  # LIVE, "best", "last" or a checkpoint's step
    prompt: str
    applied: str
    settings: SamplingSettings
    templated: bool = False
    begin: tuple[Token, ...] = ()
    edited: str | None = None
    how: str = ""
    chat: ChatSoFar | None = None
    int8: bool = False
    """Whether the matrices of a checkpoint are put in 8 bits."""


@dataclass
class Outcome:
    """How a prompt ended; numbers as the sampler gives them."""

    stop_reason: str = ""
    seed: int | None = None
    step: int | None = None
    tokens: int = 0
    tokens_per_second: float = 0.0


class LoadedModels:
    """The checkpoint loaded last, so that the next prompt to it starts at once: one, whoever asks; tokenizers; and the
    logits of the tokens written last, whichever model wrote them.

    It is known by the run's path and what is in the checkpoint, never by a name alone: a run may be deleted and made
    again, and "best" is another one after each evaluation. Prompts of several threads take turns.
    """

    def __init__(self, corpora_dir: Path | None = None) -> None:
        self._corpora_dir = corpora_dir
        self._guard = threading.Lock()
        self._known: tuple[tuple[str, str, bool], tuple[Any, Any, int]] | None = None
        self.cost = ""
        """What 8 bits cost the model that was last put in them, in one line."""
        self._logits: KeptLogits | None = None
        self.vocabularies = Vocabularies()

    @property
    def logits(self) -> KeptLogits:
        """The raw logits of tokens that were drawn, by the numbers in `Token.kept`. For threads that may wait."""
        from engine.sampling.kept import KeptLogits

        with self._guard:
            if self._logits is None:
                self._logits = KeptLogits()
            return self._logits

    def get(
        self, run: RunDir, source: str | int, say: Callable[[str], None], int8: Callable[[str], None] | None = None
    ) -> tuple[Any, Any, int]:
        """Model, tokenizer and step of that checkpoint; raises CheckpointError when there is none or it is damaged.

        A damaged "best" or "last" is passed over for the next one that is whole, which `say` is told. With `int8` its
        matrices are put in 8 bits, and that is told what they cost; raises UserError for a model that has none.
        """
        from engine.training.checkpoint import choose_checkpoint, load_model

        with self._guard:
            wanted = (*_content(run, choose_checkpoint(run, source).name), int8 is not None)
            if self._known is not None and self._known[0] == wanted and wanted[1]:
                return self._known[1]
            self._known = None  # two at a time would take twice the memory
            loaded = load_model(run, which=source, say=say)
            if int8 is not None:
                self.cost = self._in_int8(run, *loaded[:2])
                int8(self.cost)
            self._known = (*_content(run, run.checkpoint(loaded[2]).name), int8 is not None), loaded
            return loaded

    def _in_int8(self, run: RunDir, model: Any, tokenizer: Any) -> str:
        from engine.plan.int8 import in_int8

        try:
            return in_int8(run, model, tokenizer, self._corpora_dir)
        except UserError as error:
            raise UserError(f"{str(error).partition(';')[0]}; ctrl+o takes the 8 bits off") from None


def _content(run: RunDir, checkpoint: str) -> tuple[str, str]:
    """The run's path and the hash of the manifest, which holds those of all files; "" where it cannot be read."""
    try:
        manifest = (run.checkpoints / checkpoint / "manifest.json").read_bytes()
    except OSError:
        return str(run.path), ""
    return str(run.path), hashlib.sha256(manifest).hexdigest()


class PromptJob(threading.Thread):
    """One prompt. `written` grows while it runs; then `outcome` is set, or `error`, and `done` is true.

    `keep` is given what became of it, once, before it is done; then that is its `entry`.
    """

    def __init__(self, request: Request, models: LoadedModels, keep: Callable[[Prompted], None]) -> None:
        super().__init__(name="prompt", daemon=True)
        self.request = request
        self.written = Written()
        self.outcome: Outcome | None = None
        self.error: str | None = None
        self.passed_over: list[str] = []
        """Damaged checkpoints that stood before the one that answers, a line each."""
        self.told: list[str] = []
        """What 8 bits cost, where the answering model was put in them now."""
        self.labels: dict[int, str] = {}
        """What tokens are called, as far as a trainer said."""
        self.begun = self.done = False
        self._begun = 0  # tokens the answer began with, which were not drawn
        self.held = 0
        """Of the turns of a chat, how many of the newest the model was given."""
        self.applied = request.applied
        """What the model was given."""
        self.entry: Prompted | None = None
        self._models = models
        self._keep = keep
        self._kept = threading.Lock()
        self._client = ControlClient(request.run) if request.source == LIVE else None
        self._cancelled = threading.Event()

    @property
    def text(self) -> str:
        """What the model wrote so far, raw."""
        return self.written.text

    def cancel(self) -> None:
        """Ask it to stop at the next token; what is written so far stays."""
        self._cancelled.set()
        if self._client is not None:
            self._client.cancel()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def run(self) -> None:
        self.begun = True
        try:
            if self.request.source == LIVE:
                self._live()
            else:
                self._local()
        except (UserError, OSError) as error:
            self.error = str(error)
        except Exception as error:
            if is_out_of_memory(error):
                self.error = "no memory left for this; ask for fewer tokens, or end what else needs memory"
                return
            self.error = told(error)  # the screen lives on and names it
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
        self.entry = Prompted(
            prompt=request.prompt,
            text=self.text,
            source=f"{request.source} int8" if request.int8 else str(request.source),
            step=outcome.step,
            settings={**request.settings.to_dict(), "seed": seed},
            templated=request.templated,
            time=round(time.time(), 3),
            stop_reason=outcome.stop_reason,
            tokens=outcome.tokens,
            tokens_per_second=round(outcome.tokens_per_second, 1),
            problem=self.error or "",
            ids=tuple(token.id for token in list(self.written.tokens)),
            how=request.how,
        )
        self._keep(self.entry)

    def _begin(self, tokenizer: Tokenizer | None) -> list[int]:
        """The tokens the answer begins with; those of `begin` that come again keep their logits."""
        request = self.request
        ids = [token.id for token in request.begin]
        if request.edited is not None:
            if tokenizer is None:
                raise UserError("an edited answer needs the run's tokenizer; press c for a first checkpoint")
            ids = [int(id) for id in tokenizer.encode(request.edited)] if request.edited else []
        self.written.begin(tokenizer, request.begin)
        self._begun = len(ids)
        return ids

    def _fit(self, tokenizer: Tokenizer | None) -> None:
        """In a chat: how many turns fit before the prompt. Without a tokenizer all are given, and the window slides."""
        chat, request = self.request.chat, self.request
        if chat is None:
            return
        from engine.sampling.chat import fit_turns

        self.held = len(chat.turns)
        if tokenizer is not None:
            encode = tokenizer.encode
            _, self.held = fit_turns(
                chat.template,
                chat.turns,
                request.prompt,
                lambda text: [int(id) for id in encode(text)] if text else [],
                chat.block_size,
                request.settings.max_tokens,
            )
        self.applied = chat.template.turns(chat.turns[len(chat.turns) - self.held :], request.prompt)

    def _settings(self, begun: int) -> SamplingSettings:
        """For an answer that is `begun` by so many tokens, which count among those it may have."""
        settings = self.request.settings
        return settings.replace(max_tokens=begun + settings.max_tokens) if begun else settings

    def _live(self) -> None:
        from engine.sampling.kept import TopLogits

        assert self._client is not None
        request, logits = self.request, self._models.logits
        tokenizer = self._models.vocabularies.of(request.run)
        begin = self._begin(tokenizer)
        self._fit(tokenizer)
        wanted: dict[str, Any] = {"top": TOP}
        if begin:
            wanted["forced"] = begin
        if tokenizer is None:
            wanted["alternatives"] = LABELS
        for line in self._client.prompt(self.applied, self._settings(len(begin)).to_dict(), **wanted):
            if "piece" in line:
                piece = line["piece"]
                top = TopLogits.from_dict(piece["top"]) if "top" in piece else None
                self.labels.update((each[0], each[1]) for each in piece.get("alternatives", ()))
                self._write(int(piece.get("id", 0)), str(piece.get("text", "")), top, logits)
                if self.cancelled:
                    return
            elif "done" in line:
                self._finish(line["done"])

    def _write(self, id: int, text: str, top: TopLogits | None, logits: KeptLogits) -> None:
        from tui.state.tokens import loss_of

        kept = logits.add(top) if top is not None else None
        self.written.add(id, text, kept, loss_of(top, id) if top is not None else None)

    def _local(self) -> None:
        from engine.sampling.generate import Done, generate
        from tui.state.tokens import loss_of

        request = self.request
        model, tokenizer, step = self._models.get(
            request.run, request.source, self.passed_over.append, self.told.append if request.int8 else None
        )
        begin, logits = self._begin(tokenizer), self._models.logits
        self._fit(tokenizer)
        if self._cancelled.is_set():
            return
        for piece in generate(
            model,
            tokenizer,
            self.applied,
            self._settings(len(begin)),
            cancelled=self._cancelled.is_set,
            forced=begin,
            keep=logits,
        ):
            if isinstance(piece, Done):
                self._finish(vars(piece), step)
                continue
            row = logits.get(piece.kept)
            self.written.add(piece.id, piece.text, piece.kept, loss_of(row, piece.id) if row is not None else None)
            if self.cancelled:
                break

    def _finish(self, done: dict[str, Any], step: int | None = None) -> None:
        self.outcome = Outcome(
            stop_reason=str(done.get("stop_reason", "")),
            seed=done.get("seed"),
            step=done.get("step", step),
            tokens=int(done.get("tokens", 0)),
            tokens_per_second=self._rate(done),
        )

    def _rate(self, done: dict[str, Any]) -> float:
        """Tokens drawn in a second; those the answer began with took none."""
        seconds = float(done.get("seconds") or 0.0)
        if self._begun and seconds > 0:
            return (int(done.get("tokens", 0)) - self._begun) / seconds
        return float(done.get("tokens_per_second", 0.0))
