"""Nine or sixteen short answers at once, temperature by top-p; the chosen cell's settings are taken."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType

from tui.actions import bindings
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.screens.prompt.asking import TICK
from tui.state.grid import Grid
from tui.state.prompting import PromptJob
from tui.text import Part, clean, fit, wrap
from tui.widgets.paint import Painted
from tui.widgets.slider import TOP_P

Settings = tuple[float, float]
"""Temperature and top-p."""


FOUR = (160, 44)
"""The least terminal in which a cell of four by four holds most of an answer."""


def side_for(width: int, height: int) -> int:
    """Rows and columns of the grid in a terminal of that size."""
    return 4 if width >= FOUR[0] and height >= FOUR[1] else 3


class GridView(Painted, can_focus=True):
    """Draws the cells; arrows and the mouse choose one."""

    DEFAULT_CSS = "GridView { width: 1fr; height: 1fr; }"

    def __init__(self, grid: Grid) -> None:
        super().__init__(id="grid")
        self.grid = grid
        self.row, self.column = 1, len(grid.columns) - 1

    def move(self, down: int, right: int) -> None:
        """The cell beside the chosen one."""
        self.row = max(0, min(self.row + down, len(self.grid.rows) - 1))
        self.column = max(0, min(self.column + right, len(self.grid.columns) - 1))
        self.repaint()

    @property
    def chosen(self) -> Settings:
        return self.grid.rows[self.row], self.grid.columns[self.column]

    def on_click(self, event: events.Click) -> None:
        row = int(event.y) * len(self.grid.rows) // max(1, self.size.height)
        column = int(event.x) * len(self.grid.columns) // max(1, self.size.width)
        self.move(row - self.row, column - self.column)

    def paint(self, width: int, height: int) -> list[list[Part]]:
        count = len(self.grid.columns)
        cell, rows = width // count, list[list[Part]]()
        tall = max(1, height // len(self.grid.rows))
        for row, jobs in enumerate(self.grid.cells):
            blocks = [
                self._cell(job, cell - 2, tall, row == self.row and column == self.column)
                for column, job in enumerate(jobs)
            ]
            for line in range(tall):
                rows.append([part for block in blocks for part in (*block[line], ("  ", ""))])
        return rows

    def _cell(self, job: PromptJob, width: int, height: int, chosen: bool) -> list[list[Part]]:
        settings = job.request.settings
        said = f"{'❯ ' if chosen else '  '}t {settings.temperature:.2f}  top-p {TOP_P.text(settings.top_p)}"
        lines: list[list[Part]] = [[(fit(said, width), "accent bold on select" if chosen else "dim")]]
        look = "bright" if chosen else "foreground"
        if job.error is not None:
            text, look = f"✖ {job.error}", "alarm"
        elif not job.written.tokens:
            text, look = ("is being written" if job.begun and not job.done else "waits for its turn"), "dim"
        else:
            text = job.text
        text = clean(text)
        for start, end in wrap(text, max(4, width - 2))[: max(0, height - 2)]:
            lines.append([("  ", ""), (fit(text[start:end], width - 2), look)])
        return lines + [[(" " * width, "")]] * (height - len(lines))


class GridScreen(Dialogue[Settings]):
    """Returns the settings of the chosen cell, or None."""

    CSS_PATH = "grid.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("grid")

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self._grid = grid

    def compose(self) -> ComposeResult:
        with Box("temperature by top-p, one seed"):
            yield GridView(self._grid)

    def on_mount(self) -> None:
        self.query_one(GridView).focus()
        self.set_interval(TICK, self._show)
        self._show()

    def _show(self) -> None:
        view = self.query_one(GridView)
        view.repaint()
        done = sum(job.done for job in self._grid.jobs)
        left = f"{done} of {len(self._grid.jobs)} written   " if not self._grid.done else ""
        self.box.say_keys(f"{left}⏎ take these settings   ←↑↓→ move   esc close")

    def action_move(self, down: int, right: int) -> None:
        self.query_one(GridView).move(down, right)

    def action_take(self) -> None:
        self.dismiss(self.query_one(GridView).chosen)
