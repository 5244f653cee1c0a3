"""What is looked into: the model of a run at a checkpoint, its tokenizer, and text it never learned from."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError
from engine.model.gpt import GPT
from engine.runs.layout import RunDir
from engine.tokenizers.answers import Answers
from engine.tokenizers.base import Ids, Tokenizer
from engine.tokenizers.table import load_tokenizer
from engine.training.checkpoint import load_model
from engine.training.start import open_dataset
from engine.training.verify import newest_tokenizer


@dataclass(frozen=True, eq=False)
class Subject:
    """The model of `run` at a checkpoint, in evaluation mode: its averaged weights where the run keeps them."""

    run: RunDir
    step: int
    model: GPT
    tokenizer: Tokenizer


def open_subject(run: RunDir, which: str | int = "best", *, say: Callable[[str], None] = warnings.warn) -> Subject:
    """Load `best`, `last` or a step, without the optimizer's state. Damage is told and raised as by `load_model`."""
    model, tokenizer, step = load_model(run, which, say=say, to_write=False)
    return Subject(run, step, model, tokenizer)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The validation split of a run: `ids` (n,), a memory map. `answers` say which tokens alone were learned, if not
    all."""

    ids: Ids
    answers: Answers | None = None

    def counted(self, start: int, n: int) -> NDArray[np.bool_]:
        """(n,) which of the targets count that follow the token at `start`."""
        return np.ones(n, bool) if self.answers is None else self.answers.mask(np.array([start]), n).reshape(n)

    def passages(self, length: int) -> int:
        """How many passages of `length` tokens there are; the last may be shorter."""
        return -(-max(0, len(self.ids) - 1) // length)

    def passage(self, number: int, length: int) -> NDArray[np.int64]:
        """Passage `number` from 0 on, with the token before it: (length + 1,), as `text_losses` wants it.

        Every token of the split but the first is in exactly one. Raises UserError when there is no such passage.
        """
        if not 0 <= number < self.passages(length):
            raise UserError(
                f"the held-out text has {self.passages(length):,} passages; there is no number {number + 1:,}"
            )
        return self.ids[number * length : (number + 1) * length + 1].astype(np.int64)


def open_held_out(run: RunDir, tokenizer: Tokenizer, corpora_dir: Path | None = None) -> HeldOut:
    """The text that `run` is evaluated on. Raises CorpusError when its corpus is gone or has changed since."""
    dataset = open_dataset(run, corpora_dir, tokenizer)
    return HeldOut(dataset.val, dataset.answers[1] if dataset.answers is not None else None)


def run_tokenizer(run: RunDir, corpora_dir: Path | None = None) -> Tokenizer:
    """The tokenizer of `run`, also before its first checkpoint. Raises CorpusError, TokenizerError."""
    path, _ = newest_tokenizer(run)
    return open_dataset(run, corpora_dir).tokenizer if path is None else load_tokenizer(path)
