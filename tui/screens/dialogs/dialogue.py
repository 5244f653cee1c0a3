"""What all dialogues have: they close with escape, ctrl+c and ctrl+q, and closing one decides nothing.

The keys come before those of whatever has the focus, so that no input and no second ctrl+c takes them for something
else. The screen behind goes on being drawn.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.app import RenderResult
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.color import Color
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual

from tui.actions import bindings
from tui.terminal.private import picture_of

Answer = TypeVar("Answer")


class Dialogue(ModalScreen[Answer]):
    """A screen over the screen that gives its answer to who asked; None when closed."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("dialog")
    _said_below = ""

    @property
    def built(self) -> bool:
        """Whether its parts are there: not yet on the way in, no more on the way out."""
        return bool(self.query("#box"))

    def say_below(self, said: str) -> None:
        """Set the line in the box's lower border; the same again repaints nothing (Textual alone would repaint all)."""
        if said != self._said_below:
            self._said_below = said
            self.query_one("#box").border_subtitle = said

    def render(self) -> RenderResult:  # type: ignore[override]  # any widget may draw a Visual
        """What lies behind, dimmed."""
        drawn = super().render()
        return Behind(drawn.screen, drawn.color) if isinstance(drawn, BackgroundScreen) else drawn

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """As Textual's. A second answer, by keys that came faster than the first could close it, is none."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def action_close(self) -> None:
        """End without an answer."""
        self.dismiss(None)


class Behind(Visual):
    """A screen under a colour: what Textual's `BackgroundScreen` draws through Rich, in a fifth of the time."""

    def __init__(self, screen: Screen[Any], color: Color) -> None:
        self._screen, self._color = screen, color

    def get_optimal_width(self, rules: Any, container_width: int) -> int:
        return container_width

    def get_height(self, rules: Any, width: int) -> int:
        return self._screen.size.height

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        base, color = style.rich_style, self._color
        return [
            Strip([Segment(text, under(look, base, color)) for text, look, _ in line]).crop(0, width)
            for line in picture_of(self._screen)[:height]
        ]


@lru_cache(4096)
def under(look: RichStyle | None, base: RichStyle, color: Color) -> RichStyle:
    """How cells of that look are drawn under a colour."""
    if look is None:
        return base
    front, back = (each and (Color.from_rich_color(each) + color).rich_color for each in (look.color, look.bgcolor))
    return base + look.clear_meta_and_links() + RichStyle.from_color(front, back)
