"""`tinytui sample`: what a run's model writes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import UserError
from tui.cli.options import CorporaDir, Json, Run, RunsDir, at_home, complete_checkpoint
from tui.cli.output import pour, print_json, printable, say
from tui.cli.writing import LIVE, Source, Written, open_writer, run_template, search, side_by_side

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.sampling.settings import SamplingSettings

DEFAULT = SimpleNamespace(max_tokens=400, temperature=0.8, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0)
"""What `SamplingSettings` says too, which takes longer to load than help may."""
MOST_PROMPT = 16 << 20
"""Bytes of a prompt from standard input, which may never end."""

Checkpoint = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="best|last|STEP|live",
        help="Whose weights; live asks the trainer at work for its own.",
        autocompletion=complete_checkpoint,
    ),
]
Tokens = Annotated[int, typer.Option("--tokens", metavar="N", min=0, help="Most tokens to write.")]
Temperature = Annotated[float, typer.Option("--temperature", metavar="T", help="0 always takes the likeliest token.")]
TopK = Annotated[int, typer.Option("--top-k", metavar="K", help="Only the k likeliest tokens; 0 is off.")]
TopP = Annotated[
    float, typer.Option("--top-p", metavar="P", help="Only the likeliest that together reach p; 1 is off.")
]
MinP = Annotated[
    float, typer.Option("--min-p", metavar="P", help="Only tokens this likely relative to the likeliest; 0 is off.")
]
Penalty = Annotated[
    float,
    typer.Option("--repetition-penalty", metavar="R", help="Above 1 makes what was written less likely; 1 is off."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="The same seed writes the same text; unset: a new one.")
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help=r"Ends the text (\n is a line end, \t a tab); repeatable."),
]
Int8 = Annotated[
    bool, typer.Option("--int8", help="Matrices in 8 bits: quicker for large models; what it costs in loss is told.")
]
Raw = Annotated[bool, typer.Option("--raw", help="Give the prompt as it is, not in the corpus' template.")]


def sample(
    run: Run,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT|-", help="What to go on from; - reads standard input.")
    ] = None,
    tokens: Tokens = DEFAULT.max_tokens,
    temperature: Temperature = DEFAULT.temperature,
    top_k: TopK = DEFAULT.top_k,
    top_p: TopP = DEFAULT.top_p,
    min_p: MinP = DEFAULT.min_p,
    repetition_penalty: Penalty = DEFAULT.repetition_penalty,
    seed: Seed = None,
    num: Annotated[
        int, typer.Option("--num", metavar="N", min=1, help="How many texts; the seed goes up by one for each.")
    ] = 1,
    beams: Annotated[
        int, typer.Option("--beams", metavar="N", min=1, help="Beam search instead of drawing, this wide.")
    ] = 1,
    length_penalty: Annotated[
        float | None,
        typer.Option(
            "--length-penalty",
            metavar="L",
            help="With --beams: above 0 longer texts score better, below worse; unset: 1.",
        ),
    ] = None,
    stop: Stop = None,
    raw: Raw = False,
    checkpoint: Checkpoint = "best",
    int8: Int8 = False,
    copied: Annotated[
        bool, typer.Option("--copied", help="Tell the longest passage that stands in the corpus word for word.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", callback=at_home, help="Write the text into a file.")
    ] = None,
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Write text with a run's model, as it comes. A corpus' template is applied, and the answer cut out."""
    from engine.config import typed
    from engine.files import check_output, open_output
    from engine.runs.layout import find_run
    from engine.sampling.settings import SamplingSettings

    settings = SamplingSettings(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        max_tokens=tokens,
        seed=seed,
        stop=tuple(map(typed, stop or ())),
    )
    if length_penalty is not None and beams == 1:
        raise typer.BadParameter("it is for beams: give --beams too, or leave it out", param_hint="--length-penalty")
    found = find_run(run, runs)
    if out is not None:
        check_output(out)
    asked = read_prompt(prompt) if prompt is not None else None
    template = None if raw else run_template(found)
    if template is not None:
        settings = settings.replace(stop=(*settings.stop, *template.stops))
    given = default_prompt(found) if asked is None else template.apply(asked) if template else asked
    quiet = as_json or out is not None
    source = Source(found, checkpoint, int8, corpora)
    texts: list[str] = []
    penalty = 1.0 if length_penalty is None else length_penalty
    for number, pieces in enumerate(streams(source, given, settings, num, beams, penalty)):
        if num > 1 and not quiet:
            typer.echo(f"{'' if number == 0 else chr(10)}--- {number + 1} of {num} ---")
        shown = "" if template and asked is not None else given
        written = show(pieces, shown, quiet)
        texts.append(shown + written.text)
        passage = copied_passage(found, corpora, written.text) if copied else None
        if as_json:
            record = as_record(asked if asked is not None else given, written)
            print_json(record | ({"copied": passage} if copied else {}), indent=2 if num == 1 else None)
        elif passage is not None:
            say(f"at most {len(passage):,} characters on end stand in the corpus: {passage!r}", err=True)
    if out is not None:
        whole = "\n---\n".join(text.rstrip("\n") + "\n" for text in texts)
        with open_output(out) as file:
            file.write((printable(whole) if file.isatty() else whole).encode("utf-8", "replace"))
        if not as_json:
            typer.echo(f"{printable(str(out))}: {len(texts)} text{'s' if len(texts) > 1 else ''}", err=True)


