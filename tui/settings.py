"""The few things remembered from one start to the next, in `$XDG_CONFIG_HOME/tinytui/settings.json`."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.files import make_folder, write_output


def settings_path() -> Path:
    """Where the settings lie; `XDG_CONFIG_HOME` or `~/.config`."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "tinytui" / "settings.json"


def load_settings() -> dict[str, Any]:
    """The remembered settings; an unreadable or damaged file counts as none."""
    try:
        settings = json.loads(settings_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def save_setting(name: str, value: object) -> None:
    """Remember `value` under `name`. A home that cannot be written to is no error: it is forgotten at the end."""
    path = settings_path()
    settings = load_settings() | {name: value}
    with suppress(UserError):
        make_folder(path.parent)
        write_output(path, json.dumps(settings, indent=1).encode())
