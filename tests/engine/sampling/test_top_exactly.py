"""When what travels of a row decides, and what stands in the way where it does not; a first look of several rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.errors import RunError
from engine.model.gpt import GPT
from engine.sampling.decode import Context
from engine.sampling.generate import start_token
from engine.sampling.kept import TopLogits
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.base import Ids
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer

ROW = TopLogits.of(torch.tensor([5.0, 3.0, 1.0, 1.0 - 1e-9, -2.0, -3.0]), 3)
"""Two above the ceiling of 1, under which three others lie."""


@pytest.mark.parametrize(
    ("settings", "history", "why"),
    [
        ({"temperature": 0.4, "min_p": math.exp(-9.0)}, (), ()),  # the third is e**-10 of the first
        ({"temperature": 0.4, "min_p": math.exp(-11.0)}, (), ("min-p",)),
        ({"temperature": 1.6, "min_p": math.exp(-2.4)}, (), ()),
        ({"temperature": 1.6, "min_p": math.exp(-2.6)}, (), ("min-p",)),
        ({"temperature": 1.0}, (), ()),
        ({"temperature": 0.5}, (), ("temperature",)),
        ({"temperature": 0.5, "repetition_penalty": 1}, (4,), ("temperature",)),
        ({"temperature": 1.0, "repetition_penalty": 1}, (4,), ()),
        ({"temperature": 1.0, "repetition_penalty": 2}, (), ()),
        ({"temperature": 1.0, "repetition_penalty": 2}, (4,), ("repetition penalty",)),
        ({"temperature": 1.0, "repetition_penalty": 2}, (0, 1), ()),
        ({"temperature": 0}, (), ()),
        ({"temperature": 0, "repetition_penalty": 2}, (0,), ()),
        ({"temperature": 0, "repetition_penalty": 2}, (4,), ()),
        ({"temperature": 0, "repetition_penalty": 9}, (0, 1), ("temperature",)),  # below the ceiling now
        ({"temperature": 0, "repetition_penalty": 9}, (0, 1, 4), ("repetition penalty",)),
        ({"temperature": 1, "top_k": 2}, (), ()),
        ({"temperature": 1, "top_k": 3}, (), ("top-k",)),
        ({"temperature": 1, "top_k": 1, "top_p": 0.999}, (), ()),
        ({"temperature": 1, "top_k": 6, "top_p": 0.5}, (), ()),  # of all tokens: off
        ({"temperature": 1, "top_p": 0.8}, (), ()),  # the first has 0.846
        ({"temperature": 1, "top_p": 0.9}, (), ()),  # with the second 0.961
        ({"temperature": 1, "top_p": 0.98}, (), ("top-p",)),
    ],
)
def test_what_decides(settings: dict[str, Any], history: tuple[int, ...], why: tuple[str, ...]) -> None:
    assert ROW.beyond(SamplingSettings(**settings), history) == why


def test_all_tokens_decide_always() -> None:
    whole = TopLogits.of(torch.tensor([5.0, 3.0, 1.0]), 3)
    assert whole.others == 0 and whole.beyond(SamplingSettings(temperature=3, repetition_penalty=5), (1,)) == ()


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_begin_alike_and_go_on_alone(tiny: Callable[..., GPT], rows: int) -> None:
    model = tiny(20)
    several, alone = Context(model, [3, 1, 4], 4, batch=rows), Context(model, [3, 1, 4], 4)
    torch.testing.assert_close(several.logits(), alone.logits().expand(rows, -1))
    several.append(torch.arange(rows))
    found = several.logits()
    assert found.shape == (rows, 20)
    for row in range(rows):
        one = Context(model, [3, 1, 4, row], 3)
        torch.testing.assert_close(found[row], one.logits()[0], atol=1e-4, rtol=1e-4)


class TwoForALine(ByteTokenizer):
    """A line end of two tokens, such as an imported vocabulary may have."""

    def _encode(self, text: str) -> Ids:
        return super()._encode(text.replace("\n", "\r\n"))


def test_an_empty_prompt_is_the_end_of_a_line() -> None:
    assert start_token(ByteTokenizer()) == 10
    assert start_token(TwoForALine()) == 13
    assert start_token(CharTokenizer("ab")) == 0
    assert start_token(CharTokenizer("ab\n")) == 2
    assert start_token(CharTokenizer("ab", unknown="skip")) == 0


@pytest.mark.parametrize("ids", [{}, {"ids": "", "others": 1, "log_sum": 0.0}])
def test_no_logits_at_all_are_none(ids: dict[str, object]) -> None:
    with pytest.raises(RunError, match="the trainer's logits cannot be read"):
        TopLogits.from_dict({"logits": "", **ids})