def streams(
    source: Source, prompt: str, settings: SamplingSettings, num: int, beams: int, length_penalty: float
) -> Iterator[Iterable[str | Written]]:
    """`num` texts, each as its pieces and its end; with a seed, text number i is drawn with seed + i.

    A single text comes as it is written. Several are decoded side by side, some at a time, which takes little longer
    than one; only a trainer at work writes one after the other.
    """
    if beams > 1 or (num > 1 and source.checkpoint != LIVE):
        whole = (
            search(source, prompt, settings, num, beams, length_penalty)
            if beams > 1
            else side_by_side(source, prompt, settings, num)
        )
        for written in whole:
            yield (written.text, written)
        return
    writer = open_writer(source)
    for number in range(num):
        yield writer(prompt, settings if settings.seed is None else settings.replace(seed=settings.seed + number))


def read_prompt(prompt: str) -> str:
    """The prompt itself, or with `-` standard input less its last newline. Raises UserError for what is no prompt."""
    if prompt != "-":
        return prompt
    data = sys.stdin.buffer.read(MOST_PROMPT + 1)
    if len(data) > MOST_PROMPT:
        raise UserError(f"standard input has more than {MOST_PROMPT >> 20} MiB, the most a prompt may have")
    try:
        return data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise UserError("standard input is not UTF-8 text; the prompt must be") from None


def default_prompt(run: RunDir) -> str:
    """What the run's own samples begin with."""
    from engine.runs.status import read_info

    settings: dict[str, Any] = read_info(run)["config"].get("train") or {}
    several = settings.get("sample_prompts") or [settings.get("sample_prompt")]
    return str(several[0] or "\n")


def show(pieces: Iterable[str | Written], begin: str, quiet: bool) -> Written:
    """Put pieces on stdout as they come (made visible on a terminal, raw otherwise); returns how the text ended."""
    last, begun = begin, False
    for piece in pieces:
        if begin and not (quiet or begun):  # not before the first piece: a prompt may be refused
            pour(begin)
        begun = True
        if isinstance(piece, Written):
            if not quiet and not last.endswith("\n"):
                typer.echo()
            return piece
        if piece and not quiet:
            pour(piece)
            last = piece
    raise UserError("the text ended without a word; is the run's trainer still there?")


def as_record(prompt: str, written: Written) -> dict[str, Any]:
    """The record of `sample --json`."""
    return {
        "prompt": prompt,
        "text": written.text,
        "tokens": written.tokens,
        "stop_reason": written.stop_reason,
        "seed": written.seed,
        "tokens_per_second": written.tokens_per_second,
        "step": written.step,
    }


def copied_passage(run: RunDir, corpora: Path | None, text: str) -> str:
    """The longest passage of `text` that the run's corpus has word for word. Raises CorpusError when that is gone."""
    from engine.sampling.overlap import longest_copied
    from engine.training.start import corpus_text

    found = longest_copied(text, corpus_text(run, corpora).path)
    return text[found.start : found.start + found.length]
