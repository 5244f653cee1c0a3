"""What the numbered screens have: the first line, the footer, a look at the session when something changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from textual.app import ComposeResult
from textual.screen import Screen

from tui.actions import Action
from tui.state.session import Session
from tui.terminal.private import Layer
from tui.text import Row, clean
from tui.widgets.keybar import KeyBar
from tui.widgets.pane import Pane
from tui.widgets.topline import TopLine

if TYPE_CHECKING:
    from tui.app import Workbench


@runtime_checkable
class Acting(Protocol):
    """A node with actions of the registry."""

    scope: str


@runtime_checkable
class Helpful(Protocol):
    """A node with words about itself for the help dialogue."""

    help_title: str

    def help_lines(self) -> list[Row]: ...


class WorkScreen(Layer, Screen[None]):
    """A view of the session. It is made once, when it is first gone to, and stays as it was left.

    A subclass gives `body`, and in `refresh_view` brings what can be seen up to date; the app calls it when something
    changed and the terminal has room for a picture. `tick` comes with every poll.
    """

    AUTO_FOCUS: ClassVar[str | None] = None
    scope: str = ""
    help_title: str = ""
    about: ClassVar[str] = ""
    place: ClassVar[str] = ""
    """Its name in the first line."""

    app: Workbench

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session

    def compose(self) -> ComposeResult:
        yield TopLine(self.place)
        yield from self.body()
        yield KeyBar()

    def body(self) -> ComposeResult:
        """Everything between the first line and the footer."""
        raise NotImplementedError

    @property
    def built(self) -> bool:
        """Whether its parts are there: not yet on the way in, no more on the way out."""
        return any(isinstance(each, KeyBar) for each in self.children)

    def refresh_view(self) -> None:
        """Bring what can be seen up to date with the session."""

    def tick(self) -> None:
        """Called at every poll of the app."""

    def help_lines(self) -> list[Row]:
        """The screen's own words, a row a paragraph."""
        return [[(self.about, "foreground")]] if self.about else []

    def update(self) -> None:
        """`refresh_view` with the first line and the footer, where there is something to show it on."""
        if not self.built:
            return
        self.show_top()
        self.refresh_view()
        self.show_keys()

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.update)

    def show_top(self) -> None:
        """The run shown, or what happens on the way to it."""
        session = self.session
        top = self.query_one(TopLine)
        if session.view is not None and session.run is not None:
            top.show_run(session.run.name, session.now)
        else:
            top.show_words(waiting_words(session))

    # -- keys ----------------------------------------------------------------------------------------------------------

    def show_keys(self) -> None:
        """The keys that work here: the pane's, this screen's, the app's; behind a dialogue they stay as they were."""
        if self.is_current and self.built:
            self.query_one(KeyBar).show_keys(self.app.keys_here())

    def on_descendant_focus(self) -> None:
        self.show_keys()

    def on_key_bar_pressed(self, event: KeyBar.Pressed) -> None:
        self.app.do(event.action)

    def relabel(self, action: Action) -> Action:
        """The footer's word for an action as things stand."""
        return action

    def panes(self) -> Iterator[Pane]:
        """The panes to be seen, which `f` jumps to."""
        for pane in self.walk_children(Pane):
            if pane.is_on_screen and pane.region.area:
                yield pane


def waiting_words(session: Session) -> Row:
    """What is said where no run is shown."""
    if session.opening:
        return [("○ reading ", "accent"), (clean(session.opening, keep_newlines=False), "bright")]
    if session.starting is not None:
        fraction = session.starting.fraction
        percent = f" {100 * fraction:.0f}%" if 0 < fraction < 1 else ""
        return [("○ ", "accent"), (f"{session.starting.stage}{percent}", "foreground")]
    if session.problem:
        return [("✖ no run is open", "alarm"), ("  4 lists the runs, n starts a new one", "dim")]
    return [("no run is open; n starts one, 4 lists them", "dim")]
