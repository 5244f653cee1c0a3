"""The few things remembered from one start to the next, in `$XDG_CONFIG_HOME/tinytui/settings.json`."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

from engine.folders import config_dir

MAX_BYTES = 1 << 20
PROMPTS = "prompts"
MAX_PROMPTS = 100


def settings_path() -> Path:
    """Where the settings lie; `XDG_CONFIG_HOME` or `~/.config`."""
    return config_dir() / "settings.json"


def load_settings() -> dict[str, Any]:
    """The remembered settings; what is unreadable, damaged or no plain file counts as none."""
    return read_settings()[0]


def read_settings() -> tuple[dict[str, Any], str]:
    """The remembered settings, and what is wrong with their file, in whose place there are none."""
    path = settings_path()
    wrong = f"{path} cannot be read as settings; the defaults count until one is changed"
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_BYTES:
            return {}, wrong
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}, ""
    except (OSError, ValueError, RecursionError):
        return {}, wrong
    return (settings, "") if isinstance(settings, dict) else ({}, wrong)


def save_setting(name: str, value: object) -> None:
    """Remember `value` under `name`. A home that cannot be written to is no error: it is forgotten at the end."""
    from engine.errors import UserError
    from engine.files import write_atomic  # here: the first screen only reads

    settings = load_settings() | {name: value}
    try:
        path = settings_path().resolve()  # a link stays one
        if path.exists() and not path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(settings, indent=1).encode())
    except (OSError, UserError):
        return


def own_prompts() -> list[str]:
    """The prompts a person kept, newest first."""
    found = load_settings().get(PROMPTS)
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def keep_prompt(text: str) -> None:
    """Put `text` first among the person's own."""
    save_setting(PROMPTS, [text, *(each for each in own_prompts() if each != text)][:MAX_PROMPTS])


def load_keymap(known: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """`keymap.toml` beside the settings: `"train.pause" = "P"`, or several keys, `"f2,P"`; and a line for each entry
    that means nothing, whose action keeps its keys."""
    path = settings_path().with_name("keymap.toml")
    try:
        with path.open("rb") as file:
            import tomllib  # not at every start

            found = tomllib.load(file) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else {}
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError, RecursionError) as error:
        return {}, [f"{path}: {error}; the keys are those of the program"]
    flat: dict[str, object] = {}
    for name, value in found.items():
        inside = value.items() if isinstance(value, dict) else ()
        flat.update({f"{name}.{inner}": each for inner, each in inside} or {name: value})
    keymap, wrong = {}, []
    for name, value in flat.items():
        if name not in known:
            wrong.append(f"keymap.toml: there is no action {name}; `?` and ctrl+p list them")
        elif not isinstance(value, str) or not value.strip():
            wrong.append(f'keymap.toml: {name} wants a key, as in "P" or "f2,P"')
        else:
            keymap[name] = ",".join(key.strip() for key in value.split(","))
    return keymap, wrong
