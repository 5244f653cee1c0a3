"""Where corpora and the cache lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def _user_dir(own: str, xdg: str, fallback: str, inside: str) -> Path:
    if named := os.environ.get(own):
        return Path(named).expanduser()
    base = os.environ.get(xdg, "")
    # the XDG specification: a relative path there is to be ignored
    return (Path(base) if base.startswith("/") else Path.home() / fallback) / inside


def cache_dir() -> Path:
    """Prepared texts and tokens, all of which can be made again: $TINYTUI_CACHE, else tinytui in the user's cache."""
    return _user_dir("TINYTUI_CACHE", "XDG_CACHE_HOME", ".cache", "tinytui")


def default_corpora_dir() -> Path:
    """The user's own corpora: $TINYTUI_CORPORA, else tinytui/corpora in the user's data."""
    return _user_dir("TINYTUI_CORPORA", "XDG_DATA_HOME", ".local/share", "tinytui/corpora")


def shipped_dir() -> Path:
    """The corpora that come with tinytui: inside the installed package, or beside `engine` in a source tree."""
    engine = Path(__file__).resolve().parent
    packed = engine / "shipped_corpora"
    return packed if packed.is_dir() else engine.parent / "corpora"
