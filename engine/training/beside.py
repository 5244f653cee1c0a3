"""A run's own samples: what the model says to each fixed prompt, each with its fixed seed, comparable step by step.

With one rank the trainer makes them between two steps. With several it would keep all the others waiting: there rank 0
makes them in a thread of its own, on a copy of the weights.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch

from engine.config import TrainConfig
from engine.errors import UserError, is_out_of_memory
from engine.model.gpt import GPT
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.base import Tokenizer
from engine.training.copied import CopyCheck
from engine.training.crew import Crew
from engine.training.device import beside
from engine.training.shortage import free_memory

if TYPE_CHECKING:
    from engine.training.trainer import Trainer


@dataclass(frozen=True)
class Sample:
    """What came of a prompt: the record to write, unless it gave way or failed; and alarms, as (kind, message)."""

    record: dict[str, Any] | None
    alarms: tuple[tuple[str, str], ...] = ()


def make_sample(
    model: GPT, tokenizer: Tokenizer, train: TrainConfig, number: int, cancelled: Callable[[], bool], copies: CopyCheck
) -> Sample:
    """The sample of the prompt with that number, and how much of it is copied; nothing where it was to give way."""
    prompt, seed = train.prompts[number], (train.seed + number) % 2**31
    stop = (train.sample_stop,) if train.sample_stop else ()
    settings = SamplingSettings(max_tokens=train.sample_tokens, seed=seed, stop=stop)
    done: Done | None = None
    copied, alarms = None, list[tuple[str, str]]()
    try:
        for piece in generate(model, tokenizer, prompt, settings, cancelled=cancelled):
            if isinstance(piece, Done):
                done = piece
        if done is not None and done.stop_reason != "cancelled":
            copied, alarm = copies.look(done.text, cancelled, prompt)
            alarms += [("copied", alarm)] if alarm else []
    except Exception as error:
        if not isinstance(error, UserError) and not is_out_of_memory(error):
            raise
        said = str(error) if isinstance(error, UserError) else "no memory for a sample; it is left out"
        alarms.append(("sample", said))
    if done is None or done.stop_reason == "cancelled":
        return Sample(None, tuple(alarms))
    record = {
        "prompt": prompt,
        "text": done.text,
        "settings": settings.to_dict(),
        "seed": settings.seed,
        "tokens_per_s": round(done.tokens_per_second, 1),
        **({} if copied is None else {"copied": copied.record()}),
    }
    return Sample(record, tuple(alarms))


class SamplesBeside:
    """Samples that are made while training goes on; the trainer asks what has come of them."""

    def __init__(self, crew: Crew, copies: CopyCheck) -> None:
        self.crew, self.copies = crew, copies
        self._thread: threading.Thread | None = None
        self._made: SimpleQueue[tuple[int, Sample]] = SimpleQueue()
        self._give_way = threading.Event()

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self, step: int) -> None:
        """Samples of the weights as they are now. Those of before must be made, or given up."""
        self._give_way.clear()
        try:
            model = self.crew.build()
            with torch.no_grad():
                weights = self.crew.weights()
                for name, parameter in model.named_parameters():
                    parameter.copy_(weights[name])
        except Exception as error:
            if not is_out_of_memory(error) or self.crew.sharded:  # where the others are in the midst of it
                raise
            self._made.put((step, Sample(None, (("sample", "no memory for a sample; it is left out"),))))
            free_memory()
            return
        self._thread = threading.Thread(target=self._make, args=(step, model), name="samples")
        self._thread.start()

    def _make(self, step: int, model: GPT) -> None:
        train, tokenizer = self.crew.config.train, self.crew.dataset.tokenizer
        with beside(self.crew.device)():
            for number in range(len(train.prompts)):
                if self._give_way.is_set():
                    return
                self._made.put((step, make_sample(model, tokenizer, train, number, self._give_way.is_set, self.copies)))

    def told(self) -> list[tuple[int, Sample]]:
        """What has been made since the last time, each with the step of its weights."""
        return [self._made.get() for _ in range(self._made.qsize())]  # nobody else takes any

    def give_up(self) -> None:
        """Make no more of them, and wait until that is so."""
        self._give_way.set()
        if self._thread is not None:
            self._thread.join()


class Samples:
    """The trainer's samples: made between two steps, or beside training, and written."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.copies = trainer, CopyCheck(trainer.dataset)
        self.beside = SamplesBeside(trainer.crew, self.copies)

    def make(self) -> None:
        """One of each fixed prompt, by the weights of this step; with several ranks it is written when it is made."""
        trainer, train = self.trainer, self.trainer.config.train
        if train.sample_tokens == 0:
            return
        if not trainer.crew.ranks.alone:
            self.wait()
            self.beside.begin(trainer.step)
            return
        trainer.writer.status(phase="sampling")
        for number in range(len(train.prompts)):
            with trainer.optimizer.averaged_weights():
                tokenizer = trainer.dataset.tokenizer
                made = make_sample(trainer.model, tokenizer, train, number, trainer.between, self.copies)
            self._write(trainer.step, made)
            if trainer.stop is not None:
                break
        trainer.writer.status(phase="training")

    def _write(self, step: int, made: Sample) -> None:
        """The record of a sample of that step's weights, and what is to be said of it."""
        for kind, message in (each for each in made.alarms if each[0] == "sample"):
            self.trainer.writer.event("alarm", step, alarm=kind, message=message)
        if made.record is not None:
            self.trainer.writer.sample(step=step, **made.record)
        for kind, message in (each for each in made.alarms if each[0] != "sample"):
            self.trainer.writer.event("alarm", step, alarm=kind, message=message)

    def write_made(self) -> None:
        """Those that have been made beside training."""
        for step, made in self.beside.told():
            self._write(step, made)

    def wait(self) -> None:
        """Wait for the samples that are being made beside training; on leaving they are given up."""
        if self.beside.busy:
            self.trainer.writer.status(phase="sampling")
        while self.beside.busy and not self.trainer.leaving:
            self.trainer.commands.wait(0.1)
            self.trainer.between()
        self.beside.give_up()
        self.write_made()
