"""The settings a person may choose, once: their names, meanings, bounds and defaults. The settings screen is a view of
it. Apart from `tui.state.settings`, which the first picture needs, for pydantic takes its time to load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Settings(BaseModel):
    """What is remembered of a person's choices; whatever else lies in the file is left as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    theme: Literal["tinytui-dark", "tinytui-light", "tinytui-contrast", "tinytui-ansi"] = Field(
        "tinytui-dark", description="colours: dark, light, high contrast, or the terminal's own sixteen"
    )
    mouse: bool = Field(
        True,
        description="clicks and the wheel reach the program; no leaves them to the terminal; from the next start on",
    )
    runs_sort: Literal["when", "name", "val", "best", "bpb", "step", "params", "tok/s", "time", "corpus", "preset"] = (
        Field("when", description="what the table of runs is sorted by")
    )
    sampling_preset: str = Field(
        "default", max_length=200, description="the preset of sampling that prompts of a run begin with"
    )


def settings_of(kept: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """The settings in what was kept, and a line for each that is no value of it, in whose place the default counts."""
    good, wrong = {}, []
    for name, field in Settings.model_fields.items():
        if name not in kept:
            continue
        try:
            good[name] = getattr(Settings(**{name: kept[name]}), name)
        except ValidationError:
            wrong.append(f"settings.json: {name} cannot be {short(kept[name])}; {shown(field.default)} counts")
    return Settings(**good), wrong


def shown(value: Any) -> str:
    """A setting's value as the screen has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def parse(name: str, typed: str) -> Any:
    """What was typed, as the setting's value; raises ValueError with what it may be."""
    field = Settings.model_fields[name]
    value: Any = {"yes": True, "no": False}.get(typed, typed) if field.annotation is bool else typed
    try:
        return getattr(Settings(**{name: value}), name)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"][:1].lower() + error.errors()[0]["msg"][1:]) from None


def short(value: object) -> str:
    """Anything in a few characters of one line."""
    from reprlib import Repr

    brief = Repr()
    brief.maxstring = brief.maxother = brief.maxlong = 40
    brief.maxdict = brief.maxlist = brief.maxlevel = 2
    return " ".join(brief.repr(value).split())
