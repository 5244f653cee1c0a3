"""A form of many one-line fields in one widget: type to change, arrows to move and to choose.

A field is entered with its value selected: the first character typed replaces it, an editing key edits it. `/` is text
where a path or a prompt is typed; elsewhere it asks for a setting by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from tui.actions import bindings
from tui.text import Part, clean, fit, width_of
from tui.widgets.lineedit import LineEdit
from tui.widgets.listed import Listed

LABEL = 19
VALUES = (8, 20)
"""Fewest and most cells of the column of values; it is as wide as the longest of them."""
WORDS = 28
"""Cells in which the beginning of a description says something; all of the focused field's stands elsewhere."""


@dataclass(frozen=True)
class Field:
    """`value` is what it starts with; `choices` are turned through with ← →; `free` ones may also be typed. `prose`
    holds any character, `/` too."""

    key: str
    label: str
    value: str
    about: str = ""
    bounds: str = ""
    choices: tuple[str, ...] = ()
    free: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Heading:
    """A line between fields."""

    text: str


@lru_cache(1024)
def _cells(value: str) -> int:
    """Cells that a value takes."""
    return width_of([(clean(value, keep_newlines=False), "")])


class SettingsForm(Listed):
    """Shows fields and headings; what was typed is kept by key and marked where it differs from the start value."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("form")
    scope = "form"

    @dataclass
    class Changed(Message):
        """The value of `key` changed."""

        key: str

    class Moved(Message):
        """Another field is being edited."""

    class Finding(Message):
        """A field is to be found by its name."""

    class Submitted(Message):
        """Enter on the last line of the main part."""

    def __init__(self) -> None:
        super().__init__()
        self._fields: list[Field | Heading] = []
        self._starts: dict[str, str] = {}
        self._typed: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        self._row = 0
        self._top = 0
        self._lines: dict[str, LineEdit] = {}
        self._fresh = True
        """Whether the field was just entered: a character replaces the value, any other key edits it from its end."""

    # -- content -------------------------------------------------------------------------------------------------------

    def set_fields(self, fields: Sequence[Field | Heading], typed: Mapping[str, str]) -> None:
        """Replace the form; `typed` values stand over those the fields start with."""
        self._fields = list(fields)
        self._starts = starts = {field.key: field.value for field in fields if isinstance(field, Field)}
        self._typed = {key: text for key, text in typed.items() if key in starts and text != starts[key]}
        self._row = min(self._row, len(self._fields) - 1)
        self._enter()
        self.repaint()

    def update_field(self, key: str, **changes: Any) -> None:
        """Give a field other choices, or another start value; what is being typed is not disturbed."""
        for row, field in enumerate(self._fields):
            if isinstance(field, Field) and field.key == key:
                self._fields[row] = field = replace(field, **changes)
                self._starts[key] = field.value
                if self._typed.get(key) == field.value:
                    del self._typed[key]
                if key == self.key and self._fresh:
                    self._enter()
                self.repaint()

    def go_to(self, key: str) -> None:
        """Edit the field `key`."""
        for row, field in enumerate(self._fields):
            if isinstance(field, Field) and field.key == key:
                self._edit(row)

    def typed(self) -> dict[str, str]:
        """What differs from the start values, by key."""
        return dict(self._typed)

    def value(self, key: str) -> str:
        """The present value of a field; empty when there is no such field."""
        return self._typed[key] if key in self._typed else self._starts.get(key, "")

    def set_errors(self, errors: Mapping[str, str]) -> None:
        """Mark these fields as wrong."""
        if errors != self.errors:
            self.errors = dict(errors)
            self.repaint()

    @property
    def fields(self) -> list[Field]:
        """All fields, from the top."""
        return [field for field in self._fields if isinstance(field, Field)]

    @property
    def keys(self) -> list[str]:
        """The keys of all fields, from the top."""
        return [field.key for field in self._fields if isinstance(field, Field)]

    @property
    def field(self) -> Field | None:
        """The field being edited."""
        row = self._fields[self._row] if self._row < len(self._fields) else None
        return row if isinstance(row, Field) else None

    @property
    def key(self) -> str:
        """The key of the field being edited."""
        return self.field.key if self.field is not None else ""

    def _set(self, text: str) -> None:
        field = self.field
        if field is None:
            return
        if text == field.value:
            self._typed.pop(field.key, None)
        else:
            self._typed[field.key] = text
        self.repaint()
        self.post_message(self.Changed(field.key))

    @property
    def line(self) -> LineEdit:
        """The value being edited; what was done to it is kept while the form is there."""
        value = self.value(self.key)
        if self.key not in self._lines or self._lines[self.key].text != value:
            self._lines[self.key] = LineEdit(value)
        return self._lines[self.key]

    # -- keys ----------------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        wanted = max(0, min(self._row + by, len(self._fields) - 1))
        step = 1 if by > 0 else -1
        while 0 <= wanted < len(self._fields) and isinstance(self._fields[wanted], Heading):
            wanted += step
        if 0 <= wanted < len(self._fields) and wanted != self._row:
            self._edit(wanted)

    def _edit(self, row: int) -> None:
        self._row = row
        self._enter()
        self.repaint()
        self.post_message(self.Moved())

    def action_turn(self, by: int) -> None:
        field = self.field
        if field is None:
            return
        value = self.value(field.key)
        typed = field.free and value and value not in field.choices
        if field.choices and not typed:
            at = field.choices.index(value) if value in field.choices else -1 if by > 0 else 0
            self._set(field.choices[(at + by) % len(field.choices)])
            self._enter()
        else:
            self.action_step(by)

    def action_step(self, by: int, select: bool = False) -> None:
        """The caret by a character."""
        self._go(lambda line: line.move(by, select=select))

    def action_word(self, by: int, select: bool = False) -> None:
        """The caret by a word."""
        self._go(lambda line: line.move(by, word=True, select=select))

    def action_edge(self, end: int, select: bool = False) -> None:
        self._go(lambda line: line.go(len(line.text) if end else 0, select=select))

    def action_all(self) -> None:
        """Select the whole value."""
        self._go(LineEdit.select_all)

    def _go(self, move: Callable[[LineEdit], object]) -> None:
        if self._editable():
            self._begin_edit()
            move(self.line)
            self.repaint()

    def _begin_edit(self) -> None:
        if self._fresh:
            self.line.go(len(self.line.text))
            self._fresh = False

    def _edit_line(self, edit: Callable[[LineEdit], object]) -> None:
        if self._editable():
            line, self._fresh = self.line, False
            edit(line)
            if line.text != self.value(self.key):
                self._set(line.text)
            else:
                self.repaint()

    def action_erase(self, by: int) -> None:
        self._begin_edit()
        self._edit_line(lambda line: line.erase(by))

    def action_erase_word(self, by: int) -> None:
        self._begin_edit()
        self._edit_line(lambda line: line.erase(by, word=True))

    def action_clear(self) -> None:
        self._edit_line(LineEdit.clear)

    def action_undo(self) -> None:
        """As the value was before; with nothing left to undo, as the form had it."""
        if self.field is not None and (not self._editable() or not self.line.undoable()):
            self.action_restore()
        else:
            self._edit_line(LineEdit.undo)

    def action_redo(self) -> None:
        self._edit_line(LineEdit.redo)

    def action_restore(self) -> None:
        """The value the form began with."""
        if self.field is not None:
            self._set(self.field.value)
            self._enter()

    def action_find(self) -> None:
        self.post_message(self.Finding())

    def action_enter(self) -> None:
        self.action_move(1)

    def on_key(self, event: events.Key) -> None:
        if event.character == "/" and self.field is not None and not self.field.prose:
            event.stop()
            event.prevent_default()
            self.action_find()
        elif event.character and event.is_printable and self._editable():
            event.stop()
            event.prevent_default()
            self._insert(event.character)
        elif event.character == " " and self.field is not None and self.field.choices:
            event.stop()
            self.action_turn(1)

    def on_paste(self, event: events.Paste) -> None:
        if self._editable():
            event.stop()
            self._insert(event.text.strip().replace("\n", "\\n"))

    def _insert(self, text: str) -> None:
        self._edit_line(lambda line: line.insert(text))

    def _editable(self) -> bool:
        return self.field is not None and (not self.field.choices or self.field.free)

    def _enter(self) -> None:
        self.line.select_all()
        self._fresh = True

    def on_click(self, event: events.Click) -> None:
        row = self._top + int(event.y)
        if row < len(self._fields) and isinstance(self._fields[row], Field):
            again = row == self._row
            self._edit(row)
            if again and self.field is not None and self.field.choices:
                self.action_turn(1)

    # -- drawing -------------------------------------------------------------------------------------------------------

    def paint(self, width: int, height: int) -> list[list[Part]]:
        around = 1 if height > 2 else 0  # a line before and one after are in sight
        self._top = max(min(self._top, self._row - around), self._row - height + 1 + around)
        self._top = max(0, min(self._top, len(self._fields) - height))
        label = LABEL if width >= LABEL + VALUES[0] + 4 else max(5, (width - 4) // 2)
        room = max(8, min(self._values_width(), width - label - 4))
        shown = range(self._top, min(self._top + height, len(self._fields)))
        return [self._line(index, width, label, room) for index in shown]

    def _line(self, index: int, width: int, label: int, room: int) -> list[Part]:
        row = self._fields[index]
        if isinstance(row, Heading):
            return [("  ", ""), (fit(f"── {row.text} ", width - 2).rstrip(), "dim")]
        focused = index == self._row
        ground = " on select" if focused else ""
        wrong = row.key in self.errors
        changed = row.key in self._typed
        value = clean(self.value(row.key), keep_newlines=False)
        parts: list[Part] = [("▌ " if focused else "  ", "accent" + ground)]
        parts.append((fit(row.label, label), ("bright" if focused else "dim") + ground))
        parts += self._value(row, value, room, focused, wrong, changed)
        rest = width - label - 2 - room
        about = self.errors[row.key] if wrong else row.about
        if rest > 12:
            said = f"✖ {about}" if wrong else f"  {about}" if rest >= WORDS else ""
            parts.append((fit(said, rest), ("alarm" if wrong else "dim") + ground))
        return parts

    def _values_width(self) -> int:
        """Cells of the column of values, with its mark before and a gap behind."""
        longest = max(map(_cells, (self._starts | self._typed).values()), default=0)
        return 4 + max(VALUES[0], min(VALUES[1], longest))

    def _value(self, row: Field, value: str, room: int, focused: bool, wrong: bool, changed: bool) -> list[Part]:
        ground = " on select" if focused else ""
        look = "alarm" if wrong else "accent" if changed else "bright"
        mark = "•" if changed else " "
        if focused and row.choices and not (row.free and self.value(row.key) not in row.choices):
            ways = (f"◂ {value} ▸", f"◂{value}▸", value)  # rather no arrows than half a name
            inner = next((way for way in ways if width_of([(way, "")]) <= room - 2), value)
            return [(f"{mark} ", look + ground), (fit(inner, room - 2), look + " bold" + ground)]
        if not focused:
            return [(f"{mark} ", look), (fit(value, room - 2), look)]
        return [(f"{mark} ", look + ground), *self._edited(room - 2, look, ground)]

    def _edited(self, room: int, look: str, ground: str) -> list[Part]:
        """The value with its caret or selection, from where the caret is in sight."""
        line = self.line
        before, chosen, after = (
            clean(text, keep_newlines=False)
            for text in (line.text[: line.selection[0]], line.selected, line.text[line.selection[1] :])
        )
        if not chosen:
            chosen, after = after[:1] or " ", after[1:]
        while before and width_of([(before + chosen[:1], "")]) > room - 1:
            before = before[1:]
        parts: list[Part] = []
        left = room
        for text, ending in (
            (before, ground),
            (chosen, " reverse" if line.selected else " reverse" + ground),
            (after, ground),
        ):
            shown = fit(text, left).rstrip() if width_of([(text, "")]) > left else text
            parts.append((shown, look + ending))
            left -= width_of([(shown, "")])
        parts.append((" " * max(0, left), look + ground))
        return parts
