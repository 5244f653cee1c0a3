"""What is done to the run under the cursor: resume, rename, note, fork, verify, export, stop, delete.

Some of what is asked loads NumPy, and is loaded when it is asked: the table is there before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import UserError
from engine.runs.layout import RunDir, check_name, remove_run
from engine.runs.naming import rename_run, write_note
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen, Way
from tui.screens.workscreen import WorkScreen
from tui.state.news import Notice
from tui.state.reading import Follower, Look
from tui.state.runstable import LIVE, RunsTable
from tui.state.session import Session
from tui.text import Row, clean, fmt_loss

if TYPE_CHECKING:
    from tui.state.exporting import Export, Weights


class Doing(WorkScreen):
    """The table's actions on one run; what takes long or may wait happens beside the screen."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.table: RunsTable = session.table

    def action_reload(self) -> None:
        """Read all runs now."""
        raise NotImplementedError

    def action_resume(self) -> None:
        from tui.screens.dialogs.asking import ask_to_resume

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
            self.session.reads.ask("fork", Follower(run).look, self._fork)

    def _fork(self, look: Look | None) -> None:
        from tui.screens.dialogs.asking import ask_to_fork

        if look is None:
            return
        view = look.view
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

    def action_export(self) -> None:
        """Choose what of the run is written for other programs, and where."""
        from tui.state.exporting import exports_of

        run = self.table.run
        if run is None:
            return

        def choose(found: list[Export]) -> None:
            choices = [Choice(each.about, each) for each in found]
            title = f"export {clean(run.name, keep_newlines=False)}"
            self.app.push_screen(ChooseScreen(title, choices), lambda chosen: self._export(run, chosen))

        self.session.reads.ask("exports", lambda _: exports_of(run), choose)

    def _export(self, run: RunDir, way: Export | None) -> None:
        """Ask for the checkpoint, where the way is of one and there are several."""
        from tui.state.exporting import weights_of

        if way is None or not way.weights:
            self._ask_where(run, way, "best")
            return

        def choose(found: list[Weights]) -> None:
            if len({each.step for each in found}) == 1:
                self._ask_where(run, way, "best")
                return
            choices = [Choice(*_of_weights(each)) for each in found]
            title = f"export {clean(run.name, keep_newlines=False)}: of which weights?"
            self.app.push_screen(ChooseScreen(title, choices), lambda name: self._ask_where(run, way, name))

        self.session.works.ask("weights", lambda _: weights_of(run), choose)

    def _ask_where(self, run: RunDir, way: Export | None, checkpoint: str | None) -> None:
        from tui.state.exporting import export_new

        if way is None or checkpoint is None:
            return

        def write(target: Path | None) -> None:
            if target is not None:
                self.app.say(Notice(f"writing {target}"))
                name = f"export {run.path} {way.kind} {checkpoint}"
                self.session.works.ask(
                    name, lambda _: Notice(export_new(run, way.kind, target, checkpoint)), self.app.say
                )

        about = f"{way.about}; from {clean(str(Path.cwd()), keep_newlines=False)}, nothing that is there is replaced"
        name = f"{run.name}{'' if checkpoint == 'best' else f'-{checkpoint}'}{way.suffix}"
        self.app.push_screen(AskScreen("where to", about, name, parse_target), write)

    def action_delete(self) -> None:
        chosen, run = self.table.chosen, self.table.run
        if chosen is None or run is None:
            return
        if chosen["state"] in LIVE:
            from tui.screens.dialogs.asking import ask_to_stop

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


def _of_weights(weights: Weights) -> tuple[str, str, str]:
    """A checkpoint as a line to choose: its words, its name, and its loss where one was measured."""
    words = f"step {weights.step:,}"
    if not weights.name.isdecimal():
        words = f"{weights.name}: {words}"
    return words, weights.name, f"val {fmt_loss(weights.val_loss)}" if weights.val_loss is not None else ""


def parse_target(text: str) -> Path:
    """A path a person typed; raises UserError for none."""
    if not text.strip():
        raise UserError("type the name of a file or folder")
    try:
        return Path(text.strip()).expanduser()
    except RuntimeError:
        raise UserError(f"there is no home for {text.strip()}; type another path") from None
