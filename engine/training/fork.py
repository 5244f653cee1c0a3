"""A new run from another run's checkpoint: what was until then is shared, what comes may differ."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.config import make_config
from engine.errors import CheckpointError, ConfigError, RunError, UserError
from engine.runs.layout import RunDir, create_run, new_name, remove_run
from engine.runs.writer import RunWriter
from engine.training.checkpoint import choose_checkpoint, verify_checkpoint
from engine.training.start import run_info


def fork_run(
    run: RunDir,
    which: str | int = "last",
    *,
    runs_dir: Path | None = None,
    name: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> RunDir:
    """A run that goes on from checkpoint `which` of `run`, with the curves and samples up to there.

    `changes` are settings of the training that differ from now on, such as `{"train.learning_rate": 1e-4}`. `run` stays
    as it is, and may be training. Raises CheckpointError, ConfigError or RunError, and then has made nothing.
    """
    info = run_info(run)
    checkpoint = choose_checkpoint(run, which)
    found = verify_checkpoint(checkpoint)
    if not found.ok:
        raise CheckpointError(f"checkpoint {checkpoint} cannot be forked: {found.problem}")
    fixed = [key for key in changes or {} if not key.startswith("train.")]
    if fixed:
        raise ConfigError(f"a fork keeps its model and its tokens: {fixed[0]} cannot change, only train. settings can")
    config = make_config(info["config"]).replace(changes or {})
    if config.train.max_steps <= found.step:
        raise RunError(f"checkpoint {found.step} is the end of the run; --steps {2 * found.step} would go beyond it")
    fork = create_run(
        runs_dir,
        name or new_name(runs_dir, run.name, "fork"),
        config,
        corpus=info["corpus"],
        preset=info.get("preset", ""),
        template=info.get("template"),
        tokenizer=info.get("tokenizer"),
        parent={"run": run.name, "step": found.step},
        environment=info.get("environment"),
    )
    try:
        _fill(fork, run, checkpoint, found.step, config.train.max_steps)
    except OSError as error:
        remove_run(fork)
        raise UserError(f"cannot fork {run.name}: {error.strerror or error}; make room and try again") from None
    except BaseException:
        remove_run(fork)
        raise
    return fork


def _fill(fork: RunDir, run: RunDir, checkpoint: Path, step: int, steps: int) -> None:
    shutil.copytree(checkpoint, fork.checkpoint(step))
    for source, target in ((run.metrics, fork.metrics), (run.samples, fork.samples)):
        if source.is_file():
            shutil.copyfile(source, target)
    with RunWriter(fork) as writer:
        writer.rewind(step)  # what the parent did beyond the checkpoint is not the fork's
        writer.event("forked", step, run=run.name)
        writer.status(state="stopped", step=step, steps=steps)
