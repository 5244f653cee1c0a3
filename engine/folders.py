"""Where corpora, the cache and what is a person's own lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def _under(variable: str, fallback: str) -> Path:
    """The folder of ours where the XDG specification puts such files; a relative path in `variable` is ignored."""
    base = os.environ.get(variable, "")
    return (Path(base) if base.startswith("/") else Path.home() / fallback) / "tinytui"


def config_dir() -> Path:
    """The person's settings, keymap and presets: tinytui in $XDG_CONFIG_HOME, else in ~/.config."""
    return _under("XDG_CONFIG_HOME", ".config")


def state_dir() -> Path:
    """What happened, to look at later: tinytui in $XDG_STATE_HOME, else in ~/.local/state."""
    return _under("XDG_STATE_HOME", ".local/state")


def cache_dir() -> Path:
    """Prepared texts and tokens and the like, which can be made again: $TINYTUI_CACHE, else in the user's cache."""
    named = os.environ.get("TINYTUI_CACHE")
    return Path(named).expanduser() if named else _under("XDG_CACHE_HOME", ".cache")


def default_corpora_dir() -> Path:
    """The user's own corpora: $TINYTUI_CORPORA, else tinytui/corpora in the user's data."""
    named = os.environ.get("TINYTUI_CORPORA")
    return Path(named).expanduser() if named else _under("XDG_DATA_HOME", ".local/share") / "corpora"


def shipped_dir() -> Path:
    """The corpora that come with tinytui: inside the installed package, or beside `engine` in a source tree."""
    engine = Path(__file__).resolve().parent
    packed = engine / "shipped_corpora"
    return packed if packed.is_dir() else engine.parent / "corpora"
