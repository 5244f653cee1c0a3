"""`--plain`: what the workbench shows, as lines that a screen reader reads in their order; nothing is drawn over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tui.cli.output import say
from tui.state.detached import how_to

if TYPE_CHECKING:
    from engine.runs.layout import RunDir

PERIOD = 0.25
"""Seconds between two looks at a run that is trained."""
LIVE = ("running", "paused")


def plain_runs(runs: Path) -> None:
    """All runs, a line each, and how one is opened."""
    from engine.runs.layout import list_runs
    from engine.runs.status import overview
    from tui.text import fmt_loss

    found = [overview(run) for run in list_runs(runs)]
    if not found:
        say(f"no runs in {runs} yet; tinytui demo trains a first one")
        return
    for facts in found:
        best = facts["best_val_loss"]
        val = f", best val loss {fmt_loss(best)} at step {facts['best_val_step']:,}" if best is not None else ""
        note = f", note: {facts['note']}" if facts.get("note") else ""
        say(f"{facts['name']}: {facts['state']}, step {facts['step'] or 0:,} of {facts['steps'] or 0:,}{val}{note}")
    say("open one with: tinytui open RUN --plain, train a new one with: tinytui train CORPUS")


def plain_run(run: RunDir, runs: Path) -> None:
    """A run's facts and newest samples; of one that is trained what happens, until it has ended."""
    from engine.runs.summary import summary
    from tui.cli.newest import Newest
    from tui.cli.runs import show_facts
    from tui.cli.views import Lines

    facts = summary(run)
    show_facts(run, facts)
    _show_samples(run)
    if facts["state"] in LIVE:
        say(
            f"it is trained now; Ctrl-C leaves it so, {how_to('runs stop', run, runs)} stops it; also pause, checkpoint"
        )
        newest = Newest(run)
        newest.poll()
        view = Lines(newest)
        while newest.status["state"] in LIVE:
            time.sleep(PERIOD)
            if newest.poll():
                view.update(newest)
        _show_samples(run)
        facts = summary(run)
        say(f"{run.name}: {facts['state']} at step {facts['step'] or 0:,} of {facts['steps'] or 0:,}")
    say(f"prompt it with: {how_to('sample', run, runs)} --prompt TEXT, talk with it: {how_to('chat', run, runs)}")


def _show_samples(run: RunDir) -> None:
    """The newest ones, each with its step before it."""
    from engine.runs.lines import newest
    from engine.runs.reader import RunReader

    reader = RunReader(run)
    reader.poll()
    for sample in newest(reader.samples):
        text = f"{sample.get('prompt', '')}{sample.get('text', '')}".strip("\n")
        say(f"\nsample at step {sample['step']:,}:\n{text}\n")
