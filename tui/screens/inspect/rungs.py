"""The ladder: a table of its rungs, and the step from one to the next."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.screens.inspect.said import Said
from tui.state.ladder import EXPLAINED, NEW, Rung, RungsReader
from tui.state.session import Session
from tui.text import MISSING, Part, clean, fit, fmt_count, fmt_loss
from tui.widgets.menu import Menu
from tui.widgets.pane import Pane
from tui.widgets.rows import Rows, cut

RUNGS_EVERY = 5.0
"""Seconds between two looks at all rungs."""
# name, width, right-aligned, the least width of the table in which it is there
COLUMNS = (
    ("rung", 12, False, 0),
    ("params", 7, True, 44),
    ("steps", 7, True, 60),
    ("val", 7, True, 0),
    ("bits/byte", 9, True, 34),
    ("what is new", 36, False, 118),
    ("run", 24, False, 76),
)


def ladder_head(width: int) -> list[Part]:
    names = (fit(name, size, "right" if right else "left") for name, size, right, _ in _columns(width))
    return cut([("  " + "  ".join(names), "dim")], width + 2)


def _columns(width: int) -> list[tuple[str, int, bool, int]]:
    return [each for each in COLUMNS if width >= each[3]]


def rung_line(rung: Rung, width: int) -> list[Part]:
    """One rung; what was not trained is missing."""
    values: dict[str, tuple[str, str]] = {
        "rung": (rung.preset, "bright bold" if rung.here else "bright" if rung.run else "dim"),
        "params": (fmt_count(rung.params), "foreground"),
        "steps": (f"{rung.steps:,}" if rung.steps else MISSING, "foreground"),
        "val": (fmt_loss(rung.val_loss), "val"),
        "bits/byte": (f"{rung.bits_per_byte:.3f}" if rung.bits_per_byte is not None else MISSING, "foreground"),
        "what is new": (NEW[rung.preset], "dim"),
        "run": ((rung.run or "not trained yet") + ("  this run" if rung.here else ""), "dim"),
    }
    row: list[Part] = []
    *before, last = _columns(width)
    for name, size, right, _ in before:
        text, look = values[name]
        row += [(fit(text, size, "right" if right else "left"), look if rung.run or name == "what is new" else "dim")]
        row.append(("  ", ""))
    text, look = values[last[0]]
    return cut([*row, (fit(text, last[1], "right") if last[2] else clean(text, keep_newlines=False), look)], width)


def rung_rows(rungs: list[Rung], number: int, corpus: str) -> list[list[Part]]:
    """What is new in a rung, what it brought, and what it writes."""
    rung = rungs[number]
    code, words = EXPLAINED[rung.preset]
    rows: list[list[Part]] = [
        [(rung.preset, "bright bold"), (f"  {NEW[rung.preset]}", "foreground")],
        [],
        [("  ", ""), (code, "accent")],
        [],
        [(words, "foreground")],
        [],
        *_brought(rungs, number),
    ]
    if rung.run is None:
        name = clean(corpus, keep_newlines=False)
        where = name if name and " " not in name else f"'{name}'" if name else "CORPUS"
        rows.append([(f"not trained on this corpus yet: tinytui train {where} --preset {rung.preset}", "dim")])
        if not any(each.run for each in rungs):
            rows.append([(f"all six: tinytui ladder {where}", "dim")])
        return rows
    first = next((line for line in rung.sample.splitlines() if line.strip()), "")
    if first:
        rows.append([("writes  ", "dim"), (clean(first, keep_newlines=False), "bright")])
    if rung.others:
        more = "one more run" if rung.others == 1 else f"{rung.others} more runs"
        rows.append([(f"{more} of it on this corpus; the newest is shown, or this one", "dim")])
    return rows


def _brought(rungs: list[Rung], number: int) -> list[list[Part]]:
    """The loss beside that of the nearest rung below it that was trained."""
    rung = rungs[number]
    below = next((each for each in reversed(rungs[:number]) if each.val_loss is not None), None)
    if rung.val_loss is None or below is None or below.val_loss is None:
        return []
    change = rung.val_loss - below.val_loss
    row: list[Part] = [
        ("val    ", "dim"),
        (fmt_loss(rung.val_loss), "val"),
        (f"  {change:+.4f}", "good" if change < 0 else "alarm"),
        (f" beside {below.preset}", "dim"),
    ]
    if rung.params is not None and below.params is not None:
        row.append((f", with {rung.params - below.params:+,} parameters", "dim"))
    if rung.steps != below.steps:
        row.append((f"; trained for {rung.steps or 0:,} steps, that one for {below.steps or 0:,}", "dim"))
    return [row]


class LadderPane(Pane):
    title = "rungs"
    about: ClassVar[str] = (
        "Six models from a table of pairs to the full one, each by its newest run on this "
        "run's corpus. They compare fairly where all were trained for as many steps, as "
        "tinytui ladder CORPUS does."
    )

    def compose(self) -> ComposeResult:
        yield Rows(id="ladder-head")
        yield Menu(id="rungs")

    def focus_target(self) -> None:
        self.query_one(Menu).focus()


class RungPane(Pane):
    title = "what is new"
    about: ClassVar[str] = "What the rung under the cursor has that the one before has not."

    def compose(self) -> ComposeResult:
        yield Said(id="rung-said")

    def focus_target(self) -> None:
        self.query_one(Said).focus()


class LadderView(Vertical):
    """The rungs trained on the corpus of the run shown, read again while they are looked at."""

    def __init__(self, session: Session) -> None:
        super().__init__(id="rungs-side")
        self._session = session
        self._rungs: list[Rung] | None = None
        self._of: object = None
        self._problem = ""

    def compose(self) -> ComposeResult:
        yield LadderPane(id="ladder")
        yield RungPane(id="rung")

    def show(self, empty: str) -> None:
        """Ask for the rungs, and show what is known; `empty` where there is no run."""
        session, menu = self._session, self.query_one("#rungs", Menu)
        run = session.run if session.view is not None else None
        if (run.path if run is not None else None) != self._of:
            self.leave()
            self._of, self._rungs, self._problem = run.path if run is not None else None, None, ""
        if run is not None and not self._problem and not session.reads.asked("rungs"):
            reader = RungsReader(session.runs_dir, run)
            session.reads.ask("rungs", reader.look, self._take, self._cannot, every=RUNGS_EVERY)
        menu.empty = f"✖ {self._problem}" if self._problem else empty or "reading the runs …"
        rungs, width = self._rungs or [], max(20, menu.size.width - 2)
        self.query_one("#ladder-head", Rows).show([ladder_head(width)] if rungs else [])
        menu.set_items([rung_line(rung, width) for rung in rungs])
        self._explain()

    def leave(self) -> None:
        """Nobody looks at it any more."""
        self._session.reads.drop("rungs")

    def _take(self, rungs: list[Rung]) -> None:
        self._rungs = rungs

    def _cannot(self, problem: str) -> None:
        self._problem = clean(problem, keep_newlines=False)

    def _explain(self) -> None:
        menu, said = self.query_one("#rungs", Menu), self.query_one("#rung-said", Said)
        rungs, view = self._rungs or [], self._session.view
        corpus = view.info.get("corpus") if view is not None else None
        name = str(corpus.get("path") or corpus.get("name") or "") if isinstance(corpus, dict) else ""
        said.say(rung_rows(rungs, menu.cursor, name) if menu.cursor < len(rungs) else [])

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        """Look into that rung's run."""
        event.stop()
        name = (self._rungs or [])[event.index].run
        if name is not None:
            from engine.runs.layout import RunDir

            self._session.open(RunDir((self._session.runs_dir / name).absolute()))

    def on_menu_moved(self, event: Menu.Moved) -> None:
        event.stop()
        self._explain()
