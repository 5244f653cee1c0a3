"""The settings, made from their schema: each with its meaning, its default and a way back. What is chosen is in force,
and kept, at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, get_args

from textual.app import ComposeResult
from textual.binding import BindingType

from tui.actions import ACTIONS, bindings
from tui.screens.dialogs.choose import Choice, ChooseScreen
from tui.screens.dialogs.dialogue import Box, Dialogue
from tui.state.settings import settings_path
from tui.state.settingschema import Settings, parse, shown
from tui.text import Row, clean, lines_of
from tui.widgets.form import Field, SettingsForm
from tui.widgets.rows import Rows

if TYPE_CHECKING:
    from tui.app import Workbench


class SettingsScreen(Dialogue[None]):
    """A form of all settings."""

    CSS_PATH = "settings.tcss"
    AUTO_FOCUS = "SettingsForm"
    BINDINGS: ClassVar[list[BindingType]] = bindings("settings")

    app: Workbench

    def compose(self) -> ComposeResult:
        with Box("settings", "←→ choose   ^r the default   ^k keys   esc close"):
            yield SettingsForm()
            yield Rows(id="said")

    def on_mount(self) -> None:
        form, session = self.query_one(SettingsForm), self.app.session
        now = session.settings
        fields = [_field(name, ()) for name in Settings.model_fields]
        form.styles.height = len(fields)
        form.set_fields(fields, {name: shown(getattr(now, name)) for name in Settings.model_fields})
        session.reads.ask("sampling presets", lambda _: _sampling_presets(), self._take_presets)
        self.call_after_refresh(self._say)

    def _take_presets(self, names: tuple[str, ...]) -> None:
        if self.built:
            self.query_one(SettingsForm).update_field("sampling_preset", choices=names)

    def on_resize(self) -> None:
        self.call_after_refresh(self._say)

    def on_settings_form_changed(self, event: SettingsForm.Changed) -> None:
        form = self.query_one(SettingsForm)
        errors = {}
        try:
            value = parse(event.key, form.value(event.key))
        except ValueError as error:
            errors[event.key] = str(error)
        else:
            self._set(event.key, value)
        form.set_errors(errors)
        self._say()

    def _set(self, name: str, value: Any) -> None:
        session = self.app.session
        if getattr(session.settings, name) == value:
            return
        if name == "theme":
            self.app.action_look(str(value))
            return
        session.remember(name, value)
        if name == "runs_sort":
            session.table.sort_by(str(value))

    def on_settings_form_moved(self) -> None:
        self._say()

    def on_settings_form_finding(self) -> None:
        self.action_keys()

    def _say(self) -> None:
        """What the setting means, its default, and where it is kept."""
        if not self.query(SettingsForm):
            return
        form, said = self.query_one(SettingsForm), self.query_one("#said", Rows)
        field, width = form.field, max(20, said.size.width)
        rows: list[Row] = []
        if field is not None and field.key in form.errors:
            rows += [[(line, "alarm")] for line in lines_of(f"✖ {form.errors[field.key]}", width)]
        elif field is not None:
            rows += [[(line, "foreground")] for line in lines_of(f"{field.about}; by default {field.value}", width)]
        place = clean(str(settings_path()), keep_newlines=False)
        rows += [[], *([(line, "dim")] for line in lines_of(f"kept in {place}", width))]
        mine = len(self.app.keymap)
        keys = f"{mine} of your own" if mine else "none of your own"
        rows += [
            [(line, "dim")] for line in lines_of(f"keys: {keys}, in keymap.toml beside it; ^k lists all actions", width)
        ]
        said.styles.height = len(rows)
        said.show(rows)

    def action_keys(self) -> None:
        """All actions with their ids and keys."""
        self.app.action_keys()


def keys_screen(keymap: dict[str, str]) -> ChooseScreen:
    """Every action with its id, as a keymap file names it, and its keys; to search in."""
    place = settings_path().with_name("keymap.toml")
    choices = []
    for action in ACTIONS:
        keys = keymap.get(action.id, action.key)
        mine = "• " if action.id in keymap else ""
        choices.append(
            Choice(f"{action.id:<26} {action.about or action.label}", None, f"{mine}{keys or 'no key'}", keys)
        )
    return ChooseScreen(f'keys; others in {place}, as in "train.pause" = "P"', choices)


def _field(name: str, choices: tuple[str, ...]) -> Field:
    info = Settings.model_fields[name]
    if info.annotation is bool:
        choices = ("no", "yes")
    elif get_args(info.annotation):
        choices = tuple(str(each) for each in get_args(info.annotation))
    text = info.annotation is str
    return Field(name, name, shown(info.default), info.description or "", "", choices, text, prose=text)


def _sampling_presets() -> tuple[str, ...]:
    from tui.state.presets import SHIPPED, own_presets

    return tuple({**SHIPPED, **own_presets()})
