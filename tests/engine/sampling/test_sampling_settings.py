from __future__ import annotations

import json
import reprlib
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UserError
from engine.sampling.settings import WHOLE, SamplingSettings
from tui.cli.sample import DEFAULT

SETTINGS = st.builds(
    SamplingSettings,
    temperature=st.floats(0, 100),
    top_k=st.integers(0, 1000),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
    repetition_penalty=st.floats(0.01, 100),
    max_tokens=st.integers(0, 1000),
    seed=st.none() | st.integers(0, 2**63 - 1),
    stop=st.lists(st.text(min_size=1)).map(tuple),
    stop_ids=st.lists(st.integers(0, 100)).map(tuple),
)


@given(SETTINGS)
def test_settings_survive_json(settings: SamplingSettings) -> None:
    assert SamplingSettings(**json.loads(json.dumps(settings.to_dict()))) == settings


def test_what_is_missing_has_its_default() -> None:
    assert SamplingSettings(top_k=40) == SamplingSettings().replace(top_k=40) != SamplingSettings()


BOUNDS = {
    "temperature": (0, 100),
    "top_k": (0, 10_000_000),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "max_tokens": (0, 10_000_000),
    "seed": (0, 2**63 - 1),
}


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 2**70, "0.5", True, None])
def test_out_of_bounds_names_the_setting_and_its_range(name: str, value: object) -> None:
    if name == "seed" and value is None:
        return
    with pytest.raises(UserError) as error:
        SamplingSettings().replace(**{name: value})
    low, high = BOUNDS[name]
    what = "a whole number" if name in WHOLE else "a number"
    if not isinstance(value, bool) and value in (-1, 2**70):
        what = f"at least {low}" if value == -1 else f"at most {high:,}"
    assert str(error.value) == f"{name} must be {what}, not {reprlib.repr(value)}"


def test_what_is_a_number_has_bounds_and_some_are_whole() -> None:
    assert [*BOUNDS, "stop", "stop_ids"] == [*SamplingSettings.model_fields]
    assert WHOLE == ("top_k", "max_tokens", "seed")
    for name in WHOLE:
        with pytest.raises(UserError, match=f"^{name} must be a whole number"):
            SamplingSettings().replace(**{name: 2.0})


@pytest.mark.parametrize("name", BOUNDS)
def test_both_bounds_are_allowed_and_nothing_beyond(name: str) -> None:
    low, high = BOUNDS[name]
    for value in (low, high):
        assert getattr(SamplingSettings().replace(**{name: value}), name) == value
    for value in (low - 1e-9, high + 1e-9) if name not in WHOLE else (low - 1, high + 1):
        with pytest.raises(UserError, match=f"^{name} must be"):
            SamplingSettings().replace(**{name: value})


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"stop": "x"}, "stop must be a list, not 'x'"),
        ({"stop": [""]}, "stop.0 must be text of at least one character"),
        ({"stop": ["x", 1]}, "stop.1 must be text, not 1"),
        ({"stop_ids": [-1]}, "stop_ids.0 must be at least 0, not -1"),
        ({"stop_ids": [0, True]}, "stop_ids.1 must be a whole number, not True"),
        ({"stop_ids": 3}, "stop_ids must be a list, not 3"),
        ({"topk": 3}, f"no sampling setting 'topk'; there are {', '.join(SamplingSettings.model_fields)}"),
        ({"n\no": 3}, f"no sampling setting 'n\\no'; there are {', '.join(SamplingSettings.model_fields)}"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tree: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        SamplingSettings(**tree)
    assert str(error.value) == said


def test_the_command_line_begins_with_the_same() -> None:
    assert vars(DEFAULT).items() <= SamplingSettings().to_dict().items()


def test_description_names_only_what_acts() -> None:
    assert SamplingSettings().describe() == "t 0.80"
    assert SamplingSettings(top_k=40, top_p=0.95).describe() == "t 0.80  k 40  p 0.95"
    assert SamplingSettings(temperature=0, top_k=40).describe() == "greedy"
    assert SamplingSettings(min_p=0.05, repetition_penalty=1.1).describe() == "t 0.80  min-p 0.05  rep 1.10"


def test_settings_and_overlap_load_no_torch() -> None:
    code = "import sys, engine.sampling.settings, engine.sampling.overlap; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
