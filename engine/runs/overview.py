"""A run in a line, from its small files alone: what lists of runs show. NumPy is not loaded for it."""

from __future__ import annotations

import math
from typing import Any

from engine.errors import RunError
from engine.runs.layout import RunDir
from engine.runs.naming import read_note
from engine.runs.status import read_info, read_status


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
