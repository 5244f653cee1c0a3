"""Beginning a run, training it here, in the workbench or in the background, and the last words about it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tui.cli.output import is_terminal, print_json, progress, say
from tui.state import detached
from tui.state.detached import how_to, shown_path
from tui.terminal.signals import PROCESS

if TYPE_CHECKING:
    from engine.config import Config
    from engine.runs.layout import RunDir
    from engine.training.host import TrainingHost
    from engine.training.processes import Processes


def begin(
    corpus: str,
    config: Config,
    runs: Path,
    *,
    preset: str,
    name: str | None = None,
    corpora: Path | None = None,
    device: str = "auto",
    base: tuple[RunDir, str] | None = None,
    size: int = 1,
) -> RunDir:
    """A new run, ready to train; what takes time (tokens of a large text) is told on a terminal's stderr.

    Raises before anything is made when the device is not here, or cannot compute as asked.
    """
    from engine.runs.status import read_info
    from engine.training.device import ready_device
    from engine.training.start import start_run

    ready_device(device, config.train.precision)
    with progress("preparing") as report:
        run = start_run(
            corpus,
            config,
            runs,
            name=name,
            preset=preset,
            corpora_dir=corpora,
            device=device,
            base=base,
            progress=report,
            ranks=size,
        )
    if left_out := (read_info(run).get("corpus") or {}).get("left_out"):
        say(f"left out of {corpus}: {left_out}", err=True)
    return run


def go_on(run: RunDir, steps: int | None, device: str | None) -> None:
    """Make a run that stopped ready to be trained again, to `steps` and on another `device` where given."""
    from engine.runs.lock import locked
    from engine.runs.status import read_config
    from engine.training.device import ready_device
    from engine.training.start import resume_run

    if run.live:
        raise locked(run.path)
    if device is not None:
        ready_device(device, read_config(run).train.precision)
    resume_run(run, max_steps=steps, device=device)


def train_here(run: RunDir, corpora: Path | None, as_json: bool = False, quiet: bool = False) -> int:
    """Train in this process' worker thread and show it on stdout, unless `quiet`; the exit code."""
    from engine import process
    from engine.training.host import TrainingHost

    return show_training(TrainingHost(run, corpora_dir=corpora, in_group=process.rank() == 0), as_json, quiet)


def show_training(host: TrainingHost | Processes, as_json: bool = False, quiet: bool = False) -> int:
    """Train and show it on stdout, unless `quiet`, to its end; the exit code."""
    from tui.cli.follow import cursor_while_stopped, follow
    from tui.cli.newest import Newest
    from tui.cli.views import Lines, ProgressLine, Records, Silence, View

    run = host.run
    newest = Newest(run)
    newest.poll()
    with PROCESS.watching() as signals:
        view: View
        if quiet:
            view = Silence()
        else:
            view = Records(run) if as_json else ProgressLine(newest) if is_terminal() else Lines(newest)
        try:
            with cursor_while_stopped() if isinstance(view, ProgressLine) else nullcontext():
                host.start()
                return follow(host, newest, view, signals)
        finally:
            view.close()


def leave(run: RunDir, runs: Path, as_json: bool, size: int = 1, restarts: int = 0) -> None:
    """Train `run` in the background; returns once that process has the run."""
    pid = detached.leave(run, runs, size, restarts)
    if as_json:
        print_json({"name": run.name, "path": str(run.path), "pid": pid})
    else:
        for line in detached.left_words(run, runs, pid):
            say(line)


def end(run: RunDir, runs: Path, code: int, *, as_json: bool = False, demo: bool = False) -> None:
    """Say how the run ended and what can be done with it now; ends the command with `code` when that is not 0."""
    if not as_json:
        show_end(run, runs, demo)
    if code:
        raise typer.Exit(code)


def show_end(run: RunDir, runs: Path, demo: bool) -> None:
    """The last samples, the figures, and the command to go on with."""
    from engine.runs.lines import newest
    from engine.runs.reader import RunReader
    from engine.runs.summary import summary
    from tui.text import fmt_duration, fmt_loss

    facts = summary(run)
    if facts["state"] == "finished":
        reader = RunReader(run)
        reader.poll()
        for sample in newest(reader.samples):
            say("\n" + f"{sample.get('prompt', '')}{sample.get('text', '')}".strip("\n") + "\n")
    best, at = facts["best_val_loss"], facts["best_val_step"]
    val = "" if best is None or at is None else f", val loss {fmt_loss(best)} at step {at:,}"
    took = fmt_duration(facts.get("train_seconds"))
    say(f"{run.name}: {facts['state']} at step {facts['step']:,} of {facts['steps']:,}{val}, {took} of training")
    if facts["state"] == "finished":
        say(f"prompt it with: {how_to('sample', run, runs)} --prompt TEXT")
        more = f" --steps {2 * facts['step']}" if facts["step"] >= facts["steps"] else ""  # else it stopped early
        say(f"train it longer with: {how_to('train --resume', run, runs)}{more}")
    else:
        say(f"go on with: {how_to('train --resume', run, runs)}")
    if demo:
        say(f"the run lies in {shown_path(run)}")
