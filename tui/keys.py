"""The registry of actions at work in the application: which keys work where the focus is, palette, help, jump."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, TextArea

from tui.actions import ACTIONS, Action, is_text, of_scope
from tui.places import PLACES
from tui.screens.workscreen import Acting, WorkScreen
from tui.state.news import Notice

if TYPE_CHECKING:
    from tui.screens.dialogs.jump import Jumpable

    _Base = App[Any]
else:
    _Base = object

CHANGING = frozenset(action.name for action in ACTIONS if action.changes)


class Keyed(_Base):
    """Mixin for an App: every action of the registry ends in a method of the node that has its scope."""

    keymap: dict[str, str]
    read_only: bool

    def say(self, notice: Notice) -> None:
        """A line in the upper corner of the screen."""
        raise NotImplementedError

    @property
    def in_dialogue(self) -> bool:
        """Whether a dialogue lies over the screen."""
        return isinstance(self.screen, ModalScreen)

    def keys_here(self) -> list[Action]:
        """The actions whose keys work where the focus is, the innermost first, each with the keys that reach it.

        In an input what is a character is text, and a key that something inside takes is not offered again; the way
        out of one is always shown.
        """
        screen = self.workplace
        typing = isinstance(screen.focused, Input | TextArea)
        taken: set[str] = set()
        found = []
        for owner in self.owners():
            for action in of_scope(owner.scope, self.keymap):
                if not self.works(owner, action):
                    continue
                free = tuple(key for key in action.keys if key not in taken and not (typing and is_text(key)))
                taken.update(free)
                if free or not action.key:
                    shown = action if free == action.keys else action.with_keys(free)
                    shown = screen.relabel(shown) if isinstance(screen, WorkScreen) else shown
                    found.append(replace(shown, stays=True) if typing and shown.do == "back" else shown)
        return found

    def works(self, owner: Any, action: Action) -> bool:
        """Whether `action` means something now, and may be done."""
        return owner.check_action(action.name, ()) is True and not (self.read_only and action.changes)

    @property
    def workplace(self) -> Screen[Any]:
        """The screen below all dialogues."""
        return next((each for each in reversed(self.screen_stack) if not isinstance(each, ModalScreen)), self.screen)

    def owners(self) -> list[Any]:
        """What has actions, from the widget with the focus up to the app."""
        node: Any = self.workplace.focused or self.workplace
        found = []
        while node is not None:
            if isinstance(node, Acting) and node.scope:
                found.append(node)
            node = node.parent
        return found

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action of the app means something on this screen."""
        if action == "go" and parameters:
            return parameters[0] in {place.name for place in PLACES} and not self.in_dialogue
        if action == "jump":
            return bool(self.jumps)
        if action == "palette":
            return not self.in_dialogue  # there the key is the dialogue's
        return super().check_action(action, parameters)

    async def run_action(self, action: Any, default_namespace: Any = None, namespaces: Any = None) -> bool:
        """As Textual does, but nothing that changes something where only looking is allowed."""
        if self.read_only and isinstance(action, str) and action.rpartition(".")[2].partition("(")[0] in CHANGING:
            self.refuse()
            return False
        return await super().run_action(action, default_namespace, namespaces)

    def refuse(self) -> None:
        """Say that only looking is allowed."""
        self.say(Notice("this screen only looks: start it with --allow-control to change something", bad=True))

    def owner_of(self, action: Action) -> Any:
        """The node an action runs on, None where there is none now."""
        return self._acting().get(action.scope)

    def _acting(self) -> dict[str, Any]:
        """By scope the node that its actions run on: the nearest to the focus."""
        nodes = [*self.owners(), self.workplace, *self.workplace.query("*")]
        return {node.scope: node for node in reversed(nodes) if isinstance(node, Acting)}

    def do(self, action: Action) -> None:
        """Run an action as its key would."""
        owner = self.owner_of(action)
        if owner is not None:
            self.call_later(self.run_action, action.do, owner)

    def action_palette(self) -> None:
        from tui.screens.dialogs.choose import Choice, ChooseScreen

        choices = []
        nodes = self._acting()
        for action in ACTIONS:
            owner = nodes.get(action.scope) if action.palette else None
            if owner is not None and self.works(owner, action):
                mapped = of_scope(action.scope, self.keymap)
                key = next(each.key_shown for each in mapped if each.id == action.id)
                choices.append(Choice(action.about, action, key, action.label))
        self.push_screen(ChooseScreen("commands", choices), lambda action: self.do(action) if action else None)

    def action_help(self) -> None:
        from tui.screens.dialogs.help import HelpScreen, help_lines

        if not self.in_dialogue:
            self.push_screen(HelpScreen(*help_lines(self.owners(), self.keys_here(), self.keymap)))

    def action_jump(self) -> None:
        """A letter at each pane in sight; pressing it goes there."""
        from tui.screens.dialogs.jump import JumpScreen

        if self.jumps:
            self.push_screen(JumpScreen(self.jumps), lambda pane: pane.focus_target() if pane is not None else None)

    @property
    def jumps(self) -> list[Jumpable]:
        """Where `f` goes to: nowhere from a dialogue, nor where there is only one pane."""
        from tui.screens.dialogs.jump import targets

        screen = self.workplace
        found = targets(screen.panes()) if isinstance(screen, WorkScreen) and not self.in_dialogue else []
        return found if len(found) > 1 else []
