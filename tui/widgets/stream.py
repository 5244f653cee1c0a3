"""`OutputText`: text that grows, wrapped, with the prompt dim and the answer bright.

    out = OutputText(empty="the answer streams here; ctrl+r runs the prompt")
    out.start("First Citizen:")       # clear, show the prompt
    out.append("\\nBefore we ")         # a piece of the answer, raw: it is cleaned here
    out.set_text(answer, prompt="")   # both at once
    out.fail("no checkpoint yet")     # what went wrong, whole, under what was written
    out.answer, out.text              # what is shown, cleaned, without what went wrong
    out.following                     # whether the view keeps to the end

The view follows the end only while the reader is at the end; scrolled back, it stays and the border says that there is
more. An append wraps only the last line again and repaints only what changed. Mouse selection copies the text as it
was, not as it is wrapped; `y` copies the answer.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from tui.actions import bindings
from tui.text import Line, Part, clean, fit, nothing, wrap
from tui.widgets.paint import look_style


class OutputText(ScrollView, can_focus=True):
    """Streaming text; see the module's text."""

    DEFAULT_CSS = """
    OutputText {
        height: 1fr; width: 1fr; min-height: 1;
        overflow-x: hidden; overflow-y: auto;
        scrollbar-gutter: stable; scrollbar-size-vertical: 1;
    }
    """
    scope = "text"
    BINDINGS: ClassVar[list[BindingType]] = bindings("text")

    def __init__(
        self, *, empty: str = "", more: str = "↓ more · end", id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.empty, self.more = empty, more
        self._text = ""
        self._prompt_length = 0
        self._problem_at: int | None = None
        self._pending = ""
        self._lines: list[Line] = [(0, 0)]
        self._wrapped_width = 0
        self._following = True
        self._looks: dict[str, Style] = {}

    # -- text

    @property
    def text(self) -> str:
        """Prompt and answer, cleaned."""
        return self._text[: self._problem_at]

    @property
    def answer(self) -> str:
        """What came after the prompt, cleaned."""
        return self._text[self._prompt_length : self._problem_at]

    @property
    def failed(self) -> bool:
        """Whether it says that something went wrong."""
        return self._problem_at is not None

    @property
    def following(self) -> bool:
        """Whether the reader is at the end, so that the view goes along with new text."""
        return self._following

    def start(self, prompt: str = "") -> None:
        """Clear, show `prompt` dim, and keep to the end from there."""
        self.set_text("", prompt)
        self._following = True
        self._to_end()

    def clear(self) -> None:
        """Show the empty line."""
        self.set_text("")

    def set_text(self, answer: str, prompt: str = "") -> None:
        """Replace everything, from the beginning of the text."""
        shown = clean(prompt)
        self._text = shown + clean(answer)
        self._prompt_length = len(shown)
        self._problem_at = None
        self._pending = ""
        self.border_subtitle = ""
        self._wrap_all()
        self.scroll_to(y=0, animate=False, force=True)
        self._following = self.max_scroll_y == 0

    def append(self, piece: str) -> None:
        """Add a piece of the answer. A carriage return at its end waits for what follows it."""
        piece = self._pending + piece
        self._pending = "\r" if piece.endswith("\r") else ""
        self._add(clean(piece[:-1] if self._pending else piece))

    def finish(self) -> None:
        """The answer is complete."""
        self._add(clean(self._pending))
        self._pending = ""

    def fail(self, problem: str) -> None:
        """Say what went wrong, whole, under what was written so far."""
        self.finish()
        if self._problem_at is None:
            self._problem_at = len(self._text)
        self._add(("\n\n" if self._text else "") + "✖ " + clean(problem))

    def _add(self, piece: str) -> None:
        """Put clean text at the end."""
        if not piece:
            return
        was_empty = not self._text
        self._text += piece
        width = self._wrapped_width
        if not width:
            return
        first = len(self._lines) - 1
        self._lines[first:] = wrap(self._text, width, self._lines[first][0])
        if len(self._lines) - 1 != first:
            self.virtual_size = Size(width, len(self._lines))
        if was_empty:
            self.refresh()
        else:
            self.refresh_lines(first, len(self._lines) - first)
        if self._following:
            self._to_end()
        elif not self.border_subtitle:
            self.border_subtitle = self.more

    def _to_end(self) -> None:
        # Forced: the scrollbar, without which Textual does not scroll, appears only with the next layout.
        self.scroll_to(y=self.max_scroll_y, animate=False, force=True)

    def _wrap_all(self) -> None:
        width = self.scrollable_content_region.width
        self._wrapped_width = width
        self._lines = wrap(self._text, width) if width else [(0, 0)]
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()

    def on_resize(self) -> None:
        if self.scrollable_content_region.width != self._wrapped_width:
            following = self._following
            self._wrap_all()
            self._following = following
        if self._following:
            self._to_end()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self.vertical_scrollbar.position = new_value  # also while it is not shown yet
        self._following = round(new_value) >= self.max_scroll_y
        if self.border_subtitle and self._following:
            self.border_subtitle = ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._text) if action == "copy" else True

    def action_copy(self) -> None:
        """Copy the answer (or, without one, the whole text) to the clipboard."""
        text = self.answer or self.text
        if text:
            self.app.copy_to_clipboard(text)
            self.notify("copied", timeout=2)

    # -- selection

    @property
    def allow_select(self) -> bool:
        return True

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        def place(y: int, x: int) -> int:
            if y >= len(self._lines):
                return len(self._text)
            start, end = self._lines[y]
            return min(start + x, end)

        start = 0 if selection.start is None else place(selection.start.y, selection.start.x)
        end = len(self._text) if selection.end is None else place(selection.end.y, selection.end.x)
        return self._text[start:end], "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # -- drawing

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        index = self.scroll_offset.y + y
        ground = self.rich_style
        if not self._text and index < len(said := nothing(self.empty, width)):
            (text, look), *_ = said[index]
            return Strip([Segment(fit(text, width), ground + look_style(self.app, look))], width)
        if not self._text or index >= len(self._lines):
            return Strip.blank(width, ground)
        start, end = self._lines[index]
        marks = self.looks(start, end)
        selected: tuple[int, int] | None = None
        if self.text_selection is not None and (span := self.text_selection.get_span(index)) is not None:
            first, last = span
            selected = start + first, end if last < 0 else min(start + last, end)
        cuts = sorted({end, *marks, *(min(max(cut, start), end) for cut in selected or ())})
        segments = []
        look = "dim"
        for begin, stop in pairwise(cuts):
            look = marks.get(begin, look)
            style = ground + self._style(look)
            if selected and selected[0] <= begin < selected[1]:
                style += self.screen.get_component_rich_style("screen--selection")
            segments.append(Segment(self._text[begin:stop], style))
        if (after := self.after_line(start, end)) is not None and cell_len(self._text[start:end]) < width:
            segments.append(Segment(after[0], ground + self._style(after[1])))
        return Strip(segments).adjust_cell_length(width, ground).apply_offsets(0, index)

    def looks(self, start: int, end: int) -> dict[int, str]:
        """The look of the text from each place of a line `start`..`end` on; the first is the line's start."""
        marks = {start: "dim", min(max(self._prompt_length, start), end): "bright"}
        if self._problem_at is not None and (wrong := max(self._problem_at, start)) < end:
            marks = {place: look for place, look in marks.items() if place < wrong} | {wrong: "alarm"}
        return marks

    def after_line(self, start: int, end: int) -> Part | None:
        """A mark for what has no cell in the line `start`..`end`, such as its end."""
        return None

    def _style(self, look: str) -> Style:
        style = self._looks.get(look)
        if style is None:
            style = self._looks[look] = look_style(self.app, look)
        return style

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._looks = {}

    def refresh_lines(self, y_start: int, line_count: int = 1) -> None:
        """Refresh lines of the text, counted from its first."""
        self.refresh(Region(0, y_start - self.scroll_offset.y, self.size.width, line_count))
