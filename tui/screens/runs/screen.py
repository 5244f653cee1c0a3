"""Screen 4: all runs, live and ended: open, filter, compare, note, fork, resume, stop, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, overload

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from engine.runs.layout import RunDir, check_name, remove_run
from engine.runs.naming import rename_run, write_note
from tui.actions import Action, bindings
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.asking import ask_to_fork, ask_to_resume, ask_to_stop
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen, Way
from tui.screens.runs.preview import RunPreview
from tui.screens.workscreen import WorkScreen
from tui.state.news import Notice
from tui.state.reading import Follower
from tui.state.runstable import LIVE, MARKS, SORTS, Facts, Line, RunsReader
from tui.state.session import Session
from tui.state.summary import ago, state_part, step_of
from tui.text import MISSING, Part, Row, clean, fit, fmt_count, fmt_duration, fmt_loss
from tui.widgets.menu import Menu
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from engine.runs.reader import RunView

RELOAD_EVERY = 2.0
"""Seconds between two looks at all runs."""
EMPTY = "no runs yet; n trains a first one"
NO_MATCH = "no run matches; esc shows all"
# name, width, right-aligned, rank: the highest ranks leave first as the terminal narrows
COLUMNS = (
    ("state", 11, False, 1),
    ("run", 30, False, 0),
    ("step", 15, True, 3),
    ("val", 7, True, 2),
    ("best", 15, True, 6),
    ("bpb", 6, True, 9),
    ("params", 6, True, 4),
    ("corpus", 12, False, 7),
    ("preset", 12, False, 8),
    ("tok/s", 6, True, 10),
    ("time", 7, True, 11),
    ("when", 10, True, 5),
    ("note", 18, False, 12),
)
GAP = 2
MARK = 2
"""Cells before the columns, of a mark."""


class RunsScreen(WorkScreen):
    """A table of all runs over the curves of those that are marked, or of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")
    CSS_PATH = "runs.tcss"
    AUTO_FOCUS = "#list"
    scope = "runs"
    place = "runs"
    help_title = "runs"
    about: ClassVar[tuple[str, ...]] = (
        "All runs, live ones first. The cursor stays on its run, wherever its line goes.",
        "/ shows those that match, as you type: a word, corpus:notes, state:running,",
        "val<1.5, lr>1e-3, params>1M, -state:failed; space marks up to eight, whose",
        "curves are drawn over each other, and = says how they differ.",
    )

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.table = session.table

    def body(self) -> ComposeResult:
        with Horizontal(id="runs-line"):
            yield Rows(id="count")
            field = Input(
                placeholder="name, corpus:notes, state:running, val<1.5, lr>1e-3 …", id="filter", compact=True
            )
            field.cursor_blink = False
            yield field
        with Vertical(id="table") as box:
            box.border_title = "runs"
            yield Rows(id="head")
            yield Menu(empty="reading the runs …", id="list")
        yield RunPreview(self.session)

    def on_mount(self) -> None:
        self.query_one("#filter", Input).value = self.table.typed
        reader = RunsReader(self.session.runs_dir)
        self.session.reads.ask("runs", reader.look, self._take, self._cannot, every=RELOAD_EVERY)
        self._show()

    def on_resize(self) -> None:
        self.set_class(self.size.height < 20, "low")
        self.call_after_refresh(self._show)

    def tick(self) -> None:
        """Called at every poll of the app."""
        if self.built:
            self.query_one(RunPreview).tick()

    def action_reload(self) -> None:
        """Read all runs now."""
        reader = RunsReader(self.session.runs_dir)
        self.session.reads.ask("runs", reader.look, self._take, self._cannot, every=RELOAD_EVERY)

    def _take(self, facts: list[Facts]) -> None:
        self.table.take(facts)
        self._show()

    def _cannot(self, problem: str) -> None:
        self.table.take([], problem)
        self._show()

    # -- what is shown -------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if not self.built:
            return
        table, menu = self.table, self.query_one(Menu)
        width = max(20, menu.size.width - 2)
        columns = columns_for(width)
        self.query_one("#head", Rows).show([[("  " + heading(columns, table.sort), "dim")]] if table.lines else [])
        menu.empty = self._empty()
        menu.set_items(Lines(table.lines, columns, table.marked), table.index)
        self._show_count()
        self._preview()
        self.show_keys()

    def _empty(self) -> str:
        table = self.table
        if table.problem:
            return f"✖ {clean(table.problem, keep_newlines=False)}"
        if table.facts is None:
            return "reading the runs …"
        return NO_MATCH if table.facts else EMPTY

    def _show_count(self) -> None:
        table, facts = self.table, self.table.facts or []
        typing = self.query_one("#filter", Input)
        self.set_class(bool(table.typed) or typing.has_focus, "filtered")
        live = sum(each["state"] in LIVE for each in facts)
        said: list[Part] = [("1 run" if len(facts) == 1 else f"{len(facts)} runs", "bright")]
        said += [(f"  {live} live", "good")] if live else []
        if table.wrong:
            said = [(f"✖ {clean(table.wrong, keep_newlines=False)}", "alarm")]
        elif table.typed:
            said += [(f"  {len(table.lines)} match", "accent")]
        elif not typing.has_focus:
            order = "forks below their parents" if table.tree else f"by {table.sort}{' reversed' * table.backwards}"
            said += [(f"  {order}", "dim"), (f"  in {clean(str(self.session.runs_dir), keep_newlines=False)}", "dim")]
        if table.marked:
            said.append((f"  {len(table.marked)} marked", "accent"))
        self.query_one("#count", Rows).show([said])

    def _preview(self) -> None:
        marked = [RunDir(Path(path)) for path in self.table.marked]
        run = self.table.run
        self.query_one(RunPreview).look_at(marked or ([run] if run is not None else []))

    def relabel(self, action: Action) -> Action:
        """`x` stops a live run before it can delete it; ⏎ in the table opens."""
        if action.id == "list.choose":
            return replace(action, label="open")
        chosen = self.table.chosen
        live = action.do == "delete" and chosen is not None and chosen["state"] in LIVE
        return replace(action, label="stop") if live else action

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        chosen = self.table.chosen
        if action in ("open", "delete", "rename", "note", "mark", "fork", "verify"):
            return chosen is not None
        if action == "resume":
            return chosen is not None and chosen["state"] in ("finished", "stopped", "failed", "crashed", "new")
        if action == "differences":
            return len(self.table.marked) >= 2
        if action == "back":
            return not self.session.empty or bool(self.table.typed) or bool(self.table.marked)
        return True

    # -- moving --------------------------------------------------------------------------------------------------------

    def on_menu_moved(self, event: Menu.Moved) -> None:
        self._point_at(event.items, event.index)
        self._preview()
        self.show_keys()

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self._point_at(event.items, event.index)
        self.action_open()

    def _point_at(self, items: Sequence[Row], index: int) -> None:
        """Put the cursor on the run that stood at that line when the key was pressed, wherever it stands now."""
        if isinstance(items, Lines):
            self.table.go_to(items.path(index))

    def on_input_changed(self, event: Input.Changed) -> None:
        self.table.filter(event.value)
        self._show()

    def on_input_submitted(self) -> None:
        self.query_one(Menu).focus()
        self._show()

    def action_filter(self) -> None:
        """Type which runs are to be shown."""
        self.add_class("filtered")
        self.query_one("#filter", Input).focus()
        self._show_count()

    def action_back(self) -> None:
        """Out of the filter, then all runs again, then no marks, then the run."""
        field, table = self.query_one("#filter", Input), self.table
        if field.has_focus or table.typed:
            field.value = ""
            table.filter("")
            self.query_one(Menu).focus()
            self._show()
        elif table.marked:
            table.marked.clear()
            self._show()
        elif not self.session.empty:
            self.app.show_train()

    def action_sort(self) -> None:
        """Choose the column to sort by."""
        names = list(SORTS)
        choices = [
            Choice(name, name, "now; once more turns it around" if name == self.table.sort else "") for name in names
        ]

        def sort(column: str | None) -> None:
            if column is not None:
                self.table.sort_by(column)
                self.session.remember("runs_sort", self.table.sort)
                self._show()

        self.app.push_screen(ChooseScreen("sort by", choices, cursor=names.index(self.table.sort)), sort)

    def action_tree(self) -> None:
        self.table.toggle_tree()
        self._show()

    def action_mark(self) -> None:
        said = self.table.mark()
        if said:
            self.app.say(Notice(said, bad=True))
        elif self.table.index + 1 < len(self.table.lines):
            self.table.go(self.table.index + 1)
        self._show()

    # -- what is done to a run -----------------------------------------------------------------------------------------

    def action_open(self) -> None:
        if self.table.run is not None:
            self.app.open_run(self.table.run)

    def action_differences(self) -> None:
        from tui.screens.runs.compare import CompareScreen

        if len(self.table.marked) >= 2:
            runs = [RunDir(Path(path)) for path in self.table.marked]
            self.app.push_screen(CompareScreen(self.session, runs))

    def action_resume(self) -> None:
        chosen, run = self.table.chosen, self.table.run
        if chosen is not None and run is not None and self.check_action("resume", ()):
            step, steps = int(chosen["step"] or 0), int(chosen["steps"] or 0)
            ask_to_resume(self.app, run, state=chosen["state"], step=step, steps=steps)

    def action_rename(self) -> None:
        run = self.table.run
        if run is None:
            return

        def rename(name: str | None) -> None:
            if name is not None and name != run.name:
                self.session.reads.ask("rename", lambda _: rename_run(run, name), renamed)

        def renamed(new: RunDir) -> None:
            self.app.say(Notice(f"{run.name} is called {new.name} now"))
            self.session.moved(run, new)
            if self.table.cursor == str(run.path):
                self.table.cursor = str(new.path)
            self.action_reload()

        about = "letters, digits, - _ . ; runs that were forked from it are told"
        title = f"another name for {clean(run.name, keep_newlines=False)}"
        self.app.push_screen(AskScreen(title, about, run.name, lambda text: check_name(text.strip())), rename)

    def action_note(self) -> None:
        chosen, run = self.table.chosen, self.table.run
        if chosen is None or run is None:
            return

        def note(text: str | None) -> None:
            if text is not None:
                self.session.reads.ask("note", lambda _: write_note(run, text), lambda _: self.action_reload())

        title = f"a note on {clean(run.name, keep_newlines=False)}"
        about = "shown in the table, found by the filter; nothing takes it away"
        before = clean(str(chosen.get("note") or ""), keep_newlines=False)
        self.app.push_screen(AskScreen(title, about, before, lambda text: text), note)

    def action_fork(self) -> None:
        """The form of a new run that goes on from a checkpoint of this one."""
        run = self.table.run
        if run is not None:
            self.session.reads.ask("fork", Follower(run).look, lambda look: self._fork(look.view))

    def _fork(self, view: RunView) -> None:
        steps = [int(point["step"]) for point in view.checkpoints]
        if not steps:
            self.app.say(Notice(f"{view.run.name} has no checkpoint to fork from", bad=True))
            return
        losses = [point.get("val_loss") for point in view.checkpoints]
        choices = [
            Choice(f"step {step:,}", step, f"val {fmt_loss(loss)}" if loss is not None else "")
            for step, loss in zip(steps, losses, strict=True)
        ][::-1]
        if len(choices) == 1:
            ask_to_fork(self.app, view, steps[0])
            return
        title = f"fork {clean(view.run.name, keep_newlines=False)} from"
        self.app.push_screen(
            ChooseScreen(title, choices), lambda step: ask_to_fork(self.app, view, step) if step is not None else None
        )

    def action_verify(self) -> None:
        """Read every byte of the run's checkpoints and say whether it is what was written."""
        run = self.table.run
        if run is None:
            return

        def read(_: object) -> Notice:
            from engine.training.verify import verify_checkpoint

            steps = run.checkpoint_steps()
            checked = [verify_checkpoint(run.checkpoint(step)) for step in steps]
            bad = [f"step {each.step}: {each.problem}" for each in checked if not each.ok]
            if bad:
                return Notice(f"{run.name}: {'; '.join(bad)}", bad=True)
            count = "1 checkpoint is" if len(steps) == 1 else f"{len(steps)} checkpoints are"
            return Notice(f"{run.name}: {count} whole, byte by byte" if steps else f"{run.name} has no checkpoint yet")

        self.app.say(Notice(f"reading the checkpoints of {run.name}"))
        self.session.works.ask("verify", read, self.app.say)

    def action_delete(self) -> None:
        chosen, run = self.table.chosen, self.table.run
        if chosen is None or run is None:
            return
        if chosen["state"] in LIVE:
            ask_to_stop(self.app, run)
            return
        said: list[Row] = [
            [
                (clean(run.name, keep_newlines=False), "bright bold"),
                (" with its checkpoints, samples and logs", "foreground"),
            ],
            [("this cannot be undone", "val")],
        ]
        ways = (Way("y", "delete", "remove the whole run", run), Way("escape", "keep", "leave it as it is", None))
        self.app.push_screen(ConfirmScreen("delete this run?", said, ways, first=1), self._delete)

    def _delete(self, run: RunDir | None) -> None:
        if run is not None:
            self.session.reads.ask("delete", lambda _: remove_run(run), lambda _: self._deleted(run))

    def _deleted(self, run: RunDir) -> None:
        if self.session.run is not None and self.session.run.path == run.path:
            self.session.close()
        self.app.say(Notice(f"{run.name} deleted"))
        self.action_reload()


