"""What all dialogues have: they close with escape, ctrl+c and ctrl+q, and closing one decides nothing.

The keys come before those of whatever has the focus, so that no input and no second ctrl+c takes them for something
else. The screen behind goes on being drawn.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import ClassVar, TypeVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.color import Color
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen
from textual.strip import Strip

from tui.actions import bindings
from tui.terminal.private import Layer, picture_of
from tui.text import clean

Answer = TypeVar("Answer")
LOW = 16
"""Lines of the terminal from which on there is room around a dialogue."""
BORDER = 6
"""Cells of a border's line that are not its words."""


class Box(Vertical):
    """What a dialogue is written in: a border with its title above and its keys below, as far as there is room."""

    def __init__(self, title: str, keys: str = "") -> None:
        """`keys` are three spaces apart; the last leads out, and is there to the end."""
        super().__init__(id="box")
        self._keys = keys
        self.say_title(title)

    def say_title(self, title: str) -> None:
        self.border_title = Content(clean(title, keep_newlines=False))

    def say_keys(self, keys: str) -> None:
        """Set the line in the lower border; the same again repaints nothing (Textual alone would repaint all)."""
        if keys != self._keys:
            self._keys = keys
            self.on_resize()

    def on_resize(self) -> None:
        shown, room = self._keys.split("   "), self.outer_size.width - BORDER
        while len(shown) > 1 and 0 <= room < cell_len("   ".join(shown)):  # nothing is laid out at first
            del shown[-2]
        self.border_subtitle = Content("   ".join(shown))


class Dialogue(Layer, ModalScreen[Answer]):
    """A screen over the screen that gives its answer to who asked; None when closed."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("dialog")
    VERTICAL_BREAKPOINTS = [(0, "-low"), (LOW, "-high")]  # noqa: RUF012 - as Textual declares it

    def __init__(self) -> None:
        self._behind: dict[int, Strip] = {}
        """The lines of what lies behind, as far as they are as they were."""
        super().__init__()

    @property
    def built(self) -> bool:
        """Whether its parts are there: not yet on the way in, no more on the way out."""
        return any(each.id == "box" for each in self.children)

    @property
    def box(self) -> Box:
        return self.query_one(Box)

    def render_line(self, y: int) -> Strip:
        """A line of what lies behind, dimmed."""
        if y not in self._behind:
            drawn = self.render()
            if not isinstance(drawn, BackgroundScreen):
                return super().render_line(y)
            rows = [row for row in range(self.size.height) if row not in self._behind]
            self._behind |= behind(drawn, self.visual_style.rich_style, rows)
        return self._behind[y].crop(0, self.size.width) if y in self._behind else Strip.blank(self.size.width)

    def _set_dirty(self, *regions: Region) -> None:
        super()._set_dirty(*regions)
        for row in {row for region in regions for row in region.line_range} if regions else [*self._behind]:
            self._behind.pop(row, None)

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """As Textual's. A second answer, by keys that came faster than the first could close it, is none."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def action_close(self) -> None:
        """End without an answer."""
        self.dismiss(None)


def behind(drawn: BackgroundScreen, base: RichStyle, rows: Collection[int]) -> dict[int, Strip]:
    """Lines of a screen under a colour: what Textual's `BackgroundScreen` draws by Rich, in a fifth of the time."""
    picture = picture_of(drawn.screen, rows)
    return {
        row: Strip([Segment(text, under(look, base, drawn.color)) for text, look, _ in line])
        for row, line in picture.items()
    }


@lru_cache(4096)
def under(look: RichStyle | None, base: RichStyle, color: Color) -> RichStyle:
    """How cells of that look are drawn under a colour."""
    if look is None:
        return base
    front, back = (each and (Color.from_rich_color(each) + color).rich_color for each in (look.color, look.bgcolor))
    return base + look.clear_meta_and_links() + RichStyle.from_color(front, back)
