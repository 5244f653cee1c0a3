"""Settings as people keep them: presets, those that come with the program and their own; files; `key=value` over both.

The own presets are TOML files in $XDG_CONFIG_HOME/tinytui/presets, by default ~/.config/tinytui/presets.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from engine.config import SECTIONS, Config, make_config, short, split_key
from engine.errors import ConfigError
from engine.files import NAME, make_folder, named_well, read_small, write_atomic
from engine.folders import config_dir

DEFAULT_PRESET = "nano"
SHIPPED = Path(__file__).parent / "presets"
MOST = 1000
"""Own presets that are listed."""

MOST_BYTES = 1 << 18
"""Of a settings file; all settings with their names are some 2 KB."""
# A key of more parts than any setting has; reading one of thousands takes tomllib minutes.
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){16}""")


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


def check_name(name: str) -> str:
    """`name` itself when an own preset can be called so; otherwise ConfigError."""
    if name in shipped_names():
        raise ConfigError(f"{name} comes with tinytui; choose another name")
    return named_well(name, "preset", ConfigError)


def preset_names() -> list[str]:
    """Names of all presets: the default first, then the shipped ones, then the person's own, each by name."""
    return [*sorted(shipped_names(), key=lambda name: name != DEFAULT_PRESET), *own_names()]


@cache
def _shipped_tree(name: str) -> dict[str, Any]:
    return tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))


def _preset_tree(name: str) -> dict[str, Any]:
    if name in shipped_names():
        return _shipped_tree(name)
    if name in own_names():
        return _read_settings(own_folder() / f"{name}.toml")
    raise ConfigError(f"no preset {short(name)}; there are {', '.join(preset_names())}")


def preset_about(name: str) -> str:
    """The preset's one line about itself. Raises ConfigError as `load_preset` does."""
    return str(_preset_tree(name).get("about", ""))


def save_preset(name: str, config: Config, about: str = "") -> Path:
    """Keeps all settings as a preset of the person's own, in the place of what had the name; the file.

    Raises ConfigError for a name that cannot be one or is a shipped preset's, and where nothing can be written.
    """
    data = f"about = {toml_value(about)}\n\n{as_toml(config)}".encode()
    if len(data) > MOST_BYTES:
        raise ConfigError(f"a preset holds at most {MOST_BYTES:,} bytes; give shorter train.sample_prompts")
    path = own_folder() / f"{check_name(name)}.toml"
    make_folder(path.parent, ConfigError)
    write_atomic(path, data, kind=ConfigError)
    return path


def as_toml(config: Config) -> str:
    """All settings as a file for `load_config`."""
    return "\n\n".join(f"[{name}]\n{toml_lines(section)}" for name, section in config.model_dump().items()) + "\n"


# -- settings over settings


def load_preset(name: str) -> Config:
    """The preset as a Config. Raises ConfigError that lists the presets when there is none of that name, or says what
    is wrong with one of the person's own."""
    tree = {key: value for key, value in _preset_tree(name).items() if key in SECTIONS}
    try:
        return make_config(tree)
    except ConfigError as error:
        raise ConfigError(f"preset {name}: {error}") from None


def load_config(preset: str = DEFAULT_PRESET, file: Path | None = None, sets: Iterable[str] = ()) -> Config:
    """Preset, then a TOML or JSON file over it, then `key=value` texts over both.

    Raises ConfigError for an unreadable file, an unknown setting or a value out of bounds.
    """
    return override(load_preset(preset), file, sets)


def override(config: Config, file: Path | None = None, sets: Iterable[str] = ()) -> Config:
    """`config` with a settings file over it, then `key=value` texts; raises as `load_config` does."""
    if file is not None:
        config = config.replace(_only_as_said(_flatten(_read_settings(file))))
    changes = _only_as_said(parse_sets(sets))
    return config.replace(changes) if changes else config


def _only_as_said(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Who says how often to evaluate wants no first evaluation beside, and who gives one prompt none but that."""
    said = dict(changes)
    if (every := changes.get("train.eval_every")) is not None:
        said = {"train.eval_first": every, **said}
    if "train.sample_prompt" in changes:
        said = {"train.sample_prompts": None, **said}
    return said


def parse_sets(sets: Iterable[str]) -> dict[str, str]:
    """`key=value` texts as changes for `Config.replace`, keys in full. Raises ConfigError for one that is not so."""
    changes: dict[str, str] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set takes key=value, not {short(text)}")
        section, name = split_key(key.strip())
        changes[f"{section}.{name}"] = value
    return changes


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        text = read_small(file, MOST_BYTES, ConfigError).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read settings from {file}: it is not text; name a TOML or JSON file") from None
    form = "JSON" if file.suffix == ".json" else "TOML"
    try:
        tree = json.loads(text) if form == "JSON" else toml_tree(text)
    except RecursionError:
        raise ConfigError(f"{file} is not valid {form}: it is nested too deeply") from None
    except ValueError as error:
        said = " ".join(str(error).split())[:100]
        raise ConfigError(f"{file} is not valid {form}: {said}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} must hold settings by name, in sections model, data and train")
    return tree


def _flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "about":
            continue
        if key in SECTIONS and not isinstance(value, Mapping):
            raise ConfigError(f"{key} is a section and holds settings by name, not {short(value)}")
        if isinstance(value, Mapping):
            flat.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            section, name = split_key(key)
            flat[f"{section}.{name}"] = value
    return flat


# -- TOML


def toml_value(value: Any) -> str:
    """A text, number, truth or list of them as TOML. JSON's escapes are TOML's, but for DEL, which it wants escaped."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(each) for each in value)}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_lines(table: Mapping[str, Any]) -> str:
    """`name = value`, a line each, but for what is None."""
    return "\n".join(f"{name} = {toml_value(value)}" for name, value in table.items() if value is not None)


def toml_tree(text: str) -> dict[str, Any]:
    """What anybody's TOML says. Raises ValueError in a few words."""
    if _LONG_KEY.search(text):
        raise ValueError("it has a key of more than 16 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