class Lines(Sequence[Row]):
    """The table's lines as rows, each made when it is to be seen."""

    def __init__(
        self, lines: Sequence[Line], columns: Sequence[tuple[str, int, bool, int]], marked: Sequence[str]
    ) -> None:
        self._lines, self._columns, self._marked = lines, columns, list(marked)

    def __len__(self) -> int:
        return len(self._lines)

    def path(self, index: int) -> str:
        """The run of a line."""
        return self._lines[index].path

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        each = self._lines[index]
        place = self._marked.index(each.path) if each.path in self._marked else None
        mark: Part = ("  ", "") if place is None else (f"{MARKS[place]} ", f"series-{place + 1} bold")
        return [mark, *line(each.facts, self._columns, each.branch)]


def columns_for(width: int) -> list[tuple[str, int, bool, int]]:
    """The columns that fit `width`; the run's name takes what is over."""
    width -= MARK
    for most in range(12, -1, -1):
        kept = [column for column in COLUMNS if column[3] <= most]
        fixed = sum(size + GAP for _, size, _, rank in kept if rank) if kept else 0
        if width - fixed >= 20 or most == 0:
            name = min(40, max(8, width - fixed))
            return [(title, name if rank == 0 else size, right, rank) for title, size, right, rank in kept]
    return []


