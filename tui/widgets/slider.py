"""A number on one row: ` temperature ◂────●─────▸   0.80`.

    Slider("temperature", 0.8, TEMPERATURE)       0..2 by 0.05, fine 0.01
    Slider("top-k", 0, top_k_scale(vocab_size))   1..vocabulary on a log scale; right of it `off` (value 0)
    Slider("top-p", 1.0, TOP_P)                   0..1 by 0.05, fine 0.01; 1.00 is `off`
    Slider("min-p", 0.0, MIN_P)                   the same from the left: 0.00 is `off`
    slider.value                                  read; `slider.set_value(0.7)` sets it without a message
    on Slider.Changed(slider, value)              the reader changed it

Keys: ← → step, shift+← shift+→ fine, page up and down coarse, home and end. A digit starts typing a value, and where
there is an `off` its first letter does: enter takes it, escape gives up, a value out of range is refused and the range
said. Click or drag on the bar.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.text import Part, fit
from tui.widgets.paint import Painted

VALUE_WIDTH = 6
MIN_BAR = 5
MAX_TYPED = 12
_LADDER = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)


@dataclass(frozen=True)
class Scale:
    """The values a slider can take: `low`..`high`, in steps; `off` is a value with the word off at the right end.

    On a log scale, values are whole numbers, a step is the next of 1, 1.5, 2, 3, 4, 5, 7, 10, 15 …, a fine step is 1.
    An `off` outside low..high (0 for top-k) gets a position of its own, right of `high`.
    """

    low: float
    high: float
    step: float = 0.05
    fine: float = 0.01
    coarse: float = 0.25
    digits: int = 2
    log: bool = False
    off: float | None = None

    def text(self, value: float) -> str:
        """`value` as shown: `off`, `0.80`, `40`."""
        return "off" if value == self.off else f"{value:.{self.digits}f}"

    def clamp(self, value: float) -> float:
        """The nearest value that the scale has."""
        if value == self.off:
            return value
        return min(self.high, max(self.low, round(value, self.digits)))

    def fraction(self, value: float) -> float:
        """Where `value` lies on the bar, 0..1."""
        if value == self.off and self._off_right:
            return 1.0
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low) if self.high > self.low else 0.0
        return (value - self.low) / (self.high - self.low)

    @property
    def _off_right(self) -> bool:
        """Whether the right end is off, as for all but rules that begin at the left."""
        return self.off is not None and not self.low <= self.off < self.high

    def at(self, fraction: float) -> float:
        """The value at `fraction` of the bar; the right end is `off` where there is one, unless the left end is."""
        fraction = min(1.0, max(0.0, fraction))
        if fraction >= 1.0 and self.off is not None and self._off_right:
            return self.off
        if self.log:
            return self.clamp(round(self.low * (self.high / self.low) ** fraction))
        return self.clamp(round((self.low + fraction * (self.high - self.low)) / self.step) * self.step)

    def move(self, value: float, direction: int, size: str = "step") -> float:
        """The next value in `direction` (-1 or 1); `size` is fine, step or coarse."""
        outside = self.off is not None and not self.low <= self.off <= self.high
        if outside and value == self.off:
            assert self.off is not None
            return self.off if direction > 0 else self.high
        if outside and direction > 0 and value >= self.high:
            assert self.off is not None
            return self.off
        if not self.log:
            by = {"fine": self.fine, "step": self.step, "coarse": self.coarse}[size]
            # A step lands on the grid of its size, so that 0.83 goes to 0.85 or 0.80.
            steps = value / by
            grid = math.floor(steps + 1e-9) + 1 if direction > 0 else math.ceil(steps - 1e-9) - 1
            return self.clamp(grid * by)
        if size == "fine":
            return self.clamp(value + direction)
        for _ in range(3 if size == "coarse" else 1):
            value = self._rung(value, direction)
        return self.clamp(value)

    def _rung(self, value: float, direction: int) -> float:
        powers = range(int(math.log10(max(self.high, 1))) + 2)
        rungs = [float(int(mantissa * 10**power)) for power in powers for mantissa in _LADDER]
        if direction > 0:
            return min((rung for rung in rungs if rung > value), default=self.high)
        return max((rung for rung in rungs if rung < value), default=self.low)

    def parse(self, typed: str) -> float:
        """The value a reader typed. Raises ValueError with the range, in words, when the scale does not have it."""
        words = f"{_plain(self.low)} to {_plain(self.high)}" + (" or off" if self.off is not None else "")
        if typed.strip().lower() == "off" and self.off is not None:
            return self.off
        try:
            value = float(typed)
        except ValueError:
            raise ValueError(words) from None
        if value == self.off:
            return value
        if not self.low <= value <= self.high or (self.log and value != int(value)):
            raise ValueError(("whole, " if self.log else "") + words)
        return self.clamp(value)


def _plain(value: float) -> str:
    return f"{value:g}" if value < 1e5 else f"{value:.0f}"


TEMPERATURE = Scale(0.0, 2.0)
TOP_P = Scale(0.0, 1.0, off=1.0)
MIN_P = Scale(0.0, 1.0, off=0.0)
REPETITION = Scale(1.0, 2.0, off=1.0)
TOKENS = Scale(1, 4000, step=1, fine=1, coarse=1, digits=0, log=True)


def top_k_scale(vocab_size: int) -> Scale:
    """1..`vocab_size` on a log scale; off is 0."""
    return Scale(1.0, float(max(2, vocab_size)), step=1, fine=1, coarse=1, digits=0, log=True, off=0.0)


class Slider(Painted, can_focus=True):
    """One row of a number to turn; see the module's text for the keys."""

    DEFAULT_CSS = "Slider { height: 1; width: 1fr; min-width: 14; }"
    scope = "slider"
    BINDINGS: ClassVar[list[BindingType]] = bindings("slider")

    @dataclass
    class Changed(Message):
        """The reader set `slider` to `value`."""

        slider: Slider
        value: float

        @property
        def control(self) -> Slider:
            return self.slider

    class Typing(Message):
        """A value began to be typed, or was taken or given up."""

    def __init__(
        self,
        label: str,
        value: float,
        scale: Scale,
        *,
        label_width: int = 12,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.label, self.label_width = label, label_width
        self._scale = scale
        self._value = scale.clamp(value)
        self._typed: str | None = None
        self._refusal = ""
        self._dragging = False

    @property
    def value(self) -> float:
        """The value; `scale.off` when off."""
        return self._value

    @property
    def scale(self) -> Scale:
        """The values it can take; setting it keeps the value where the new scale has it."""
        return self._scale

    @scale.setter
    def scale(self, scale: Scale) -> None:
        self._scale = scale
        self.set_value(self._value)

    def set_value(self, value: float) -> None:
        """Set the value, clamped to the scale, without a message."""
        self._value = self._scale.clamp(value)
        self._typed, self._refusal = None, ""
        self.repaint()

    def _take(self, value: float) -> None:
        changed = value != self._value
        self.set_value(value)
        if changed:
            self.post_message(self.Changed(self, value))

    def action_move(self, direction: int, size: str = "step") -> None:
        self._take(self._scale.move(self._value, direction, size))

    def action_jump(self, end: int) -> None:
        self._take(self._scale.at(1.0) if end else self._scale.low)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "take":
            return self._typed is not None
        if action == "give_up":
            return self._typed is not None or bool(self._refusal)
        return True

    def action_take(self) -> None:
        self._commit()
        self.post_message(self.Typing())

    def action_give_up(self) -> None:
        self.set_value(self._value)
        self.post_message(self.Typing())

    def on_key(self, event: events.Key) -> None:
        if event.key == "backspace" and self._typed is not None:
            self._typed = self._typed[:-1] or None
        elif event.character and self._types(event.character.lower()):
            self._refusal = ""
            self._typed = ((self._typed or "") + event.character.lower())[:MAX_TYPED]
        else:
            return
        event.stop()
        event.prevent_default()
        self.repaint()
        self.post_message(self.Typing())

    def _types(self, character: str) -> bool:
        """Whether `character` is part of a value, or of the word off where there is one."""
        if character in "0123456789.":
            return True
        return self._scale.off is not None and (character == "o" or (self._typed is not None and character == "f"))

    def _commit(self) -> None:
        try:
            self._take(self._scale.parse(self._typed or ""))
        except ValueError as error:
            self._typed, self._refusal = None, str(error)
            self.repaint()

    def on_blur(self) -> None:
        """What is being typed is taken when the focus leaves; a value out of range is dropped."""
        if self._typed is not None:
            self._commit()
        self._refusal = ""

    # -- mouse

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1 and self._set_from(event.x):
            self._dragging = True
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragging:
            self._set_from(event.x, drag=True)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._dragging:
            self._dragging = False
            self.release_mouse()

    def _set_from(self, x: int, drag: bool = False) -> bool:
        """Set the value under column `x` of the bar; the arrows step. False when `x` is on neither."""
        start, size = self._bar_span(self.size.width)
        if not drag and x in (start - 1, start + size):
            self._take(self._scale.move(self._value, -1 if x < start else 1))
            return False
        if not drag and not start <= x < start + size:
            return False
        self._take(self._scale.at((x - start) / max(1, size - 1)))
        return True

    # -- drawing

    def _label_size(self, width: int) -> int:
        return min(self.label_width, max(0, width - MIN_BAR - VALUE_WIDTH - 5))

    def _bar_span(self, width: int) -> tuple[int, int]:
        """The column where the track begins and its cells; fixed for a width, whatever the value."""
        start = 1 + self._label_size(width) + 2
        return start, max(1, width - start - 2 - VALUE_WIDTH)

    def paint(self, width: int, height: int) -> list[list[Part]]:
        focused = self.has_focus
        _, size = self._bar_span(width)
        label_size = self._label_size(width)
        row: list[Part] = [("❯" if focused else " ", "train bold")]
        row.append((fit(self.label, label_size) + " ", "bright bold" if focused else "dim"))
        if self._refusal:
            row.append((fit(self._refusal, size + 2), "alarm bold"))
        else:
            at = round(self._scale.fraction(self._value) * (size - 1))
            lit = "train" if focused else "dim"
            row += [
                ("◂", lit),
                ("━" * at, "train" if focused else "band"),
                ("●", "train bold" if focused else "bright"),
            ]
            row += [("─" * (size - 1 - at), "rule"), ("▸", lit)]
        row.append((" ", ""))
        if self._typed is not None:
            row.append((f"{self._typed[1 - VALUE_WIDTH :] + '▏':>{VALUE_WIDTH}}", "bright bold on select"))
        else:
            shown = f"{self._scale.text(self._value):>{VALUE_WIDTH}}"
            row.append((shown, "bright bold" if focused else "bright"))
        return [row]
