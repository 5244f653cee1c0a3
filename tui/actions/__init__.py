"""Every action of the workbench, once: its id, its keys, its word in the footer, its line in the palette and in help.

An id is `scope.name`; the scope is the node whose class declares the bindings: the app, a screen, a pane or a widget.
`bindings(scope)` gives them to Textual; footer, palette, help and the keymap file read the same table. Nothing is bound
outside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from textual.binding import Binding, BindingType
from textual.keys import REPLACED_KEYS, key_to_character

from tui.actions import everywhere, four_to_six, one_to_three
from tui.actions.action import Action, written

__all__ = ["ACTIONS", "Action", "bindings", "is_text", "of_scope", "written"]

ACTIONS: tuple[Action, ...] = (*one_to_three.ACTIONS, *four_to_six.ACTIONS, *everywhere.ACTIONS)
_OF = {scope: [action for action in ACTIONS if action.scope == scope] for scope in {each.scope for each in ACTIONS}}


@cache
def is_text(key: str) -> bool:
    """Whether an input takes `key` for a character."""
    character = key_to_character(REPLACED_KEYS.get(key, key))
    return character is not None and character.isprintable()


def bindings(scope: str) -> list[BindingType]:
    """The scope's bindings for a class' BINDINGS, with ids that a keymap names."""
    return [
        Binding(action.key, action.do, action.about, show=False, priority=action.priority, id=action.id)
        for action in _OF.get(scope, ())
        if action.key
    ]


def of_scope(scope: str, keymap: Mapping[str, str] | None = None) -> list[Action]:
    """The scope's actions, in the order of the footer, with the keys that `keymap` (id to keys) gives them."""
    found = _OF.get(scope, ())
    return [replace(a, key=keymap[a.id], pair="") if keymap and a.id in keymap else a for a in found]
