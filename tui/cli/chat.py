"""`tinytui chat`: a conversation with a run's model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from engine.errors import UserError
from tui.cli.options import Run, RunsDir
from tui.cli.output import complain, is_terminal, pour, say
from tui.cli.sample import DEFAULT, Checkpoint, Int8, MinP, Penalty, Seed, Stop, Temperature, Tokens, TopK, TopP
from tui.terminal.signals import PROCESS

if TYPE_CHECKING:
    from engine.sampling.chat import Chat


def chat(
    run: Run,
    tokens: Tokens = DEFAULT.max_tokens,
    temperature: Temperature = DEFAULT.temperature,
    top_k: TopK = DEFAULT.top_k,
    top_p: TopP = DEFAULT.top_p,
    min_p: MinP = DEFAULT.min_p,
    repetition_penalty: Penalty = DEFAULT.repetition_penalty,
    seed: Seed = None,
    stop: Stop = None,
    checkpoint: Checkpoint = "best",
    int8: Int8 = False,
    runs: RunsDir = Path("runs"),
) -> None:
    """Talk with a run's model. /reset forgets what was said, /quit or Ctrl-D ends."""
    from engine.config import typed
    from engine.runs.layout import find_run
    from engine.sampling.chat import Chat
    from engine.sampling.settings import SamplingSettings
    from tui.cli.writing import Source, run_template

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
    found = find_run(run, runs)
    model, tokenizer, step = Source(found, checkpoint, int8).load()
    if is_terminal():
        say(f"{found.name} at step {step:,}; /reset forgets what was said, /quit or Ctrl-D ends")
    talk(Chat(model, tokenizer, run_template(found), settings))


def talk(chat: Chat) -> None:
    """Lines from stdin, answers to stdout, until the input ends."""
    for line in lines():
        if line.strip() in ("/quit", "/exit"):
            return
        if line.strip() == "/reset":
            chat.clear()
            if is_terminal():
                say("(forgotten)")
        elif line.strip():
            answer(chat, line)


def lines() -> Iterator[str]:
    """What is typed, with line editing and history on a terminal; the lines of stdin elsewhere."""
    if not (is_terminal() and is_terminal(sys.stdin)):
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    import readline  # noqa: F401 - gives input() its line editing

    while True:
        try:
            yield input("> ")
        except EOFError:
            typer.echo()
            return


def answer(chat: Chat, line: str) -> None:
    """Stream the answer to one line; Ctrl-C ends the answer, not the conversation."""
    from engine.sampling.generate import Piece

    try:
        pieces = chat.say(line)
    except UserError as error:
        complain(str(error))
        return
    try:
        for piece in pieces:
            if isinstance(piece, Piece) and piece.text:
                pour(piece.text)
    except KeyboardInterrupt:
        PROCESS.interrupted = False
        del pieces
    typer.echo()