def heading(columns: Sequence[tuple[str, int, bool, int]], sort: str) -> str:
    """The names of the columns, with a mark at the one that the table is sorted by."""
    names = [
        (f"{name}▾" if name in (sort, "run" if sort == "name" else "") else name, size, right)
        for name, size, right, _ in columns
    ]
    cells = [f"{name:>{size}}" if right else f"{name:<{size}}" for name, size, right in names]
    return " " * MARK + (" " * GAP).join(cells)


def line(facts: Facts, columns: Sequence[tuple[str, int, bool, int]], branch: str = "") -> list[Part]:
    """One run as a row of the table."""
    mark, look = state_part(str(facts["state"]))
    best = facts["best_val_loss"]
    bpb = facts["val_bits_per_byte"]
    texts = {
        "run": (branch + str(facts["name"]), "bright"),
        "state": (mark.rstrip(), look),
        "step": (step_of(int(facts["step"] or 0), int(facts["steps"] or 0)).strip(), "foreground"),
        "val": (fmt_loss(facts["last_val_loss"]), "val"),
        "best": (f"{fmt_loss(best)} @{facts['best_val_step']:,}" if best is not None else MISSING, "good"),
        "bpb": (f"{bpb:.3f}" if bpb is not None else MISSING, "foreground"),
        "params": (fmt_count(facts["params"]), "foreground"),
        "corpus": (str(facts["corpus"] or ""), "foreground"),
        "preset": (str(facts["preset"] or "custom"), "dim"),
        "tok/s": (fmt_count(facts["tokens_per_second"]), "foreground"),
        "time": (fmt_duration(facts["train_seconds"]), "foreground"),
        "when": (_when(facts), "dim"),
        "note": (str(facts.get("note") or ""), "accent"),
    }
    row: list[Part] = []
    for name, size, right, _ in columns:
        text, look = texts[name]
        if row:
            row.append((" " * GAP, ""))
        row.append((fit(text, size, "right" if right else "left"), look))
    return row


def _when(facts: Facts) -> str:
    """When the run was begun; of one that crashed, when it was last heard of."""
    if facts["state"] == "crashed" and facts.get("heartbeat"):
        return ago(float(facts["heartbeat"]))
    return ago(float(facts["created"])) if facts["created"] else MISSING
