"""The device pane: how busy, how full, how fast, and the numbers of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tui.actions import DEVICE
from tui.machine import Load
from tui.panes.pane import Pane
from tui.rows import Part, cut, width_of
from tui.text import MISSING, clean, fmt_bytes, fmt_count, fmt_duration, fmt_loss, fmt_lr, fmt_percent
from tui.view import Latest
from tui.widgets.meter import bar
from tui.widgets.paint import Painted
from tui.widgets.sparkline import spark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textual.app import ComposeResult

LABEL = 6
MEMORY_PARTS = (("weights", "train"), ("gradients", "val"), ("optimizer", "series-2"), ("activations", "good"))
SHORT = {"gradients": "grads", "optimizer": "optim", "activations": "activ."}


@dataclass(frozen=True)
class Device:
    """Everything the pane shows. The series are 1-D, oldest first."""

    now: Latest = field(default_factory=Latest)
    gpu: Mapping[str, Any] | None = None
    load: Load | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    peak: int | None = None
    lr: Any = ()
    grad_norm: Any = ()
    tokens_per_s: Any = ()
    params: int | None = None
    train_tokens: int | None = None
    eval_s: float | None = None
    named: tuple[tuple[str, str], ...] = ()


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
        return device_rows(self._device, width, height)


class DevicePane(Pane, can_focus=True):
    scope = DEVICE
    title = "device"
    about: ClassVar[tuple[str, ...]] = (
        "How busy the device is and where its memory goes: weights, gradients,",
        "optimizer state, activations. Below, the learning rate, the norm of the",
        "gradient before clipping (a spike is a warning), and tokens a second.",
        "ppl is e to the val loss; bpb, bits per byte, compares across tokenizers.",
    )

    def compose(self) -> ComposeResult:
        yield DeviceView()

    def show(self, device: Device) -> None:
        self.query_one(DeviceView).show(device)


def device_rows(device: Device, width: int, height: int) -> list[list[Part]]:
    """At most `height` rows of `width` cells; each has a rank, and those ranked last are left out first."""
    ranked: list[tuple[int, list[Part]]] = []

    def add(rank: int, row: list[Part]) -> None:
        ranked.append((rank, cut(row, width)))

    now = device.now
    add(3, _compute(device, width))
    add(4, _memory(device, width))
    if device.memory:
        add(11, _split_bar(device.memory, width))
        for row in _split_words(device.memory, width):
            add(6, row)
    add(13, [])
    if device.now.lr is not None:
        add(5, _trend("lr", device.lr, fmt_lr(now.lr), width, from_zero=True))
        add(7, _trend("|g|", device.grad_norm, f"{now.grad_norm:.2f}" if now.grad_norm is not None else MISSING, width))
        add(8, _trend("tok/s", device.tokens_per_s, fmt_count(now.tokens_per_s), width, from_zero=True))
        add(14, [])
    for rank, row in zip((1, 2), _losses(now), strict=True):
        add(rank, row)
    add(15, [])
    for rank, row in zip((9, 10, 12), _facts(device), strict=True):
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
    if device.gpu:
        said = "".join(
            f" {value:>{size}.0f}{unit}"
            for key, size, unit in (("temperature", 3, "°C"), ("power", 4, " W"))
            if isinstance(value := device.gpu.get(key), int | float)
        )
        return _gauge("gpu", device.gpu.get("utilization"), f"{said:<14}"[:14], width)
    return _gauge("cpu", device.load.cpu if device.load else None, " " * 14, width)


def _memory(device: Device, width: int) -> list[Part]:
    used, total = device.now.mem_bytes, None
    if device.gpu:
        total = device.gpu.get("memory_total")
    elif device.load:
        used, total = device.load.memory, device.load.memory_total
    said = f" {fmt_bytes(used)}" if total is None else f" {fmt_bytes(used)} of {fmt_bytes(total)}"
    said = f"{said:<22}" if width > 48 else f" {fmt_bytes(used):<13}"
    return _gauge("mem", used / total if used and total else None, said, width)


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
    room = (width - LABEL) // 2 if width < 64 else (width - LABEL) // 4
    cells: list[list[Part]] = []
    for name, look in MEMORY_PARTS:
        size = fmt_bytes(memory.get(name, 0))
        cell: list[Part] = [("▪ ", look), (f"{SHORT.get(name, name):<8}", "dim"), (f"{size:>8}", "foreground")]
        cells.append([*cell, (" " * max(1, room - width_of(cell)), "")])
    if width >= 84:
        return [[_label(""), *(part for cell in cells for part in cell)]]
    return [[_label(""), *cells[0], *cells[1]], [_label(""), *cells[2], *cells[3]]]


def _trend(label: str, values: Any, said: str, width: int, *, from_zero: bool = False) -> list[Part]:
    size = max(4, width - LABEL - 9)
    series = np.asarray(values, dtype=np.float64)
    drawn = spark(series, size, "max", from_zero)
    return [_label(label), (drawn, "train"), (" " * (size - len(drawn)), ""), (f"{said:>9}", "bright")]


def _losses(now: Latest) -> list[list[Part]]:
    best = f"{fmt_loss(now.best_loss)} @{now.best_step:,}" if now.best_step is not None else MISSING
    ppl = f"{np.exp(min(now.val_loss, 50.0)):.4g}" if now.val_loss is not None else MISSING
    bpb = f"{now.val_bpb:.3f}" if now.val_bpb is not None else MISSING
    return [
        [_label("train"), (f"{fmt_loss(now.loss):<10}", "train"), ("best ", "dim"), (best, "good")],
        [
            _label("val"),
            (f"{fmt_loss(now.val_loss):<10}", "val"),
            ("ppl  ", "dim"),
            (f"{ppl:<8}", "bright"),
            ("bpb ", "dim"),
            (bpb, "bright"),
        ],
    ]


def _facts(device: Device) -> list[list[Part]]:
    now = device.now
    epochs = now.tokens / device.train_tokens if now.tokens and device.train_tokens else None
    first: list[Part] = [_label("model"), (f"{fmt_count(device.params) + ' params':<15}", "bright")]
    first += [("seen ", "dim"), (f"{fmt_count(now.tokens)} tokens", "foreground")]
    if epochs is not None:
        first.append((f" · {epochs:.2f} epochs", "foreground"))
    second: list[Part] = [_label("time"), (f"{fmt_duration(now.train_s):<15}", "bright")]
    if device.eval_s is not None:
        second += [("eval ", "dim"), (f"{fmt_duration(device.eval_s):<7}", "foreground")]
    if device.peak:
        second += [("peak ", "dim"), (fmt_bytes(device.peak), "foreground")]
    third: list[Part] = [_label("run")]
    for label, value in device.named:
        third += [(clean(value, keep_newlines=False), "foreground"), (f" {label}  ", "dim")]
    return [first, second, third]


