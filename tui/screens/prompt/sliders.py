"""The sliders of sampling, and the line of the seed."""

from __future__ import annotations

from collections.abc import Mapping

from tui.state.conversation import Sheet
from tui.widgets.oneline import OneLine
from tui.widgets.slider import MIN_P, REPETITION, TEMPERATURE, TOKENS, TOP_P, Scale, Slider, top_k_scale

SEED_DIGITS = 19
"""Of the greatest seed, 2^63 - 1."""
SCALES: Mapping[str, tuple[str, Scale]] = {
    "temperature": ("temperature", TEMPERATURE),
    "top_k": ("top-k", top_k_scale(65)),
    "top_p": ("top-p", TOP_P),
    "min_p": ("min-p", MIN_P),
    "repetition_penalty": ("repetition", REPETITION),
    "max_tokens": ("max tokens", TOKENS),
}


def make_sliders(names: tuple[str, ...]) -> dict[str, Slider]:
    """A slider for each of these settings, as nobody moved them yet."""
    sheet = Sheet()
    return {name: Slider(SCALES[name][0], sheet.value(name), SCALES[name][1], id=_id(name)) for name in names}


def _id(name: str) -> str:
    return {"max_tokens": "tokens"}.get(name, name.replace("_", "-"))


def seed_input() -> OneLine:
    """The line of the seed."""
    return OneLine(type="integer", max_length=SEED_DIGITS, id="seed")
