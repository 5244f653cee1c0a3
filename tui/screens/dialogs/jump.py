"""A letter at each pane that can be seen; pressing it goes there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_lowercase
from typing import Any, Protocol, runtime_checkable

from textual import events
from textual.app import ComposeResult
from textual.geometry import Region
from textual.widget import Widget

from tui.screens.dialogs.dialogue import Dialogue
from tui.widgets.rows import Rows


@runtime_checkable
class Jumpable(Protocol):
    """A part of a screen with a title, which takes the focus or gives it to the right one of its own parts."""

    title: Any
    region: Any

    def focus_target(self) -> None: ...


class JumpScreen(Dialogue[Jumpable]):
    """Returns the one whose letter was pressed; None for any other key."""

    CSS_PATH = "jump.tcss"

    def __init__(self, targets: Sequence[Jumpable]) -> None:
        super().__init__()
        self._targets = dict(zip(letters([str(each.title) for each in targets]), targets, strict=False))

    def compose(self) -> ComposeResult:
        for letter in self._targets:
            yield Rows(id=f"jump-{letter}")

    def on_mount(self) -> None:
        for letter, target in self._targets.items():
            mark, region = self.query_one(f"#jump-{letter}", Rows), target.region
            assert isinstance(region, Region)
            mark.styles.offset = (region.x + 1, region.y)
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        for letter in self._targets:
            self.query_one(f"#jump-{letter}", Rows).show([[(f"[{letter}]", "accent bold reverse")]])

    def on_key(self, event: events.Key) -> None:
        if event.key != "escape":
            event.stop()
            self.dismiss(self._targets.get(event.character or ""))


def letters(titles: Iterable[str]) -> list[str]:
    """One letter for each title: of those in it the first that is free, else of the alphabet; 26 at most."""
    taken: list[str] = []
    for title in titles:
        wanted = [*(each for each in title.lower() if each in ascii_lowercase), *ascii_lowercase]
        free = next((each for each in wanted if each not in taken), None)
        if free is not None:
            taken.append(free)
    return taken


def targets(panes: Iterable[Widget]) -> list[Jumpable]:
    """Those of `panes` in which anything takes the focus."""
    return [
        pane
        for pane in panes
        if isinstance(pane, Jumpable) and any(part.focusable for part in pane.walk_children(Widget, with_self=True))
    ]
