"""One prompt at nine settings: temperature by top-p, one seed, short, to see what the rules do to a text."""

from __future__ import annotations

import threading
from dataclasses import replace

from tui.state.history import Prompted
from tui.state.prompting import LoadedModels, PromptJob, Request

TOKENS = 40
"""Of each of the nine answers."""
TOP_PS = (0.8, 0.95, 1.0)
SPREAD = 0.4
"""Between two temperatures."""


def temperatures(around: float) -> tuple[float, float, float]:
    """Three of them, the middle one `around` where that leaves room below."""
    middle = round(max(around, SPREAD), 2)
    return round(middle - SPREAD, 2), middle, round(middle + SPREAD, 2)


class Grid(threading.Thread):
    """`cells[row][column]` is the answer at a temperature and a top-p; they are asked one after the other.

    None of them is put into the history; what is chosen of them are settings.
    """

    def __init__(self, request: Request, models: LoadedModels) -> None:
        super().__init__(name="grid", daemon=True)
        self.request = request
        self.rows, self.columns = temperatures(request.settings.temperature), TOP_PS
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
