"""What a run's small files say, and what its state truly is: what its status says, unless its trainer is dead.

Lists of runs are made of it, so NumPy is not loaded here.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, RunError
from engine.machine import hostname
from engine.runs.layout import FORMAT, RunDir, list_runs
from engine.runs.lock import is_locked, read_owner
from engine.runs.schema import DamagedError, Info, Note, Status, decode, load, problems_of, read_bytes

if TYPE_CHECKING:
    from engine.config import Config

ALIVE = ("running", "paused")
"""States that claim a living trainer."""

SILENCE = 120.0
"""Seconds without a heartbeat after which a trainer on another machine counts as dead; clocks may differ by as much."""

IMPORTED = "imported"
"""What stands for a preset in a run that others trained."""


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when there is none, or it cannot be read."""
    try:
        value = decode(read_bytes(path))
    except (OSError, ValueError, DamagedError):
        return None
    return value if isinstance(value, dict) else None


def read_info(run: RunDir) -> dict[str, Any]:
    """`run.json`. Raises RunError naming what is damaged in it, or that a later program wrote it."""
    try:
        info = load(run.file("run.json"), Info)
    except FileNotFoundError:
        raise RunError(f"{run.path} is not a run: it has no run.json; see tinytui runs list") from None
    except DamagedError as error:
        later = (read_json(run.run_json) or {}).get("format")
        if not isinstance(later, int) or later <= FORMAT:
            raise DamagedError(f"run {run.name} is damaged: {error}; restore that file from a copy") from None
        info = {"format": later}
    if info.get("format", FORMAT) > FORMAT:
        raise RunError(f"run {run.name} was written by a later tinytui; update tinytui to open it")
    return info


def read_config(run: RunDir) -> Config:
    """The run's settings. Raises RunError when run.json is damaged, ConfigError naming a setting that cannot be."""
    from engine.config import make_config  # not for those who only look

    try:
        return make_config(read_info(run)["config"])
    except ConfigError as error:
        raise ConfigError(f"{run.run_json}: {error}") from None


def check_trained_here(run: RunDir) -> None:
    """Raises RunError for an imported run: it has no corpus to go on with."""
    if read_info(run).get("preset") == IMPORTED:
        raise RunError(f"run {run.name} was imported; train it on text with tinytui train CORPUS --from {run.name}")


def read_said(run: RunDir) -> tuple[dict[str, Any] | None, str]:
    """What status.json says, None where there is none, and what is damaged in it; that is left out."""
    file = run.file("status.json")
    try:
        value = decode(read_bytes(file))
    except FileNotFoundError:
        return None, ""
    except DamagedError as error:
        return {}, str(error)
    except ValueError as error:
        return {}, f"{file}: {error}"
    wrong = problems_of(value, Status)
    if not isinstance(value, dict):
        return {}, f"{file}: {wrong['']}"
    return (
        {name: field for name, field in value.items() if name not in wrong},
        f"{file}: {next(iter(wrong.values()))}; left out" if wrong else "",
    )


def read_status(run: RunDir) -> dict[str, Any]:
    """status.json with `state` made true: a run whose trainer died is `crashed`, and has a `problem` that says so.

    `heartbeat` is its last sign of life, in Unix seconds. A run that was created and never trained is `new`. What is
    damaged in the file is left out, and is a `problem`.
    """
    return true_status(run, *read_said(run))


def true_status(run: RunDir, said: dict[str, Any] | None, damage: str = "") -> dict[str, Any]:
    """As `read_status`, from what `read_said` gave."""
    if said is None:
        return {"state": "running" if run.live else "new", "step": 0}
    status = dict(said)
    if damage:
        status["problem"] = damage
    if "state" not in status:
        status["state"] = "running" if run.live else "failed" if damage else "stopped"
        if status["state"] == "failed":
            status["problem"] = f"{damage}; go on with tinytui train --resume {run.name}"
    elif status["state"] in ALIVE and not _breathing(run, status):
        again, _ = read_said(run)  # it may have ended properly between our two looks
        if again is not None and again.get("state", "running") not in ALIVE:
            return again
        pid = status.get("pid", "?")
        status["state"] = "crashed"
        status["problem"] = f"its process {pid} ended without a word; resume with tinytui train --resume {run.name}"
    return status


