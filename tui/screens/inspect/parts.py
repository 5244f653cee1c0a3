"""What stands on the screen of the inspector, and which of it is seen in which view and size."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.widget import Widget

from tui.screens.inspect.panes import CountsPane, FactsPane, HeadPane, LensPane, TextPane, WallPane
from tui.screens.inspect.rungs import LadderView
from tui.screens.inspect.views import Views
from tui.screens.workscreen import WorkScreen
from tui.state.inspector import Inspector, View
from tui.state.session import Session
from tui.widgets.pane import Pane
from tui.widgets.rows import Rows

PARTS: dict[View, tuple[str, ...]] = {
    "loss": ("text", "facts"),
    "attention": ("text", "wall-pane", "head-pane"),
    "lens": ("text", "lens-pane"),
    "tokens": ("text", "facts", "counts"),
    "ladder": ("ladder", "rung"),
}


class InspectParts(WorkScreen):
    """The panes of all views, and the focus among those of the present one."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._shown: tuple[View, bool, bool] | None = None

    def body(self) -> ComposeResult:
        yield Views()
        yield Rows(id="seen")
        with Container(id="work"):
            yield TextPane(id="text")
            with Vertical(id="side"):
                yield FactsPane(id="facts")
                yield CountsPane(id="counts")
            with Horizontal(id="maps"):
                yield WallPane(id="wall-pane")
                yield HeadPane(id="head-pane")
            yield LensPane(id="lens-pane")
            yield LadderView(self.session)

    @property
    def inspector(self) -> Inspector | None:
        return self.session.inspector if self.session.view is not None else None

    @property
    def view(self) -> View:
        return self.inspector.view if self.inspector is not None else "loss"

    @property
    def steps(self) -> tuple[int, ...]:
        """Those with a checkpoint."""
        view = self.session.view
        return tuple(int(each["step"]) for each in view.checkpoints) if view is not None else ()

    # -- layout --------------------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        self._shown = None
        self.call_after_refresh(self.update)

    def on_descendant_focus(self) -> None:
        self._shown = None
        self._arrange()
        self.show_keys()

    @property
    def alone(self) -> bool:
        """Whether there is room for one part at a time."""
        return self.size.width < 70 or self.size.height < 20

    def _arrange(self) -> None:
        """Show the parts of the view; where it is small, the one with the focus alone."""
        view, wanted = self.view, PARTS[self.view]
        tiny = self.size.width < 40 or self.size.height < 12
        state = view, self.alone, tiny
        focused = self._focused_part()
        if focused not in wanted:
            focused = wanted[0]
            if self.focused is not None or self._shown is not None:
                self.call_after_refresh(self._focus_first)
        if state == self._shown:
            return
        self._shown = state
        shown = (focused,) if self.alone else wanted
        for pane in self.query(Pane):
            pane.display = pane.id in shown
        for holder in ("#side", "#maps", "#rungs-side"):
            box = self.query_one(holder)
            box.display = any(pane.display for pane in box.query(Pane))
        self.query_one("#work").styles.layout = "horizontal" if view in ("loss", "tokens") else "vertical"
        self.set_class(self.alone, "alone")
        self.set_class(tiny, "tiny")
        self.call_after_refresh(self.update)

    def _focus_first(self) -> None:
        if self._focused_part() not in PARTS[self.view]:
            self._focus_part(PARTS[self.view][0])

    def _focused_part(self) -> str:
        node: Widget | None = self.focused
        while node is not None:
            if isinstance(node, Pane):
                return str(node.id)
            node = node.parent if isinstance(node.parent, Widget) else None
        return ""

    def _focus_part(self, name: str) -> None:
        pane = self.query_one(f"#{name}", Pane)
        pane.display = True
        if isinstance(pane.parent, Widget):
            pane.parent.display = True
        pane.focus_target()

    def action_step_focus(self, by: int) -> None:
        parts = PARTS[self.view]
        here = parts.index(self._focused_part()) if self._focused_part() in parts else -1
        self._focus_part(parts[(here + by) % len(parts)])
