"""One prompt at nine or sixteen settings: temperature by top-p, one seed, short, to see what the rules do to a text."""

from __future__ import annotations

import threading
from dataclasses import replace

from tui.state.history import Prompted
from tui.state.prompting import LoadedModels, PromptJob, Request

TOKENS = 40
"""Of each answer."""
TOP_PS = {3: (0.8, 0.95, 1.0), 4: (0.6, 0.8, 0.95, 1.0)}
"""Of a grid with so many rows and columns."""
SPREAD = 0.4
"""Between two temperatures."""


def temperatures(around: float, count: int = 3) -> tuple[float, ...]:
    """So many of them, the second one `around` where that leaves room below."""
    second = max(around, SPREAD)
    return tuple(round(second + (row - 1) * SPREAD, 2) for row in range(count))


class Grid(threading.Thread):
    """`cells[row][column]` is the answer at a temperature and a top-p; they are asked one after the other.

    None of them is put into the history; what is chosen of them are settings.
    """

    def __init__(self, request: Request, models: LoadedModels, side: int = 3) -> None:
        super().__init__(name="grid", daemon=True)
        self.request = request
        self.side = side
        self.rows, self.columns = temperatures(request.settings.temperature, side), TOP_PS[side]
        self.cells = [[self._cell(t, p, models) for p in self.columns] for t in self.rows]
        self._cancelled = threading.Event()

    def _cell(self, temperature: float, top_p: float, models: LoadedModels) -> PromptJob:
        settings = self.request.settings.replace(temperature=temperature, top_p=top_p, max_tokens=TOKENS)
        return PromptJob(replace(self.request, settings=settings), models, _forgotten)

    @property
    def jobs(self) -> list[PromptJob]:
        return [job for row in self.cells for job in row]

    @property
    def done(self) -> bool:
        return all(job.done for job in self.jobs) or self._cancelled.is_set()

    @property
    def whole(self) -> bool:
        """Whether all were written, or will be."""
        return not self._cancelled.is_set() and all(job.error is None for job in self.jobs)

    def run(self) -> None:
        for job in self.jobs:
            if self._cancelled.is_set():
                return
            job.run()

    def cancel(self) -> None:
        """Ask no more; what is there stays."""
        self._cancelled.set()
        for job in self.jobs:
            job.cancel()


def _forgotten(_: Prompted) -> None:
    """An answer of the grid is in no history."""
