"""The registry is whole: each action can be done by who has its scope, and nothing is bound outside it."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from textual.dom import DOMNode

import tui
from tui.actions import ACTIONS, Action, bindings, of_scope, written
from tui.screens.dialogs.help import help_lines
from tui.state.settings import load_keymap

SOURCES = Path(tui.__file__).parent


def _owners() -> dict[str, list[type]]:
    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        if module.name.split(".")[1] in ("app", "screens", "widgets"):
            importlib.import_module(module.name)
    found: dict[str, list[type]] = {}
    waiting = [DOMNode]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        scope = getattr(kind, "scope", "")
        if kind.__module__.startswith("tui.") and isinstance(scope, str) and scope:
            found.setdefault(scope, []).append(kind)
    return found


OWNERS = _owners()


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_is_done_by_who_has_its_scope(action: Action) -> None:
    owners = OWNERS.get(action.scope, [])
    if not owners:  # a dialogue, or parts that share a scope by name
        sources = "".join(path.read_text() for path in SOURCES.rglob("*.py"))
        assert f'bindings("{action.scope}")' in sources and f"def action_{action.name}(" in sources
        return
    assert any(hasattr(owner, f"action_{action.name}") for owner in owners), owners


def test_ids_are_distinct_and_say_scope_and_name() -> None:
    assert [each for each, count in Counter(action.id for action in ACTIONS).items() if count > 1] == []
    assert all(action.id.partition(".")[2].isidentifier() for action in ACTIONS)


@pytest.mark.parametrize("scope", sorted({action.scope for action in ACTIONS}))
def test_no_key_means_two_things_in_one_scope(scope: str) -> None:
    keys = Counter(key for action in of_scope(scope) for key in action.keys)
    assert [key for key, count in keys.items() if count > 1] == []


@pytest.mark.parametrize("scope", ["of no action", *sorted({action.scope for action in ACTIONS})])
def test_help_has_each_key_once_beside_what_it_does(scope: str) -> None:
    """All keys of an action, and no other's but of the one whose line it speaks for."""
    actions = of_scope(scope)
    _, rows = help_lines([SimpleNamespace(scope=scope)], actions)
    said = {str(row[1][0]): str(row[0][0]).split() for row in rows if row}
    wanted: dict[str, list[str]] = {}
    about = ""
    for action in actions:
        about = action.about or about
        if action.key:
            wanted.setdefault(about, []).extend(map(written, action.keys))
    assert said == wanted
    for action, after in pairwise(actions):
        assert not action.pair or (action.label and not after.label), f"{action.id}: one word for both"
        assert not action.pair or action.pair.startswith(written(action.keys[0])), action.id


def test_nothing_is_bound_outside_the_registry() -> None:
    outside = [
        path.relative_to(SOURCES)
        for path in SOURCES.rglob("*.py")
        if path.parent.name != "actions" and "Binding(" in path.read_text()
    ]
    assert outside == [Path("screens/prompt/editor.py")]  # Textual's own keys of a text area, but those that are ours


def test_a_keymap_gives_other_keys_and_names_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "tinytui" / "keymap.toml"
    path.parent.mkdir()
    path.write_text('"train.pause" = "f2, P"\n[train]\nstop = "X"\nnothing = "y"\ncheckpoint = 3\n')
    known = [action.id for action in ACTIONS]
    keymap, wrong = load_keymap(known)
    assert keymap == {"train.pause": "f2,P", "train.stop": "X"}
    assert len(wrong) == 2 and "train.nothing" in wrong[0] and "train.checkpoint" in wrong[1]
    pause = next(action for action in of_scope("train", keymap) if action.id == "train.pause")
    assert pause.keys == ("f2", "P") and pause.key_shown == "F2"
    path.write_text("[")
    assert load_keymap(known)[0] == {} and "keymap.toml" in load_keymap(known)[1][0]
    path.unlink()
    assert load_keymap(known) == ({}, [])
    assert bindings("train")
