"""Settings of sampling by name: those that come with the program, and the person's own in the settings file."""

from __future__ import annotations

from collections.abc import Mapping

from tui.state.conversation import DEFAULTS
from tui.state.settings import load_settings, save_setting

NAME = "sampling"
MAX_PRESETS = 50
RULES: Mapping[str, float] = {name: value for name, value in DEFAULTS.items() if name != "max_tokens"}
"""What a preset says: how a token is drawn, not how many."""
SHIPPED: Mapping[str, Mapping[str, float]] = {
    "default": RULES,
    "greedy": {**RULES, "temperature": 0.0, "top_k": 0},
    "careful": {**RULES, "temperature": 0.5, "top_k": 0, "top_p": 0.9},
    "wild": {**RULES, "temperature": 1.2, "top_k": 0, "min_p": 0.05},
}


def own_presets() -> dict[str, dict[str, float]]:
    """The person's own, by name."""
    found = load_settings().get(NAME)
    presets: dict[str, dict[str, float]] = {}
    for name, values in found.items() if isinstance(found, dict) else ():
        if isinstance(values, dict):
            known = {key: value for key, value in values.items() if key in RULES and _number(value)}
            presets[str(name)] = {**RULES, **known}
    return presets


def first_values() -> dict[str, float]:
    """What the sliders say where nobody moved them yet, as far as that differs from the program's own defaults: those
    of the preset that the settings name. Reads the settings file."""
    name = load_settings().get("sampling_preset")
    values = {**SHIPPED, **own_presets()}.get(name, {}) if isinstance(name, str) else {}
    return {key: value for key, value in values.items() if value != DEFAULTS[key]}


def keep_preset(name: str, values: Mapping[str, float]) -> None:
    """Keep `values` under `name`, in the place of what had it."""
    others = {each: kept for each, kept in own_presets().items() if each != name}
    kept = dict(list(others.items())[1 - MAX_PRESETS :])
    save_setting(NAME, {**kept, name: {key: values.get(key, RULES[key]) for key in RULES}})


def forget_preset(name: str) -> None:
    """Keep it no more."""
    save_setting(NAME, {each: values for each, values in own_presets().items() if each != name})


def preset_of(values: Mapping[str, float], presets: Mapping[str, Mapping[str, float]]) -> str:
    """The name of the preset that these are, or nothing."""
    mine = {key: values.get(key, RULES[key]) for key in RULES}
    return next((name for name, each in presets.items() if each == mine), "")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
