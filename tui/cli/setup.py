"""What a run begins with, checked as for a training, and what it would need: `train --dry-run`, and all that tries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import UserError
from tui.cli.output import print_facts, print_json, progress

if TYPE_CHECKING:
    from torch import device as Device

    from engine.config import Config
    from engine.plan.forecast import Forecast
    from engine.plan.pace import Pace
    from engine.runs.layout import RunDir
    from engine.tokenizers.dataset import TokenDataset

KINDS = ("weights", "gradients", "optimizer", "activations")
"""What the memory of training is for."""


class Setup(NamedTuple):
    """What a run begins with: settings, tokens and device, checked as for a training."""

    config: Config
    dataset: TokenDataset
    device: Device

    def forecast(self, pace: Pace | None = None, processes: int = 1) -> Forecast:
        """What this run, or each of its processes, needs here, and how long it takes at a pace measured here."""
        from engine.plan.forecast import forecast
        from engine.telemetry import available_memory
        from engine.training.memory import choose_parallel

        available, of_gpu = available_memory()
        on_gpu = self.device.type == "cuda"
        vocab_size = self.dataset.tokenizer.vocab_size
        return forecast(
            self.config,
            vocab_size,
            len(self.dataset.train),
            available if of_gpu == on_gpu else None,  # beside a GPU the CPU's memory is not asked
            on_gpu,
            val_tokens=len(self.dataset.val),
            pace=pace,
            processes=processes,
            parallel=choose_parallel(self.config, vocab_size, str(self.device), processes),
        )

    def check(self) -> None:
        """Raises ConfigError for what is far too large to be tried here."""
        from engine.training.memory import check_memory

        check_memory(self.config, self.dataset.tokenizer.vocab_size, str(self.device))


def make_setup(
    corpus: str, config: Config, device: str, corpora: Path | None, base: tuple[RunDir, str] | None = None
) -> Setup:
    """A run with these settings; by the tokenizer of its `base` where it is fine-tuned."""
    from engine.text.catalog import find_corpus
    from engine.tokenizers.dataset import TokenDataset, material
    from engine.training.device import ready_device
    from engine.training.precision import settled

    where = ready_device(device, config.train.precision)
    tokenizer = None
    if base is not None:
        from engine.training.checkpoint import choose_checkpoint, load_checkpoint
        from engine.training.fork import check_base

        parent = load_checkpoint(choose_checkpoint(*base))
        check_base(base[0], parent, config)
        tokenizer = parent.tokenizer
    with progress("preparing") as report:
        text = material(find_corpus(corpus, corpora), progress=report)
        dataset = TokenDataset.open(text, config.data, progress=report, tokenizer=tokenizer)
    dataset.check(config.model.block_size, config.data.val_tokens)
    return Setup(settled(config, dataset, where)[0], dataset, where)


def show_forecast(setup: Setup, as_json: bool, processes: int = 1) -> None:
    """`train --dry-run`: what the run would need and how long it would take."""
    from engine.plan.measure import pace_of, problem
    from engine.training.step import make_step
    from tui.text import fmt_bytes, fmt_count

    told = setup.forecast(processes=processes)
    if told.fits is not False and processes == 1:
        try:
            told = replace(told, pace=pace_of(make_step(*setup), setup.dataset))
        except (MemoryError, RuntimeError) as error:  # PyTorch's own for want of memory are RuntimeErrors
            raise UserError(problem(error)) from None
    if as_json:
        print_json(told.to_dict() | {"device": str(setup.device), "precision": setup.config.train.precision})
        return
    fits = "" if told.fits is None else ", fits" if told.fits else ", does not fit"
    each = " each" if told.processes > 1 else ""
    parts = ", ".join(f"{kind} {fmt_bytes(getattr(told, kind))}" for kind in KINDS)
    print_facts(
        [
            ("device", setup.device),
            ("precision", setup.config.train.precision),
            ("processes", f"{told.processes:,}, {told.parallel}" if told.processes > 1 else None),
            ("parameters", f"{told.params:,}"),
            ("memory", f"{fmt_bytes(told.memory)}{each}{fits} ({parts})"),
            ("tokens", f"{fmt_count(told.tokens_per_step)} a step, {fmt_count(told.total_tokens)} in all"),
            ("epochs", f"{told.epochs:,.2f}" if told.epochs is not None else None),
            *time_facts(told, setup.config),
        ]
    )


def time_facts(told: Forecast, config: Config) -> list[tuple[str, str]]:
    """The run's time, in the words of the form."""
    from tui.state.estimate import SEVERAL, TOO_LARGE, time_words

    if told.pace is None:
        return [("time", SEVERAL if told.processes > 1 and told.fits is not False else TOO_LARGE)]
    return list(zip(("step", "whole run"), time_words(told, config.train.compile), strict=False))
