"""One action: its id, its keys, its word in the footer, its line in the palette and in help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

_HELD = {"ctrl": "^", "shift": "⇧", "alt": "alt+"}
_NAMED = {
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
    "enter": "⏎",
    "escape": "esc",
    "space": "␣",
    "backspace": "⌫",
    "delete": "Del",
    "slash": "/",
    "question_mark": "?",
    "equals_sign": "=",
    "plus": "+",
    "minus": "-",
    "comma": ",",
    "full_stop": ".",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    **{f"f{number}": f"F{number}" for number in range(1, 13)},
}


def written(key: str) -> str:
    """A key as people write it."""
    *held, name = key.split("+")
    return "".join(_HELD.get(each, f"{each}+") for each in held) + _NAMED.get(name, name)


@dataclass(frozen=True)
class Action:
    """`do` is Textual's action, run on the scope's node; `label` is its word in the footer ("" hides it there), `about`
    its line in help and the palette ("": the line of the action before says it too); `pair` its key in the footer with
    that of the next action, where one word is for both; `changes` says that it writes or starts something, which a
    read-only screen must not; `stays` that the footer keeps it however narrow the terminal is."""

    id: str
    key: str
    do: str
    label: str
    about: str
    pair: str = ""
    palette: bool = True
    priority: bool = False
    changes: bool = False
    stays: bool = False

    @cached_property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Its keys, the one that is shown first."""
        return tuple(key for key in self.key.split(",") if key)

    def with_keys(self, keys: Sequence[str]) -> Action:
        """This action as it is reached by some of its keys alone."""
        return replace(self, key=",".join(keys), pair=self.pair if keys[:1] == self.keys[:1] else "")

    @cached_property
    def name(self) -> str:
        """The action without its parameters, as `check_action` is asked for it."""
        return self.do.partition("(")[0]

    @cached_property
    def key_shown(self) -> str:
        """Its key as the footer and the palette have it."""
        return self.pair or written(self.key.partition(",")[0])
