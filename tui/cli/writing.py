"""Where text comes from: a checkpoint loaded here, or the trainer at work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.errors import UserError
from tui.cli.output import complain

if TYPE_CHECKING:
    from pathlib import Path

    from engine.model.gpt import GPT
    from engine.runs.layout import RunDir
    from engine.sampling.settings import SamplingSettings
    from engine.text.template import Template
    from engine.tokenizers.base import Tokenizer

LIVE = "live"


@dataclass(frozen=True)
class Written:
    """A finished text: what the model added to the prompt, and how it ended."""

    text: str
    tokens: int
    stop_reason: str
    seed: int | None
    tokens_per_second: float
    step: int | None = None


Writer = Callable[[str, "SamplingSettings"], Iterator["str | Written"]]


@dataclass(frozen=True)
class Source:
    """Whose weights write, and how they are held."""

    run: RunDir
    checkpoint: str = "best"
    int8: bool = False
    corpora: Path | None = None

    def load(self) -> tuple[GPT, Tokenizer, int]:
        """(model, tokenizer, step) of the checkpoint; what 8 bits cost is told on stderr.

        Raises CheckpointError when there is no such checkpoint or it is damaged, UserError where 8 bits cannot be.
        """
        from engine.training.checkpoint import load_model

        model, tokenizer, step = load_model(self.run, self.checkpoint, say=complain)
        if self.int8:
            from engine.plan.int8 import in_int8

            complain(in_int8(self.run, model, tokenizer, self.corpora))
        return model, tokenizer, step


def open_writer(source: Source) -> Writer:
    """A function that writes: pieces of text as they come, then `Written`.

    Raises as `Source.load` does, and RunError when nobody trains the run.
    """
    if source.checkpoint != LIVE:
        return loaded_writer(source)
    if source.int8:
        raise UserError("a trainer at work writes with its own weights; --int8 is for a checkpoint, e.g. last")
    return live_writer(source.run)


def loaded_writer(source: Source) -> Writer:
    """Writes with a checkpoint's weights, in this process."""
    from engine.sampling.generate import Done, generate

    model, tokenizer, step = source.load()

    def write(prompt: str, settings: SamplingSettings) -> Iterator[str | Written]:
        for piece in generate(model, tokenizer, prompt, settings):
            if isinstance(piece, Done):
                yield Written(piece.text, piece.tokens, piece.stop_reason, piece.seed, piece.tokens_per_second, step)
            else:
                yield piece.text

    return write


def side_by_side(source: Source, prompt: str, settings: SamplingSettings, num: int) -> Iterator[Written]:
    """`num` texts with a checkpoint's weights, in batches. Raises as `open_writer` does."""
    from engine.sampling.generate import BATCH, SEEDS, generate_many
    from engine.sampling.rules import fresh_seed

    model, tokenizer, step = source.load()
    first = fresh_seed() if settings.seed is None else settings.seed
    for start in range(0, num, BATCH):
        batch = settings.replace(seed=(first + start) % SEEDS)
        for done in generate_many(model, tokenizer, prompt, batch, min(BATCH, num - start)):
            yield Written(done.text, done.tokens, done.stop_reason, done.seed, done.tokens_per_second, step)


def search(
    source: Source, prompt: str, settings: SamplingSettings, num: int, beams: int, length_penalty: float
) -> list[Written]:
    """The `num` likeliest texts that `beams` beams find, best first. Raises as `open_writer` does."""
    from engine.sampling.beam import beam_search

    if source.checkpoint == LIVE:
        raise UserError("a trainer at work writes without beams; name a checkpoint, e.g. --checkpoint last")
    model, tokenizer, step = source.load()
    began = time.perf_counter()
    found = beam_search(model, tokenizer, prompt, settings, beams, num=num, length_penalty=length_penalty)
    rate = sum(len(beam.ids) for beam in found) / max(1e-9, time.perf_counter() - began)
    return [Written(beam.text, len(beam.ids), beam.stop_reason, None, rate, step) for beam in found]


def live_writer(run: RunDir) -> Writer:
    """Writes with the weights that are being trained, through the trainer's socket."""
    from engine.control import ControlClient

    client = ControlClient(run)

    def write(prompt: str, settings: SamplingSettings) -> Iterator[str | Written]:
        pieces: list[str] = []
        for line in client.prompt(prompt, settings.to_dict()):
            if "piece" in line:
                pieces.append(str(line["piece"].get("text", "")))
                yield pieces[-1]
            elif "done" in line:
                yield from_line(line["done"], "".join(pieces))
            elif "error" in line:
                raise UserError(str(line["error"]))

    return write


def from_line(done: dict[str, Any], text: str) -> Written:
    """The end of a text as a trainer tells it."""
    return Written(
        str(done.get("text", text)),
        int(done.get("tokens", 0)),
        str(done.get("stop_reason", "")),
        done.get("seed"),
        float(done.get("tokens_per_second", 0.0)),
        done.get("step"),
    )


def run_template(run: RunDir) -> Template | None:
    """The prompt template of the corpus the run was trained on, if it has one."""
    from engine.errors import CorpusError, RunError
    from engine.runs.status import read_info
    from engine.text.template import Template

    tree = read_info(run).get("template")
    try:
        return Template.from_dict(tree) if tree is not None else None
    except CorpusError as error:
        raise RunError(f"run {run.name} is damaged: {run.run_json}: {error}; --raw leaves the template out") from None
