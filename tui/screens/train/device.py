"""The device pane: how busy, how full, how fast, and the numbers of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tui.screens.train.machine import machine_rows
from tui.screens.train.ranks import rank_rows, ranks_line
from tui.state.machine import Gpu, Load, MachineWatch
from tui.state.summary import Latest
from tui.text import MISSING, Part, clean, fmt_bytes, fmt_count, fmt_duration, fmt_loss, fmt_lr, fmt_percent, width_of
from tui.widgets.meter import bar
from tui.widgets.paint import Painted
from tui.widgets.pane import Pane
from tui.widgets.rows import cut
from tui.widgets.sparkline import spark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

LABEL = 6
COLUMN = 13  # cells of the first figure of a line, where the second begins
SAID = 14  # cells for words after a gauge
CELL = 16
LEAST_RUN = 8  # rows of the run itself above those of the machine
MEMORY_PARTS = (("weights", "train"), ("gradients", "val"), ("optimizer", "series-2"), ("activations", "good"))
SHORT = {"gradients": "grads", "optimizer": "optim", "activations": "activ."}


@dataclass(frozen=True)
class Device:
    """Everything the pane shows. The series are 1-D, oldest first."""

    now: Latest = field(default_factory=Latest)
    gpu: Gpu | None = None
    load: Load | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    peak: int | None = None
    lr: Any = ()
    grad_norm: Any = ()
    tokens_per_s: Any = ()
    params: int | None = None
    train_tokens: int | None = None
    eval_s: float | None = None
    elsewhere: str = ""
    named: tuple[tuple[str, str], ...] = ()
    watch: MachineWatch | None = None
    """Where the pane stands alone: the whole machine is shown too."""


class DeviceView(Painted):
    """Paints a `Device`, the most telling rows first when there is little room."""

    DEFAULT_CSS = "DeviceView { height: 1fr; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self._device = Device()

    def show(self, device: Device) -> None:
        self._device = device
        self.repaint()

    def paint(self, width: int, height: int) -> list[list[Part]]:
        watch, several = self._device.watch, self._device.now.several
        if watch is None:
            return device_rows(self._device, width, height)
        parts: list[list[list[Part]]] = []
        if several is not None:
            parts.append(rank_rows(several, width, height - LEAST_RUN - 1))
        if watch.machine is not None:
            own = frozenset() if watch.pid is None else several.pids if several is not None else frozenset({watch.pid})
            parts.append(machine_rows(watch.machine, watch.hour, width, own))
        rows = device_rows(self._device, width, max(LEAST_RUN, height - sum(len(part) + 1 for part in parts)))
        return [*rows, *(row for part in parts for row in ([], *part))][:height]


class DevicePane(Pane, can_focus=True):
    scope = "device"
    title = "device"
    about: ClassVar[str] = (
        "How busy the device is and where its memory goes: weights, gradients, "
        "optimizer state, activations. Below, the learning rate, the norm of the "
        "gradient before clipping (a spike is a warning), and tokens a second. "
        "ppl is e to the val loss; bpb, bits per byte, compares across tokenizers. "
        "Alone (z) it shows the whole machine: every GPU with its processes, the cores, "
        "memory and disk, with the last hour of each. Of several processes that train the "
        "run it shows each: its own work for a step (without waiting for the others), its memory, how "
        "many times the others' that work is; ! marks one that keeps the others waiting, ✖ one that is lost."
    )

    def compose(self) -> ComposeResult:
        yield DeviceView()

    def show(self, device: Device) -> None:
        self.query_one(DeviceView).show(device)


def device_rows(device: Device, width: int, height: int) -> list[list[Part]]:
    """At most `height` rows of `width` cells; each has a rank, and those ranked last are left out first."""
    ranked: list[tuple[float, list[Part]]] = []

    def add(rank: float, row: list[Part]) -> None:
        ranked.append((rank, cut(row, width)))

    now = device.now
    add(3, _compute(device, width))
    add(4, _memory(device, width))
    if device.memory:
        add(11, _split_bar(device.memory, width))
        for row in _split_words(device.memory, width):
            add(6, row)
    if now.several is not None:
        add(4.5, ranks_line(now.several, _label("ranks"), width))
    add(13, [])
    if device.now.lr is not None:
        add(5, _trend("lr", device.lr, fmt_lr(now.lr), width))
        add(7, _trend("|g|", device.grad_norm, f"{now.grad_norm:.2f}" if now.grad_norm is not None else MISSING, width))
        add(8, _trend("tok/s", device.tokens_per_s, fmt_count(now.tokens_per_s), width))
        add(14, [])
    for rank, row in zip((1, 2), _losses(now, width), strict=True):
        add(rank, row)
    add(15, [])
    for rank, row in zip((9, 10, 12), _facts(device, width), strict=True):
        add(rank, row)
    kept = sorted(rank for rank, _ in ranked)[:height]
    limit = kept[-1] if kept else 0
    rows = [row for rank, row in ranked if rank <= limit][:height]
    while rows and not rows[-1]:
        rows.pop()
    return rows


def _label(text: str) -> Part:
    return f"{text:<{LABEL}}", "dim"


def _gauge(label: str, fraction: float | None, said: str, width: int) -> list[Part]:
    size = max(4, width - LABEL - 6 - len(said))
    filled, empty = bar(fraction or 0.0, size)
    alarm = fraction is not None and fraction > 0.95 and label == "mem"
    percent = "!" + fmt_percent(fraction).strip() if alarm else fmt_percent(fraction)
    return [
        _label(label),
        (filled, "alarm" if alarm else "train"),
        (empty, "rule"),
        (f" {percent:>4} ", "alarm bold" if alarm else "bright"),
        (said, "foreground"),
    ]


def _compute(device: Device, width: int) -> list[Part]:
    gpu = device.gpu
    if gpu is not None:
        heat = f"{gpu.temperature:3.0f}°C" if gpu.temperature is not None else ""
        power = f"{gpu.power:5.0f} W" if gpu.power is not None else ""
        return _gauge("gpu", gpu.utilization, f" {heat}{power}".ljust(SAID), width)
    if device.load is not None:
        return _gauge("cpu", device.load.cpu, " " * SAID, width)
    return [_label("cpu"), (clean(device.elsewhere, keep_newlines=False) or MISSING, "dim")]


def _memory(device: Device, width: int) -> list[Part]:
    used, total = device.now.mem_bytes, None
    if device.gpu is not None:
        used, total = device.gpu.memory_used or used, device.gpu.memory_total
    elif device.load is not None:
        used, total = device.load.memory, device.load.memory_total
    if not total:
        return [_label("mem"), (fmt_bytes(used), "bright")]
    return _gauge("mem", used / total if used else None, f" {fmt_bytes(used)}".ljust(SAID), width)


def _split_bar(memory: Mapping[str, int], width: int) -> list[Part]:
    total = sum(memory.get(name, 0) for name, _ in MEMORY_PARTS) or 1
    size = width - LABEL
    row: list[Part] = [_label("")]
    drawn, shown = 0, 0
    for name, look in MEMORY_PARTS:
        shown += memory.get(name, 0)
        until = round(size * shown / total)
        row.append(("▂" * (until - drawn), look))
        drawn = until
    return row


def _split_words(memory: Mapping[str, int], width: int) -> list[list[Part]]:
    cells: list[list[Part]] = []
    wide = width >= LABEL + 4 * CELL
    gap = 4 if width >= LABEL + (4 if wide else 2) * (CELL + 3) else 1
    for name, look in MEMORY_PARTS:
        words = f"{SHORT.get(name, name):<8}{short_bytes(memory.get(name, 0)):>5}"
        cells.append([("▪ ", look), (words[:8], "dim"), (words[8:], "foreground"), (" " * gap, "")])
    rows = [cells] if wide else [cells[:2], cells[2:]]
    lines = [[part for cell in row for part in cell][:-1] for row in rows]
    return [[_label(""), *line] if LABEL + width_of(line) <= width else line for line in lines]


def short_bytes(size: int) -> str:
    """`20.4M`: a size in binary units without the words, for four of them in a row."""
    return fmt_bytes(size).replace(" ", "").replace("iB", "")


def _trend(label: str, values: Any, said: str, width: int) -> list[Part]:
    size = max(4, width - LABEL - 9)
    drawn = spark(values, size, "max")
    return [_label(label), (drawn, "band"), (" " * (size - len(drawn)), ""), (f"{said:>9}", "bright")]


def _fitting(width: int, *groups: list[Part]) -> list[Part]:
    """The groups that fit `width` one after the other: rather none of a figure than a part of it."""
    row: list[Part] = []
    for group in groups:
        if row and width_of(row) + width_of(group) > width:
            break
        row += group
    return row


def _losses(now: Latest, width: int) -> list[list[Part]]:
    best = fmt_loss(now.best_loss) if now.best_step is not None else MISSING
    at = f" @{now.best_step:,}" if now.best_step is not None else ""
    ppl = f"{np.exp(min(now.val_loss, 50.0)):.4g}" if now.val_loss is not None else MISSING
    bpb = f"{now.val_bpb:.3f}" if now.val_bpb is not None else MISSING
    train, val = (f"{fmt_loss(loss):<{COLUMN}}" for loss in (now.loss, now.val_loss))
    return [
        _fitting(width, [_label("train"), (train, "train")], [("best ", "dim"), (best, "good")], [(at, "good")]),
        _fitting(
            width,
            [_label("val"), (val, "val")],
            [("ppl ", "dim"), (f" {ppl:<7}", "bright")],
            [("bpb ", "dim"), (bpb, "bright")],
        ),
    ]


def _facts(device: Device, width: int) -> list[list[Part]]:
    now = device.now
    epochs = now.tokens / device.train_tokens if now.tokens and device.train_tokens else None
    seen = f"{fmt_count(now.tokens)} tokens"
    first: list[Part] = [_label("model"), (f"{fmt_count(device.params)} params".ljust(COLUMN), "bright")]
    if epochs is not None:
        said = f"{epochs:.2f} epochs" if epochs < 100 else f"{fmt_count(epochs)} epochs"
        both = f"{seen} · {said}"
        seen = both if width_of(first) + len("seen ") + len(both) <= width else said
    first = _fitting(width, first, [("seen ", "dim"), (seen, "foreground")])
    second: list[Part] = [_label("time"), (fmt_duration(now.train_s).ljust(COLUMN), "bright")]
    if device.eval_s is not None:
        second += [("eval ", "dim"), (f"{fmt_duration(device.eval_s):<8}", "foreground")]
    peak: list[Part] = [("peak ", "dim"), (fmt_bytes(device.peak), "foreground")] if device.peak else []
    if width_of(second) + width_of(peak) <= width:
        second += peak
    third: list[Part] = [_label("run")]
    for label, value in device.named:
        part: list[Part] = [(clean(value, keep_newlines=False), "foreground"), (f" {label}  ", "dim")]
        if width_of(third) + width_of(part) <= width + 2:
            third += part
    return [first, second, third]
