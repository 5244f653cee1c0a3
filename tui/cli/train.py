"""`tinytui train`, `demo` and `open`: a run begun, gone on with, or looked at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine import process
from engine.errors import UserError
from tui.cli.launch import begin, end, go_on, leave, show_training, train_here
from tui.cli.options import (
    CORPUS,
    ConfigFile,
    CorporaDir,
    Json,
    PlainLines,
    Preset,
    Run,
    RunsDir,
    Sets,
    Steps,
    complete_corpus,
    complete_run,
)
from tui.cli.output import say
from tui.cli.workbench import has_screen, open_workbench
from tui.state import detached
from tui.state.detached import began_with
from tui.state.first import FIRST_CORPUS, first_config, first_start
from tui.terminal.signals import PROCESS

if TYPE_CHECKING:
    from engine.config import Config
    from engine.runs.layout import RunDir


def demo(steps: Steps = None, runs: RunsDir = Path("runs"), corpora: CorporaDir = None) -> None:
    """Train a first model at once, on synthetic clinical notes."""
    if has_screen():
        open_workbench(runs, corpora, job=first_start(steps))
        return
    preset, config = default_preset(), first_config(steps)
    run = begin(FIRST_CORPUS, config, runs, preset=preset, corpora=corpora)
    say(f"{run.name}: preset {preset} on {FIRST_CORPUS}, {config.train.max_steps:,} steps")
    end(run, runs, train_here(run, corpora, as_json=False), demo=True)


def train(
    ctx: typer.Context,
    corpus: Annotated[
        str | None,
        typer.Argument(
            metavar="CORPUS",
            help=CORPUS,
            autocompletion=complete_corpus,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="RUN", help="Go on where RUN stopped.", autocompletion=complete_run),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN[@STEP]", help="Fine-tune that run's model.", autocompletion=complete_run),
    ] = None,
    lora: Annotated[
        str | None, typer.Option("--lora", metavar="r=8,alpha=16", help="With --from: train low-rank adapters only.")
    ] = None,
    preset: Preset = None,
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="The run's name.")] = None,
    steps: Steps = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of weights, batches, dropout.")] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="auto|cpu|cuda[:i]", help="Where to train; unset: auto, or as begun."),
    ] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    detach: Annotated[bool, typer.Option("--detach", help="Train in the background; says how to open it.")] = False,
    nproc: Annotated[
        str | None,
        typer.Option("--nproc", metavar="N|gpu", help="Train with N processes, a device each; unset: as begun."),
    ] = None,
    restarts: Annotated[
        int, typer.Option("--restarts", metavar="R", min=0, help="With --nproc: begin again R times when one dies.")
    ] = 0,
    tui: Annotated[bool, typer.Option("--tui", help="Train in the workbench.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: say what the run would need, and how long it would take.")
    ] = False,
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    as_json: Json = False,
) -> None:
    """Train a model on a text. Ctrl-C stops with a checkpoint; --resume goes on exactly there."""
    if (rank := process.rank()) is not None:
        if nproc is not None or detach or tui or dry_run:
            ctx.fail("a launcher has started this as one of several: leave --nproc, --detach, --tui and --dry-run out")
        if rank > 0:
            follow_rank_0()
            return
    size = asked_for(nproc)
    if (corpus is None) == (resume is None):
        ctx.fail("name a CORPUS to train on, or --resume RUN, and not both")
    if detach and tui:
        ctx.fail("--detach and --tui contradict each other")
    if restarts and nproc is None and resume is None:
        ctx.fail("--restarts is for a training of several processes: give --nproc")
    if dry_run and (detach or tui or resume is not None):
        ctx.fail("--dry-run is for a new run, and trains nothing: leave --detach, --tui and --resume out")
    tui = tui and not PROCESS.hung_up  # a terminal that has gone since is trained on without
    if tui and not has_screen():
        raise UserError("--tui needs a terminal; without one leave it out, or use --detach")
    if resume is not None:
        new_only: dict[str, object] = {
            "--from": base,
            "--lora": lora,
            "--preset": preset,
            "--name": name,
            "--seed": seed,
        }
        new_only |= {"--config": config, "--set": sets}
        for option, value in new_only.items():
            if value not in (None, []):
                ctx.fail(f"a resumed run keeps its settings: leave {option} out, or fork it (tinytui runs fork)")
        train_on(resume, steps, device, detach, tui, runs, corpora, as_json, size, restarts)
        return
    if base is None and lora is not None:
        ctx.fail("--lora adapts a trained model: name it with --from RUN")
    if base is not None and preset is not None:
        ctx.fail("--from keeps the model of its run: leave --preset out")
    parent = None if base is None else base_of(base, runs)
    settings = gather(preset, config, sets or [], steps, seed, parent, lora)
    if dry_run:
        from engine.training.memory import check_shares
        from tui.cli.setup import make_setup, show_forecast

        check_shares(settings, size or 1)
        show_forecast(make_setup(str(corpus), settings, device or "auto", corpora, parent), as_json, size or 1)
        return
    chosen = preset or ("tuned" if parent else default_preset())
    if tui and device is None and parent is None:
        from tui.state.training import Start

        job = Start(str(corpus), settings, chosen, name, processes=size or 1, restarts=restarts)
        open_workbench(runs, corpora, job=job)
        return
    run = begin(
        str(corpus),
        settings,
        runs,
        preset=chosen,
        name=name,
        corpora=corpora,
        device=device or "auto",
        base=parent,
        size=size or process.group_size(),
    )
    train_begun(run, detach, tui, runs, corpora, as_json, size or 1, restarts)


def train_begun(
    run: RunDir, detach: bool, tui: bool, runs: Path, corpora: Path | None, as_json: bool, size: int, restarts: int
) -> None:
    """Train a run that is ready, here or in the background, by one process or several."""
    if tui:
        from tui.state.training import Resume

        open_workbench(runs, corpora, job=Resume(run, processes=size, restarts=restarts))
    elif detach:
        leave(run, runs, as_json, size, restarts)
    elif size > 1:
        code = show_training(detached.processes(run, runs, size, restarts), as_json)
        end(run, runs, code, as_json=as_json)
    else:
        end(run, runs, train_here(run, corpora, as_json), as_json=as_json)


def asked_for(nproc: str | None) -> int | None:
    """Processes that `--nproc` asks for; None where nothing is asked for."""
    if nproc is None or process.rank() is not None:
        return None
    from engine.errors import ConfigError
    from engine.telemetry import devices
    from tui.state.several import how_many

    try:
        return how_many(nproc, len(devices()) if nproc == "gpu" else 0)
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--nproc") from None


def follow_rank_0() -> None:
    """Train as one of several that a launcher started, all the others but the first: rank 0 has the run and decides."""
    import signal

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # rank 0 ends with a checkpoint
        signal.signal(each, signal.SIG_IGN)
    from engine.training.crew import follow

    follow()


def train_on(
    name: str,
    steps: int | None,
    device: str | None,
    detach: bool,
    tui: bool,
    runs: Path,
    corpora: Path | None,
    as_json: bool,
    size: int | None,
    restarts: int,
) -> None:
    """`train --resume`."""
    from engine.runs.layout import find_run

    run = find_run(name, runs)
    if size is None and process.rank() is None:
        size = began_with(run)
    if tui and device is None:
        from tui.state.training import Resume

        open_workbench(runs, corpora, job=Resume(run, steps, processes=size, restarts=restarts))
        return
    go_on(run, steps, device)
    train_begun(run, detach, tui, runs, corpora, as_json, size or 1, restarts)


def open_run(run: Run, runs: RunsDir = Path("runs"), corpora: CorporaDir = None, plain: PlainLines = False) -> None:
    """The workbench on a run, live or ended."""
    from engine.runs.layout import find_run

    if plain:
        from tui.cli.plain import plain_run

        plain_run(find_run(run, runs), runs)
        return
    open_workbench(runs, corpora, run=find_run(run, runs))


def base_of(text: str, runs: Path) -> tuple[RunDir, str]:
    """`RUN@STEP` as the run and which of its checkpoints; the best without a step."""
    from engine.runs.layout import find_run

    name, _, step = text.rpartition("@")
    return (find_run(name, runs), step) if name else (find_run(text, runs), "best")


def gather(
    preset: str | None = None,
    file: Path | None = None,
    sets: Iterable[str] = (),
    steps: int | None = None,
    seed: int | None = None,
    base: tuple[RunDir, str] | None = None,
    lora: str | None = None,
) -> Config:
    """The settings of a new run, from the preset (or the run that is fine-tuned) up to the options."""
    from engine.preset_files import load_preset, override

    if base is None:
        config = load_preset(preset or default_preset())
    else:
        from engine.training.fork import fine_tuning_config

        config = fine_tuning_config(*base)
    config = override(config, file, [*lora_sets(lora), *sets])
    changes = {"train.max_steps": steps, "train.seed": seed}
    return config.replace({key: value for key, value in changes.items() if value is not None})


def lora_sets(lora: str | None) -> list[str]:
    """`r=8,alpha=16` as settings; what is not named keeps its default, and the rank's is 8."""
    from engine.errors import ConfigError

    if lora is None:
        return []
    given = dict(part.strip().partition("=")[::2] for part in lora.split(",") if part.strip())
    if unknown := [name for name in given if name not in ("r", "alpha")]:
        raise ConfigError(f"--lora takes r and alpha, as in r=8,alpha=16, not {unknown[0]!r}")
    return [f"train.lora_{name}={value}" for name, value in {"r": "8", **given}.items()]


def default_preset() -> str:
    from engine.preset_files import DEFAULT_PRESET

    return DEFAULT_PRESET
