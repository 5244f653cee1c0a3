"""One action: its id, its keys, its word in the footer, its line in the palette and in help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

_KEY_NAMES = {"question_mark": "?", **{f"f{number}": f"F{number}" for number in range(1, 13)}}


@dataclass(frozen=True)
class Action:
    """`do` is Textual's action, run on the scope's node; `label` is its word in the footer ("" hides it there), `about`
    its line in help and the palette ("": another action's line says it too); `changes` says that it writes or starts
    something, which a read-only screen must not."""

    id: str
    key: str
    do: str
    label: str
    about: str
    shown_key: str = ""
    palette: bool = True
    priority: bool = False
    changes: bool = False

    @cached_property
    def scope(self) -> str:
        return self.id.partition(".")[0]

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Its keys, the one that is shown first."""
        return tuple(key for key in self.key.split(",") if key)

    def with_keys(self, keys: Sequence[str]) -> Action:
        """This action as it is reached by some of its keys alone."""
        shown = self.shown_key if keys[:1] == self.keys[:1] else ""
        return replace(self, key=",".join(keys), shown_key=shown)

    @cached_property
    def name(self) -> str:
        """The action without its parameters, as `check_action` is asked for it."""
        return self.do.partition("(")[0]

    @property
    def key_shown(self) -> str:
        """The key as people write it."""
        first = self.key.partition(",")[0]
        return self.shown_key or _KEY_NAMES.get(first) or first.replace("ctrl+", "^")
