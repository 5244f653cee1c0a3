from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UserError
from engine.sampling.settings import BOUNDS, SamplingSettings

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
    assert SamplingSettings.from_dict(settings.to_dict()) == settings


def test_what_is_missing_has_its_default() -> None:
    assert SamplingSettings.from_dict({"top_k": 40}) == SamplingSettings(top_k=40)


RANGES = {
    "temperature": "0 to 100",
    "top_k": "0 to 10000000",
    "top_p": "0 to 1",
    "min_p": "0 to 1",
    "repetition_penalty": "0.01 to 100",
    "max_tokens": "0 to 10000000",
    "seed": "0 to 9223372036854775807",
}


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 2**70, "0.5", True])
def test_out_of_bounds_names_the_setting_and_its_range(name: str, value: object) -> None:
    with pytest.raises(UserError) as error:
        SamplingSettings().replace(**{name: value})
    message = str(error.value)
    what = "a whole number" if name in ("top_k", "max_tokens", "seed") else "a number"
    assert message.startswith(f"{name} must be {what} from {RANGES[name]}, not ") and "\n" not in message


def test_ranges_are_all_told() -> None:
    assert RANGES.keys() == BOUNDS.keys()


@pytest.mark.parametrize(("name", "bounds"), sorted(BOUNDS.items()))
def test_both_bounds_are_allowed(name: str, bounds: tuple[float, float]) -> None:
    for value in bounds:
        assert getattr(SamplingSettings().replace(**{name: value}), name) == value


@pytest.mark.parametrize(
    "tree", [{"stop": "x"}, {"stop": [""]}, {"stop": [1]}, {"stop_ids": [-1]}, {"stop_ids": 3}, {"topk": 3}]
)
def test_what_makes_no_sense_is_refused_in_one_line(tree: dict[str, object]) -> None:
    with pytest.raises(UserError) as error:
        SamplingSettings.from_dict(tree)
    assert "\n" not in str(error.value)


def test_description_names_only_what_acts() -> None:
    assert SamplingSettings().describe() == "t 0.80"
    assert SamplingSettings(top_k=40, top_p=0.95).describe() == "t 0.80  k 40  p 0.95"
    assert SamplingSettings(temperature=0, top_k=40).describe() == "greedy"
    assert SamplingSettings(min_p=0.05, repetition_penalty=1.1).describe() == "t 0.80  min-p 0.05  rep 1.10"


def test_settings_and_overlap_load_no_torch() -> None:
    code = "import sys, engine.sampling.settings, engine.sampling.overlap; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
