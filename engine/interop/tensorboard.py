"""A run's figures for TensorBoard (extra `tensorboard`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.files import open_output_folder
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader


def export_tensorboard(run: RunDir, folder: Path, *, force: bool = False) -> int:
    """Write every logged figure of `run` as scalars, and its samples as text, into `folder`; returns the steps written.

    Raises UserError when TensorBoard is not installed or the folder cannot be written, or holds something and not
    `force`.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("TensorBoard is not installed; pip install 'tinytui[tensorboard]'") from None
    reader = RunReader(run)
    reader.poll()
    series = reader.series
    with open_output_folder(folder, force=force) as place, SummaryWriter(str(place)) as board:
        for name in ("loss", "lr", "grad_norm", "tokens_per_s"):
            _scalars(board, f"train/{name}", series.step, getattr(series, name))
        for name in ("val_loss", "val_bpb"):
            _scalars(board, f"val/{name.removeprefix('val_')}", series.val_step, getattr(series, name))
        for sample in reader.samples:
            board.add_text("sample", f"    {sample.get('text', '')}", int(sample.get("step", 0)))
    return len(series.step)


def _scalars(board: Any, name: str, steps: Iterable[int], values: Iterable[float]) -> None:
    for step, value in zip(steps, values, strict=True):
        if math.isfinite(value):
            board.add_scalar(name, float(value), int(step))
