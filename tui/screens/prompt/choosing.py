"""What is chosen from lists on screen 2: settings of sampling by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.errors import UserError
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.state.conversation import Conversation, Sheet
from tui.state.history import PromptHistory
from tui.state.news import Notice
from tui.state.presets import SHIPPED, forget_preset, keep_preset, own_presets, preset_of

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.text.template import Template
    from tui.screens.prompt.asking import Asking

    class _Base(Asking):
        main: Conversation
        side: str

else:
    _Base = object

KEEP, FORGET = object(), object()


class Choosing(_Base):
    """A mixin of screen 2."""

    _own: dict[str, dict[str, float]] | None = None

    def preset_name(self) -> str:
        """Which preset the sliders are as, by its name."""
        if self._own is None:
            self._own = {}
            self._read_presets()
        return preset_of(self.talk.sheet.values, {**SHIPPED, **self._own})

    def _read_presets(self) -> None:
        def take(found: dict[str, dict[str, float]]) -> None:
            self._own = found

        self.session.reads.ask("sampling presets", lambda _: own_presets(), take)

    def action_preset(self) -> None:
        """Settings of sampling by name."""
        own = self._own or {}
        present = self.preset_name()
        choices = [
            Choice(name, values, f"yours  {_said(values)}" if name in own else _said(values))
            for name, values in {**SHIPPED, **own}.items()
        ]
        if not present:
            choices.append(Choice("keep these settings under a name", KEEP, _said(self.talk.sheet.values)))
        if own:
            choices.append(Choice("forget one of yours", FORGET))
        cursor = next((i for i, choice in enumerate(choices) if choice.text == present), 0)
        self.app.push_screen(ChooseScreen("settings of sampling", choices, cursor=cursor), self._chosen_preset)

    def _chosen_preset(self, value: Any) -> None:
        if value is KEEP:
            about = "these settings are found under it from now on"
            self.app.push_screen(AskScreen("a name for these settings", about, "", _name), self._keep_preset)
        elif value is FORGET:
            choices = [Choice(name, name, _said(values)) for name, values in (self._own or {}).items()]
            self.app.push_screen(ChooseScreen("forget settings", choices), self._forget_preset)
        elif value is not None:
            self.talk.sheet = replace(self.talk.sheet, values={**self.talk.sheet.values, **value})
            self.show_sheet()
            self.sheet_changed()

    def more_sources(self) -> list[Choice]:
        """B may be of another run."""
        if self.talk is self.main or self.main.other is None:
            return []
        return [Choice("another run's best checkpoint", self._choose_run, "to compare two runs")]

    def _choose_run(self) -> None:
        runs_dir, here = self.session.runs_dir, self.main.run

        def read(_: object) -> list[tuple[RunDir, str]]:
            from engine.runs.layout import list_runs

            with_weights = [run for run in list_runs(runs_dir) if run.checkpoint_steps()]
            return [(run, run.name) for run in with_weights if here is None or run.path != here.path]

        def show(found: list[tuple[RunDir, str]]) -> None:
            choices = [Choice(name, run) for run, name in found]
            empty = "no other run has a checkpoint"
            self.app.push_screen(ChooseScreen("the run to ask as B", choices, empty=empty), self._chosen_run)

        self.session.reads.ask("runs to ask", read, show)

    def _chosen_run(self, run: RunDir | None) -> None:
        if run is None:
            return

        def read(_: object) -> Template:
            from engine.runs.reader import RunReader
            from engine.text.template import Template

            found = RunReader(run).info.get("template")
            return Template.from_dict(found) if isinstance(found, dict) else Template(infix="", suffix="")

        def take(template: Template) -> None:
            if self.main.other is not None:
                self.main.other = beside = Conversation(run, PromptHistory(run.path / "prompts.jsonl"))
                beside.sheet, beside.source, beside.template = self.main.sheet, "best", template
                self.side = "b"
                self.show_sheet()
                self.show_answer()

        self.session.reads.ask("the run to ask", read, take)

    def action_grid(self) -> None:
        """The prompt at nine settings of temperature and top-p, or sixteen; those of the chosen cell are taken."""
        from tui.screens.prompt.grid import GridScreen, side_for

        if not self.ready_to_ask():
            return
        self.write_back()
        try:
            request = self.request(self.talk, self.talk.sheet)
        except UserError as error:
            self.fail(str(error))
            return
        grid = self.talk.ask_grid(request, self.session.talks.models, side_for(*self.app.size))

        def take(chosen: tuple[float, float] | None) -> None:
            if not grid.done:
                grid.cancel()
            if chosen is not None:
                values = {**self.talk.sheet.values, "temperature": chosen[0], "top_p": chosen[1]}
                self.talk.sheet = replace(self.talk.sheet, values=values)
                self.show_sheet()
                self.sheet_changed()

        self.app.push_screen(GridScreen(grid), take)

    def _keep_preset(self, name: str | None) -> None:
        if name is not None:
            values = dict(self.talk.sheet.values)
            self._change(lambda: keep_preset(name, values), f"kept as {name}; ctrl+n lists it")

    def _forget_preset(self, name: str | None) -> None:
        if name is not None:
            self._change(lambda: forget_preset(name), f"{name} is forgotten")

    def _change(self, change: Any, said: str) -> None:
        def done(found: dict[str, dict[str, float]]) -> None:
            self._own = found
            self.session.notices.append(Notice(said))

        def work(_: object) -> dict[str, dict[str, float]]:
            change()
            return own_presets()

        self.session.reads.ask("sampling presets", work, done)


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not name or len(name) > 40 or name in SHIPPED:
        raise UserError("a name has 1 to 40 characters and is not one of the program's own")
    return name


def _said(values: Mapping[str, float]) -> str:
    return Sheet(values=values).settings().describe()
