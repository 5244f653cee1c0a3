"""`tinytui profile` and `tune`: what a training needs, tried on the real model and text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import UserError
from tui.cli.options import ConfigFile, CorporaDir, CorpusArgument, DeviceName, Json, Preset, Sets
from tui.cli.output import print_facts, print_json, print_table, progress, say
from tui.cli.setup import KINDS, Setup, make_setup, time_facts
from tui.cli.train import gather

app = typer.Typer(help="Find a learning rate or a micro-batch by trying.", no_args_is_help=True)


def on_setup(work: Callable[[Setup, bool], None]) -> Callable[..., None]:
    """The command that does `work(setup, as_json)` with what the usual options name; it has `work`'s name and help."""

    def command(
        corpus: CorpusArgument,
        preset: Preset = None,
        config: ConfigFile = None,
        sets: Sets = None,
        device: DeviceName = "auto",
        corpora: CorporaDir = None,
        as_json: Json = False,
    ) -> None:
        work(prepare(corpus, preset, config, sets, device, corpora), as_json)

    command.__name__, command.__doc__ = work.__name__, work.__doc__
    return command


@on_setup
def profile(setup: Setup, as_json: bool) -> None:
    """Where a training step's memory and time go, part by part."""
    from engine.plan.profile import profile_run
    from tui.text import fmt_bytes, fmt_count

    setup.check()
    found = profile_run(*setup)
    told = setup.forecast(found.pace)
    if as_json:
        own = {"device": str(setup.device), "step_seconds": found.step_seconds, "forecast": told.to_dict()}
        print_json(asdict(found) | own)
        return
    kinds = (*KINDS, "total")
    rows = [[row.part, *(fmt_bytes(getattr(row, kind)) for kind in kinds)] for row in found.rows]
    sums = [fmt_bytes(sum(getattr(row, kind) for row in found.rows)) for kind in kinds]
    print_table(["part", *(f">{kind}" for kind in kinds)], [*rows, ["all", *sums]])
    typer.echo()
    print_facts(
        [
            ("device", setup.device),
            *time_facts(told, setup.config),
            ("forward", f"{1000 * found.forward_seconds:.1f} ms"),
            ("backward", f"{1000 * found.backward_seconds:.1f} ms"),
            ("update", f"{1000 * found.update_seconds:.1f} ms"),
            ("speed", f"{fmt_count(found.tokens_per_step / found.step_seconds)} tokens/s"),
            ("peak memory", fmt_bytes(found.peak_bytes)),
        ]
    )


@app.command()
def rate(
    corpus: CorpusArgument,
    preset: Preset = None,
    config: ConfigFile = None,
    sets: Sets = None,
    steps: Annotated[int, typer.Option("--steps", min=10, metavar="N", help="Rates tried, a step each.")] = 100,
    device: DeviceName = "auto",
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """A learning-rate range test: a step at each of many rates, and the one to take."""
    from engine.plan.tune import Rate, learning_rate_range, suggest

    setup = prepare(corpus, preset, config, sets, device, corpora)
    setup.check()
    rates: list[Rate] = []
    with progress("trying rates") as report:
        for each in learning_rate_range(*setup, steps=steps):
            rates.append(each)
            if report is not None:
                report("trying rates", len(rates) / steps)
    best = suggest(rates)
    if as_json:
        print_json({"rates": [asdict(each) for each in rates], "suggested": asdict(best) if best else None})
        return
    every = max(1, len(rates) // 12)
    print_table([">learning rate", ">loss"], ([f"{r.learning_rate:.2e}", f"{r.loss:.4f}"] for r in rates[::every]))
    if best is None:
        raise UserError("the loss is not finite at too many rates; begin lower, with --set train.learning_rate")
    say(f"\nlearning rate {best.learning_rate:.1e}: --set train.learning_rate={best.learning_rate:.1e}")
    if setup.config.train.optimizer == "muon":
        muon = best.scale * setup.config.train.muon_learning_rate
        say(f"and with it Muon's, {muon:.1e}: --set train.muon_learning_rate={muon:.1e}")


@app.command()
@on_setup
def batch(setup: Setup, as_json: bool) -> None:
    """The speed of every micro-batch that makes up the same whole batch, until one does not fit."""
    from engine.plan.tune import batch_sizes
    from tui.text import fmt_count

    whole = setup.config.train.batch_size * setup.config.train.grad_accum
    trials = []
    with progress("trying batches") as report:
        for each in batch_sizes(*setup):
            trials.append(each)
            if report is not None:
                report("trying batches", each.batch_size / whole)
    if as_json:
        print_json([asdict(each) for each in trials])
        return
    print_table(
        [">batch_size", ">grad_accum", ">tokens/s", "problem"],
        (
            [t.batch_size, t.grad_accum, fmt_count(t.tokens_per_second) if not t.problem else None, t.problem]
            for t in trials
        ),
    )
    good = [each for each in trials if not each.problem]
    if good:
        best = max(good, key=lambda each: each.tokens_per_second)
        say(f"\nfastest: --set train.batch_size={best.batch_size} --set train.grad_accum={best.grad_accum}")


def prepare(
    corpus: str, preset: str | None, file: Path | None, sets: list[str] | None, device: str, corpora: Path | None
) -> Setup:
    """What the usual options name."""
    return make_setup(corpus, gather(preset, file, sets or []), device, corpora)
