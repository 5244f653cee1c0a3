"""How runs differ: where each stood at the same step, and the settings that are not alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from engine.runs.layout import RunDir
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.state.runstable import MARKS
from tui.state.session import Session
from tui.text import MISSING, Part, clean, fit, fmt_loss
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from engine.runs.compare import Standing

LABEL, MOST_VALUE, LEAST_VALUE = 24, 22, 9

Found = tuple[list["Standing"], dict[str, list[Any]]]


class CompareScreen(Dialogue[None]):
    """A column a run, in the order in which they were marked."""

    CSS_PATH = "compare.tcss"

    def __init__(self, session: Session, runs: Sequence[RunDir]) -> None:
        super().__init__()
        self._session, self._runs = session, list(runs)
        self._found: Found | None = None
        self._problem = ""

    def compose(self) -> ComposeResult:
        with Box("how they differ", "↑↓ more   esc close"), VerticalScroll(id="scroll"):
            yield Rows(id="lines")

    def on_mount(self) -> None:
        self._session.works.ask("compare", lambda _: differing(self._runs), self._take, self._cannot)
        self.call_after_refresh(self._show)

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _take(self, found: Found) -> None:
        self._found = found
        self._show()

    def _cannot(self, problem: str) -> None:
        self._problem = problem
        self._show()

    def _show(self) -> None:
        lines = self.query_one("#lines", Rows)
        names = [run.name for run in self._runs]
        if self._found is not None:
            rows = table(names, *self._found, max(30, self.query_one("#scroll").size.width - 2))
        elif self._problem:
            rows = [[(f"✖ {clean(self._problem, keep_newlines=False)}", "alarm")]]
        else:
            rows = [[("reading the runs …", "dim")]]
        lines.styles.height = len(rows)
        lines.show(rows)


def differing(runs: Sequence[RunDir]) -> Found:
    """Where the runs stood at the last step all of them made, and their settings that differ. Reads them whole."""
    from engine.runs.compare import at_step, differences, settings_of
    from engine.runs.reader import RunReader

    series = []
    for run in runs:
        reader = RunReader(run)
        reader.poll()
        series.append(reader.series)
    return at_step(series), differences([settings_of(run) for run in runs])


def table(
    names: Sequence[str], standings: Sequence[Standing], settings: dict[str, list[Any]], width: int
) -> list[list[Part]]:
    """Rows of labels and a column a run, all in `width` cells; what does not fit of the columns is cut in each."""
    size = max(LEAST_VALUE, min(MOST_VALUE, (width - LABEL) // max(1, len(names)) - 2))

    def row(label: str, cells: Sequence[Part]) -> list[Part]:
        parts: list[Part] = [(fit(label, LABEL), "dim")]
        for text, look in cells:
            parts += [("  ", ""), (fit(text, size), look)]
        return parts

    looks = [f"series-{index + 1} bold" for index in range(len(names))]
    heads = [(f"{MARKS[index]} {name}", look) for index, (name, look) in enumerate(zip(names, looks, strict=True))]
    step = standings[0].step if standings else 0
    rows = [row("", heads), []]
    rows.append(row(f"train at step {step:,}", [_loss(each.loss, each.behind, "train") for each in standings]))
    rows.append(row("val by then", [_loss(each.val_loss, each.val_behind, "val") for each in standings]))
    rows.append([])
    if not settings:
        rows.append([("all settings are alike", "dim")])
    for key, values in settings.items():
        rows.append(row(key, [(_value(value), "bright") for value in values]))
    return rows


def _loss(value: float | None, behind: float | None, look: str) -> Part:
    """`1.4697 +0.0210`: a loss and how far it is behind the lowest."""
    if value is None:
        return MISSING, "dim"
    return (f"{fmt_loss(value)} +{behind:.4f}" if behind else f"{fmt_loss(value)} ✔ lowest"), look


def _value(value: Any) -> str:
    return MISSING if value is None or value == "" else clean(str(value), keep_newlines=False)
