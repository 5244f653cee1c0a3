"""Screen 4: all runs, live and ended: open, filter, compare, note, fork, resume, stop, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from engine.runs.layout import RunDir
from tui.actions import Action, bindings
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.screens.runs.doing import Doing
from tui.screens.runs.lines import Lines, columns_for, heading, sizes_of
from tui.screens.runs.preview import RunPreview
from tui.state.news import Notice
from tui.state.runsreader import LOOK_EVERY, Listed, RunsReader
from tui.state.runstable import LIVE, SORTS
from tui.state.session import Session
from tui.state.worker import Ticket
from tui.text import Part, Row, clean
from tui.widgets.menu import Menu
from tui.widgets.oneline import OneLine
from tui.widgets.rows import Rows

EMPTY = "no runs yet; n trains a first one"
NO_MATCH = "no run matches; esc shows all"


class RunsScreen(Doing):
    """A table of all runs over the curves of those that are marked, or of the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")
    CSS_PATH = "runs.tcss"
    AUTO_FOCUS = "#list"
    scope = "runs"
    place = "runs"
    help_title = "runs"
    about: ClassVar[str] = (
        "All runs, live ones first. The cursor stays on its run, wherever its line goes. "
        "/ shows those that match, as you type: a word, corpus:notes, state:running, "
        "val<1.5, lr>1e-3, params>1M, -state:failed; space marks up to eight, whose "
        "curves are drawn over each other, and = says how they differ."
    )

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._reader = RunsReader(session.runs_dir)
        self._polls, self._looked = 1, 0

    def body(self) -> ComposeResult:
        with Horizontal(id="runs-line"):
            yield Rows(id="count")
            yield OneLine(placeholder="name, corpus:notes, state:running, val<1.5, lr>1e-3 …", id="filter")
        with Vertical(id="table") as box:
            box.border_title = "runs"
            yield Rows(id="head")
            yield Menu(empty="reading the runs …", id="list")
        yield RunPreview(self.session)

    def on_mount(self) -> None:
        self.query_one("#filter", Input).value = self.table.typed
        self.action_reload()
        self._show()

    def on_resize(self) -> None:
        self.set_class(self.size.height < 20, "low")
        self.set_class(self.size.width < 30 or self.size.height < 8, "tiny")
        self.call_after_refresh(self._show)

    def on_screen_resume(self) -> None:
        """It may be long since the runs were looked at; what has been begun is not begun anew."""
        if self.table.facts is not None and not self._reader.busy:
            self.action_reload()

    def tick(self) -> None:
        """Called at every poll of the app."""
        self._polls += 1
        if self.built:
            self.query_one(RunPreview).tick()

    def action_reload(self) -> None:
        """Read what has changed now."""
        self._reader, self._looked = RunsReader(self.session.runs_dir, self._reader), 0
        self.session.reads.ask("runs", self._look, self._take, self._cannot, every=LOOK_EVERY)

    def _look(self, ticket: Ticket) -> Listed | None:
        """Nothing is read while another screen is shown, where no poll comes from. For the worker's thread."""
        before, self._looked = self._looked, self._polls
        return self._reader.look(ticket) if before != self._polls or self._reader.busy else None

    def _take(self, listed: Listed) -> None:
        self.table.take(listed.facts, left=listed.left)
        self._show()

    def _cannot(self, problem: str) -> None:
        self.table.take([], problem)
        self._show()

    # -- what is shown -------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if not self.built:
            return
        table, menu = self.table, self.query_one(Menu)
        width = max(12, menu.size.width - 2)
        columns = columns_for(width, sizes_of(table.facts or (), table.lines))
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
        if table.facts is None or (table.left and not table.facts):
            return "reading the runs …"
        return NO_MATCH if table.facts else EMPTY

    def _show_count(self) -> None:
        table, facts = self.table, self.table.facts or []
        typing = self.query_one("#filter", Input)
        self.set_class(bool(table.typed) or typing.has_focus, "filtered")
        live = sum(each["state"] in LIVE for each in facts)
        said: list[Part] = [("1 run" if len(facts) == 1 else f"{len(facts)} runs", "bright")]
        said += [(f"  so far, {table.left} to be read", "dim")] if table.left else []
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
        if action in ("open", "delete", "rename", "note", "mark", "fork", "verify", "export"):
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

    def action_open(self) -> None:
        if self.table.run is not None:
            self.app.open_run(self.table.run)

    def action_differences(self) -> None:
        from tui.screens.runs.compare import CompareScreen

        if len(self.table.marked) >= 2:
            runs = [RunDir(Path(path)) for path in self.table.marked]
            self.app.push_screen(CompareScreen(self.session, runs))