def _breathing(run: RunDir, status: dict[str, Any]) -> bool:
    """Whether the trainer lives: on its own machine the lock decides, for another one its last heartbeat.

    A heartbeat far in the future is as dead as one of the past: a clock was moved since.
    """
    locked = is_locked(run.lock)
    if locked:
        return True
    if locked is False and (status.get("host") or read_owner(run.lock).get("host")) == hostname():
        return False
    heartbeat = status.get("heartbeat")
    return heartbeat is not None and abs(time.time() - heartbeat) < SILENCE


def runs_that_need(names: Iterable[str], runs_dir: Path | None = None) -> list[RunDir]:
    """The runs in `runs_dir` whose corpus has one of these names, the most recently active first; a small file each.

    Without it they cannot be gone on with, nor evaluated. Those whose description cannot be read are left out.
    """
    wanted, found = set(names), []
    for run in list_runs(runs_dir):
        with contextlib.suppress(RunError):
            if (read_info(run).get("corpus") or {}).get("name") in wanted:
                found.append(run)
    return found


def read_note(run: RunDir) -> str:
    """What was noted of a run; "" where nothing was, or what was cannot be read."""
    try:
        return str(load(run.file("note.json"), Note)["text"])
    except (OSError, DamagedError):
        return ""


# -- a run in a line: what lists of runs show ------------------------------------------------------------------------


def overview(run: RunDir) -> dict[str, Any]:
    """What a list of runs shows, from run.json and status.json alone: cheap for hundreds of runs.

    `learning_rate` is the peak that was set, `heartbeat` when the trainer last gave a sign of life, in Unix seconds.
    The fields of `summary` but `checkpoints` and `copied`; those that only the logs know are None until the trainer
    tells them in its status.
    """
    try:
        return facts_of(run, read_info(run), read_status(run))
    except RunError as error:
        return facts_of(run, {}, {}) | {"state": "damaged", "problem": str(error)}


def facts_of(run: RunDir, info: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    """The facts of a run from what its small files hold."""
    config = info.get("config") or {}
    last = status.get("last_val_loss")
    facts = {
        "name": run.name,
        "path": str(run.path),
        "state": status.get("state"),
        "problem": status.get("problem") or None,
        "step": status.get("step", 0),
        "steps": status.get("steps") or (config.get("train") or {}).get("max_steps"),
        "params": status.get("params"),
        "tokens": status.get("tokens"),
        "best_val_loss": status.get("best_val_loss"),
        "best_val_step": status.get("best_val_step"),
        "last_val_loss": last,
        "val_perplexity": perplexity(last),
        "val_bits_per_byte": status.get("last_val_bpb"),
        "train_seconds": status.get("train_seconds"),
        "eval_seconds": status.get("eval_seconds"),
        "peak_memory_bytes": status.get("peak_memory_bytes"),
        "corpus": (info.get("corpus") or {}).get("name"),
        "preset": info.get("preset"),
        "seed": info.get("seed"),
        "parent": info.get("parent"),
        "created": info.get("created"),
        "device": status.get("device"),
        "heartbeat": status.get("heartbeat"),
        "learning_rate": _setting(config, "learning_rate"),
        "note": read_note(run),
    }
    facts["tokens_per_second"] = rate(facts)
    return facts


def rate(facts: dict[str, Any]) -> float | None:
    """Tokens a second over all training."""
    tokens, seconds = facts["tokens"], facts["train_seconds"]
    return round(tokens / seconds, 1) if tokens and seconds else None


def perplexity(loss: float | None) -> float | None:
    """exp(loss), None where there is no loss or no number for it."""
    return None if loss is None or not loss < 700 else math.exp(loss)


def _setting(config: dict[str, Any], name: str) -> float | None:
    """A number among the settings of training."""
    value = (config.get("train") or {}).get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
