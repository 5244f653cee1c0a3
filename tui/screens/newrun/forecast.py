"""What a run will need, in lines beside the form."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tui.state.estimate import SEVERAL, TOO_LARGE, PaceWatch, time_words
from tui.text import Part, Row, clean, fmt_bytes, fmt_count, lines_of

if TYPE_CHECKING:
    from engine.config import Config
    from engine.plan.forecast import Forecast
    from tui.state.kit import Expected


def forecast_rows(
    config: Config,
    expected: Expected,
    memory: tuple[int | None, bool] | None,
    pace: PaceWatch,
    width: int,
    processes: int = 1,
    whole: tuple[int | None, bool] | None = None,
) -> list[Row]:
    """Time, memory and size of a run with these settings and such tokens; the pace is looked after.

    `memory` is what is free on the device and whether that is a GPU, `whole` all that it has.
    """
    from engine.plan.forecast import forecast
    from engine.training.memory import choose_parallel

    vocab_size = expected.vocab_size
    parallel = choose_parallel(config, vocab_size, "", processes, whole or (None, False))
    told = forecast(
        config,
        vocab_size,
        expected.tokens,
        *(memory or (None, False)),
        val_tokens=expected.val_tokens,
        processes=processes,
        parallel=parallel,
    )
    pace.look_at(None if told.fits is False or processes > 1 else config, vocab_size)
    told = replace(told, pace=pace.pace)
    epochs = f"{told.epochs:,.2f}" if told.epochs is not None else "–"
    fits: Part = ("", "")
    if told.fits is not None:
        fits = ("✔ fits", "good") if told.fits else ("✖ does not fit" if width >= 38 else "✖ no room", "alarm")
    where = "" if memory is None else " of the GPU" if memory[1] else ""
    each: list[tuple[str, str, Part]] = []
    if processes > 1:
        where = " of each GPU" if where else " a process"
        each = [("processes", f"{processes:,}", (parallel, "dim"))]
    made: list[tuple[str, str, Part]] = []
    if expected.settings:
        made = [("vocabulary", f"{vocab_size:,}", (f"{config.data.tokenizer} tokens", "dim"))]
    figures: list[tuple[str, str, Part]] = [
        *made,
        ("parameters", fmt_count(told.params), ("", "")),
        *each,
        ("memory each" if each else "memory", fmt_bytes(told.memory), fits),
        ("  free now", fmt_bytes(told.available), (where.strip(), "dim")),
        ("  weights", fmt_bytes(told.weights), ("", "")),
        ("  gradients", fmt_bytes(told.gradients), ("", "")),
        ("  optimizer", fmt_bytes(told.optimizer), ("", "")),
        ("  activations", fmt_bytes(told.activations), ("", "")),
        ("tokens a step", fmt_count(told.tokens_per_step), ("", "")),
        ("tokens in all", fmt_count(told.total_tokens), ("", "")),
        ("epochs", epochs, ("", "")),
        ("flops in all", f"{told.flops_per_step * config.train.max_steps:.2g}", ("", "")),
    ]
    return [
        *([(f"{label:<14}", "dim"), (f"{value:>9}", "bright"), (" ", ""), mark] for label, value, mark in figures),
        *_time(told, config, pace, width),
    ]


def _time(told: Forecast, config: Config, pace: PaceWatch, width: int) -> list[Row]:
    """The run's time, measured on this machine, or what keeps it from being known."""
    if told.fits is False:
        return [[(TOO_LARGE, "dim")]]
    if told.processes > 1:
        return [[(SEVERAL, "dim")]]
    if told.pace is None:
        return [[(clean(line, keep_newlines=False), "dim")] for line in lines_of(pace.said, width)]
    first, *more = time_words(told, config.train.compile)
    rows: list[Row] = [[(line, "accent")] for line in lines_of(first, width)]
    return rows + [[(line, "foreground")] for each in more for line in lines_of(each, width)]
