"""Where presets lie: those that come with the program, and the person's own, a TOML file each.

The own ones are in $XDG_CONFIG_HOME/tinytui/presets, by default ~/.config/tinytui/presets.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from engine.errors import ConfigError
from engine.files import NAME, make_folder, named_well, write_atomic
from engine.folders import config_dir

SHIPPED = Path(__file__).parent / "presets"
MOST = 1000
"""Own presets that are listed."""


def own_folder() -> Path:
    """The person's own presets."""
    return config_dir() / "presets"


@cache
def shipped_names() -> tuple[str, ...]:
    """Names of the presets that come with the program; looked up once, for a form asks with every key."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def own_names() -> list[str]:
    """Names of the person's own; a folder that cannot be read has none."""
    try:
        found = sorted(path.stem for path in own_folder().glob("*.toml") if NAME.fullmatch(path.stem))
    except OSError:
        return []
    shipped = set(shipped_names())
    return [name for name in found if name not in shipped][:MOST]


def own_file(name: str) -> Path:
    """The file of an own preset."""
    return own_folder() / f"{name}.toml"


def check_name(name: str) -> str:
    """`name` itself when an own preset can be called so; otherwise ConfigError."""
    if name in shipped_names():
        raise ConfigError(f"{name} comes with tinytui; choose another name")
    return named_well(name, "preset", ConfigError)


def write_own(name: str, text: str) -> Path:
    """Writes an own preset, in the place of what had the name. Raises ConfigError where that cannot be done."""
    path = own_file(check_name(name))
    make_folder(path.parent, ConfigError)
    write_atomic(path, text.encode(), kind=ConfigError)
    return path
