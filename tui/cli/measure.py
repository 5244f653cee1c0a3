"""`tinytui profile` and `tinytui tune`: what a training needs, tried on the real model and text; nothing is kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import UserError
from tui.cli.options import ConfigFile, CorporaDir, CorpusArgument, DeviceName, Json, Preset, Sets
from tui.cli.output import print_facts, print_json, print_table, progress, say

if TYPE_CHECKING:
    from torch import device as Device

    from engine.config import Config
    from engine.text.dataset import TokenDataset

app = typer.Typer(help="Find a learning rate or a micro-batch by trying.", no_args_is_help=True)


def profile(
    corpus: CorpusArgument,
    preset: Preset = None,
    config: ConfigFile = None,
    sets: Sets = None,
    device: DeviceName = "auto",
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Where a training step's memory and time go, part by part."""
    from engine.training.profile import profile as measure
    from tui.text import fmt_bytes, fmt_count

    settings, dataset, where = prepare(corpus, preset, config, sets, device, corpora)
    found = measure(settings, dataset, where)
    if as_json:
        print_json(asdict(found) | {"device": str(where)})
        return
    kinds = ("weights", "gradients", "optimizer", "activations", "total")
    rows = [[row.part, *(fmt_bytes(getattr(row, kind)) for kind in kinds)] for row in found.rows]
    sums = [fmt_bytes(sum(getattr(row, kind) for row in found.rows)) for kind in kinds]
    print_table(["part", *(f">{kind}" for kind in kinds)], [*rows, ["all", *sums]])
    typer.echo()
    print_facts(
        [
            ("device", where),
            ("step", f"{1000 * found.step_seconds:.1f} ms"),
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
    from engine.training.tune import Rate, learning_rate_range, suggest

    settings, dataset, where = prepare(corpus, preset, config, sets, device, corpora)
    rates: list[Rate] = []
    with progress("trying rates") as report:
        for each in learning_rate_range(settings, dataset, where, steps=steps):
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
    if settings.train.optimizer == "muon":
        muon = best.scale * settings.train.muon_learning_rate
        say(f"and with it Muon's, {muon:.1e}: --set train.muon_learning_rate={muon:.1e}")


@app.command()
def batch(
    corpus: CorpusArgument,
    preset: Preset = None,
    config: ConfigFile = None,
    sets: Sets = None,
    device: DeviceName = "auto",
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """The speed of every micro-batch that makes up the same whole batch, until one does not fit."""
    from engine.training.tune import Trial, batch_sizes
    from tui.text import fmt_count

    settings, dataset, where = prepare(corpus, preset, config, sets, device, corpora)
    trials: list[Trial] = []
    with progress("trying batches") as report:
        for each in batch_sizes(settings, dataset, where):
            trials.append(each)
            if report is not None:
                report("trying batches", each.batch_size / (settings.train.batch_size * settings.train.grad_accum))
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
) -> tuple[Config, TokenDataset, Device]:
    """Settings, tokens and device, checked as for a training."""
    from engine.text.catalog import find_corpus
    from engine.text.dataset import TokenDataset
    from engine.training.device import choose_device
    from engine.training.precision import check_precision, set_matmul_precision
    from tui.cli.train import gather

    settings = gather(preset, file, sets or [])
    where = choose_device(device)
    check_precision(settings.train.precision, where)
    set_matmul_precision(settings.train.precision)
    with progress("preparing") as report:
        dataset = TokenDataset.open(
            find_corpus(corpus, corpora).prepare(progress=report), settings.data, progress=report
        )
    dataset.check(settings.model.block_size)
    return settings, dataset, where
