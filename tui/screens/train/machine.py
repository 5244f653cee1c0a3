"""The whole machine, as the zoomed device pane shows it: GPUs with their processes, cores, memory, disk, an hour."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from tui.state.machine import Gpu, Machine
from tui.text import MISSING, Part, clean, fit, fmt_bytes, fmt_duration, fmt_percent, width_of
from tui.widgets.meter import bar
from tui.widgets.rows import cut
from tui.widgets.sparkline import spark

LABEL = 8
MOST_PROCESSES = 4
SOON = 3600.0
"""Seconds until a disk is full from which on that is a warning."""

Hour = Callable[[str], Sequence[float]]


def machine_rows(machine: Machine, hour: Hour, width: int, pids: Collection[int] = ()) -> list[list[Part]]:
    """The machine in rows of `width`; `pids` are the trainer's processes."""
    rows: list[list[Part]] = [[("this machine", "bright bold")]]
    for gpu in machine.gpus:
        rows += _gpu(gpu, hour, width, pids)
    busy = sum(machine.cores) / max(1, len(machine.cores))
    rows.append(_gauge("cpu", busy, f"{len(machine.cores)} cores", width))
    rows.append([_label("each"), (_levels(machine.cores, width - LABEL), "band")])
    rows.append([_label("hour"), (_levels(hour("cpu"), width - LABEL), "band")])
    if machine.memory_total:
        said = f"{fmt_bytes(machine.memory)} of {fmt_bytes(machine.memory_total)}"
        rows.append(_gauge("memory", machine.memory / machine.memory_total, said, width))
        rows.append([_label("hour"), (_levels(hour("memory"), width - LABEL), "band")])
    if machine.disk_total and machine.disk_free is not None:
        said = f"{fmt_bytes(machine.disk_free)} left"
        rows.append(_gauge("disk", 1 - machine.disk_free / machine.disk_total, said, width))
        if machine.full_in is not None:
            rows.append([_label(""), _full(machine.full_in)])
    return [cut(row, width) for row in rows]


def _gpu(gpu: Gpu, hour: Hour, width: int, pids: Collection[int]) -> list[list[Part]]:
    facts = [
        f"{gpu.temperature:.0f}°C" if gpu.temperature is not None else "",
        f"{gpu.power:.0f} W" if gpu.power is not None else "",
        f"{gpu.clock:,.0f} MHz" if gpu.clock is not None else "",
    ]
    rows = [_gauge(f"gpu {gpu.index}", gpu.utilization, "  ".join(filter(None, facts)), width)]
    rows.append([_label(""), (clean(gpu.name, keep_newlines=False), "dim")])
    if gpu.memory_total and gpu.memory_used is not None:
        said = f"{fmt_bytes(gpu.memory_used)} of {fmt_bytes(gpu.memory_total)}"
        rows.append(_gauge("memory", gpu.memory_used / gpu.memory_total, said, width))
    rows.append([_label("hour"), (_levels(hour(f"gpu {gpu.index}"), width - LABEL), "band")])
    processes = sorted(gpu.processes, key=lambda each: -(each.memory or 0))
    for each in processes[:MOST_PROCESSES]:
        mine = each.pid in pids
        owner = fit(each.owner or MISSING, 12)
        row: list[Part] = [_label(""), (f"{each.pid:>8} ", "bright" if mine else "dim"), (owner, "foreground")]
        row += [(f" {fmt_bytes(each.memory):>9} ", "foreground"), (clean(each.name, keep_newlines=False), "dim")]
        rows.append([*row, ("  this run", "good")] if mine else row)
    if len(processes) > MOST_PROCESSES:
        rows.append([_label(""), (f"{len(processes) - MOST_PROCESSES} more processes", "dim")])
    return [*rows, []]


def _full(seconds: float) -> Part:
    if seconds < SOON:
        return f"! full in {fmt_duration(seconds)} at this rate", "alarm bold"
    return f"full in {fmt_duration(seconds)} at this rate", "foreground"


def _label(text: str) -> Part:
    return f"{text:<{LABEL}}", "dim"


def _gauge(label: str, fraction: float | None, said: str, width: int) -> list[Part]:
    words = fit(said, 26) if width >= 60 else said
    size = max(4, width - LABEL - 7 - width_of([(words, "")]))
    filled, empty = bar(fraction or 0.0, size)
    parts: list[Part] = [_label(label), (filled, "train"), (empty, "rule"), (f" {fmt_percent(fraction)}  ", "bright")]
    return [*parts, (words, "foreground")]


def _levels(values: Sequence[float], width: int) -> str:
    """Shares of 0..1 as blocks, a full one for 1."""
    return spark(values, max(1, width), "max", top=1.0)
