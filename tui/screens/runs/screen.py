"""Screen 4: all runs, live and ended: open, resume, stop, delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from engine.errors import UserError
from engine.runs.layout import RunDir, list_runs, remove_run
from engine.runs.summary import overview
from tui.actions import Action, bindings
from tui.screens.dialogs.asking import ask_to_resume, ask_to_stop
from tui.screens.dialogs.confirm import ConfirmScreen, Way
from tui.screens.runs.preview import RunPreview
from tui.screens.workscreen import WorkScreen
from tui.state.news import Notice
from tui.state.session import LIVE_STATES, Session
from tui.state.summary import ago, state_part, step_of
from tui.text import MISSING, Part, Row, clean, fit, fmt_count, fmt_loss
from tui.widgets.keybar import KeyBar
from tui.widgets.menu import Menu
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    pass

RELOAD_EVERY = 7  # polls, about two seconds
EMPTY = "no runs yet; n trains a first one"
# name, width, right-aligned, rank: the highest ranks leave first as the terminal narrows
COLUMNS = (
    ("run", 30, False, 0),
    ("state", 13, False, 1),
    ("step", 15, True, 3),
    ("val", 7, True, 2),
    ("best", 15, True, 6),
    ("params", 6, True, 4),
    ("corpus", 14, False, 7),
    ("preset", 14, False, 8),
    ("when", 11, True, 5),
)
GAP = 2


class RunsScreen(WorkScreen):
    """A table that reads itself anew every two seconds."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("runs")
    AUTO_FOCUS = "#list"
    scope = "runs"
    place = "runs"
    help_title = "runs"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._facts: list[dict[str, Any]] = []
        self._polls = 0

    def body(self) -> ComposeResult:
        yield Rows(id="runs-line")
        with Vertical(id="table") as table:
            table.border_title = "runs"
            yield Rows(id="head")
            yield Menu(empty=EMPTY, id="list")
        yield RunPreview(self._session)

    def on_mount(self) -> None:
        self.call_after_refresh(self.action_reload)

    def on_resize(self) -> None:
        self.set_class(self.size.height < 20, "low")
        self.call_after_refresh(self._show)

    def tick(self) -> None:
        """Called at every poll of the app."""
        if not self.query(KeyBar):
            return
        self._polls += 1
        if self._polls % RELOAD_EVERY == 0:
            self.action_reload()
        self.query_one(RunPreview).tick()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self.call_after_refresh(self.action_reload)

    def action_reload(self) -> None:
        """Read the two small files of every run; the cursor stays on its run, wherever that stands now."""
        if not self.query(KeyBar):  # on the way out: the parts are gone already
            return
        try:
            runs = list_runs(self._session.runs_dir)
        except UserError as error:
            self._session.notices.append(Notice(str(error), bad=True))
            runs = []
        facts = in_order([overview(run) for run in runs])
        cursor = follow(self._paths(), self.query_one(Menu).cursor, [str(each["path"]) for each in facts])
        self._facts = facts
        self._show(cursor)

    def _paths(self) -> list[str]:
        return [str(each["path"]) for each in self._facts]

    def _show(self, cursor: int | None = None) -> None:
        if not self.query(KeyBar):
            return
        menu = self.query_one(Menu)
        width = max(20, menu.size.width - 2)
        columns = columns_for(width)
        head = "".join(
            " " * GAP * (i > 0) + (f"{name:>{size}}" if right else f"{name:<{size}}")
            for i, (name, size, right, _) in enumerate(columns)
        )
        self.query_one("#head", Rows).show([[("  " + head, "dim")]] if self._facts else [])
        menu.set_items([line(facts, columns) for facts in self._facts], cursor)
        self.query_one(RunPreview).look_at(self._run() if self._facts else None)
        live = sum(facts["state"] in LIVE_STATES for facts in self._facts)
        where = clean(str(self._session.runs_dir), keep_newlines=False)
        count = "1 run" if len(self._facts) == 1 else f"{len(self._facts)} runs"
        said: list[Part] = [("tinytui  ", "bright bold"), (count, "bright")]
        said += [(f"  {live} live", "good")] if live else []
        self.query_one("#runs-line", Rows).show([[*said, (f"  in {where}", "dim")]])
        self.show_keys()

    def relabel(self, action: Action) -> Action:
        """`x` stops a live run before it can delete it."""
        live = action.do == "delete" and bool(self._facts) and self._chosen()["state"] in LIVE_STATES
        return replace(action, label="stop") if live else action

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("open", "delete"):
            return bool(self._facts)
        if action == "resume":
            return bool(self._facts) and self._chosen()["state"] in ("finished", "stopped", "failed", "crashed", "new")
        if action == "back":
            return not self._session.empty
        return True

    def _chosen(self) -> dict[str, Any]:
        return self._facts[min(self.query_one(Menu).cursor, len(self._facts) - 1)]

    def _run(self) -> RunDir:
        from pathlib import Path

        return RunDir(Path(self._chosen()["path"]))

    def on_menu_moved(self) -> None:
        self.query_one(RunPreview).look_at(self._run() if self._facts else None)
        self.show_keys()

    def on_menu_chosen(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if self._facts:
            self.app.open_run(self._run())

    def action_resume(self) -> None:
        if self.check_action("resume", ()):
            facts = self._chosen()
            step, steps = int(facts["step"] or 0), int(facts["steps"] or 0)
            ask_to_resume(self.app, self._run(), state=facts["state"], step=step, steps=steps)

    def action_back(self) -> None:
        if not self._session.empty:
            self.app.show_train()

    def action_delete(self) -> None:
        if not self._facts:
            return
        facts, run = self._chosen(), self._run()
        if facts["state"] in LIVE_STATES:
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
        if run is None:
            return
        try:
            remove_run(run)
        except UserError as error:
            self._session.notices.append(Notice(str(error), bad=True))
        else:
            if self._session.run is not None and self._session.run.path == run.path:
                self._session.close()
            self._session.notices.append(Notice(f"{run.name} deleted"))
        self.action_reload()


def in_order(facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Live runs first, the newest of them on top, so that no row moves because another run wrote its heartbeat."""
    live = [each for each in facts if each["state"] in LIVE_STATES]
    live.sort(key=lambda each: (-float(each["created"] or 0), str(each["name"])))
    return live + [each for each in facts if each["state"] not in LIVE_STATES]


def follow(before: Sequence[str], cursor: int, after: Sequence[str]) -> int:
    """Where in `after` the run is that the cursor stood on in `before`; when it is gone, its nearest neighbour there,
    of those below it first."""
    places = {path: index for index, path in enumerate(after)}
    return next((places[path] for path in [*before[cursor:], *before[:cursor][::-1]] if path in places), 0)


def columns_for(width: int) -> list[tuple[str, int, bool, int]]:
    """The columns that fit `width`; the run's name takes what is over."""
    for most in range(8, -1, -1):
        kept = [column for column in COLUMNS if column[3] <= most]
        fixed = sum(size + GAP for _, size, _, rank in kept if rank) if kept else 0
        if width - fixed >= 20 or most == 0:
            name = min(40, max(8, width - fixed))
            return [(title, name if rank == 0 else size, right, rank) for title, size, right, rank in kept]
    return []


def line(facts: dict[str, Any], columns: list[tuple[str, int, bool, int]]) -> list[Part]:
    """One run as a row of the table."""
    mark, look = state_part(str(facts["state"]))
    best = facts["best_val_loss"]
    texts = {
        "run": (facts["name"], "bright"),
        "state": (mark.rstrip(), look),
        "step": (step_of(int(facts["step"] or 0), int(facts["steps"] or 0)).strip(), "foreground"),
        "val": (fmt_loss(facts["last_val_loss"]), "val"),
        "best": (f"{fmt_loss(best)} @{facts['best_val_step']:,}" if best is not None else "–", "good"),
        "params": (fmt_count(facts["params"]), "foreground"),
        "corpus": (str(facts["corpus"] or ""), "foreground"),
        "preset": (str(facts["preset"] or "custom"), "dim"),
        "when": (ago(float(facts["created"])) if facts["created"] else MISSING, "dim"),
    }
    row: list[Part] = []
    for name, size, right, _ in columns:
        text, look = texts[name]
        if row:
            row.append((" " * GAP, ""))
        row.append((fit(text, size, "right" if right else "left"), look))
    return row
