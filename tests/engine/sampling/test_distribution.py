from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import RunError, UserError
from engine.model.gpt import GPT
from engine.sampling.distribution import Distribution, distribution
from engine.sampling.generate import Done, Piece, generate
from engine.sampling.kept import KeptLogits, TopLogits
from engine.sampling.rules import SORT_ALL, Dice, keep_top_p, pick, pick_top, probabilities, process
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer

OFF = SamplingSettings(temperature=1)
ANY_SETTINGS = st.builds(
    SamplingSettings,
    temperature=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.05, 5)),
    top_k=st.integers(0, 60),
    top_p=st.one_of(st.just(1.0), st.floats(0, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1)),
    repetition_penalty=st.one_of(st.just(1.0), st.floats(0.5, 2)),
)
# in steps that no rule's rounding makes equal, with ties
ROWS = st.lists(st.integers(-640, 640), min_size=2, max_size=50).map(lambda steps: torch.tensor(steps) / 64)


def masses(found: Distribution) -> dict[int, float]:
    return {each.id: each.after for each in found.candidates}


@given(ROWS, ANY_SETTINGS, st.lists(st.integers(0, 1), max_size=3), st.integers(0, 60))
@settings(max_examples=100)
def test_what_is_shown_is_what_is_drawn_from(row: Tensor, s: SamplingSettings, history: list[int], most: int) -> None:
    ids = torch.tensor([history], dtype=torch.int64)
    logits = process(row[None], s, ids)
    after, raw = probabilities(logits)[0], probabilities(row)
    found = distribution(row, s, history, most=most, taken=1)
    assert found.vocab_size == len(row) == len(found.candidates) + found.others
    for each in found.candidates:
        assert each.after == after[each.id].item() and each.raw == raw[each.id].item()
        assert (each.cut is None) == (logits[0, each.id] > -math.inf).item()
    assert found.taken is not None and (found.taken.id, found.taken.after) == (1, after[1].item())
    assert math.fsum(masses(found).values()) + found.others_after == pytest.approx(1, abs=1e-6)
    assert math.fsum(each.raw for each in found.candidates) + found.others_raw == pytest.approx(1, abs=1e-6)
    assert found.left == (logits > -math.inf).sum().item()
    assert found.entropy_after == pytest.approx(
        torch.distributions.Categorical(after).entropy() / math.log(2), abs=1e-5
    )
    assert found.beyond == ()


@given(ROWS, ANY_SETTINGS.filter(lambda s: not s.greedy), st.lists(st.integers(0, 1), max_size=3))
@settings(max_examples=60)
def test_the_candidates_are_the_likeliest_in_order(row: Tensor, s: SamplingSettings, history: list[int]) -> None:
    every = distribution(row, s, history, most=len(row)).candidates
    kept = [each.after for each in every if each.cut is None]
    assert kept == sorted(kept, reverse=True)
    some = distribution(row, s, history, most=8).candidates
    assert [each.after for each in some] == pytest.approx(sorted((each.after for each in every), reverse=True)[:8])


def test_each_rule_is_named_by_what_it_cut() -> None:
    row = torch.tensor([4.0, 3.5, 3.0, 2.0, 1.0, 0.0])
    s = SamplingSettings(temperature=1, top_k=5, top_p=0.9, min_p=0.45)
    assert [each.cut for each in distribution(row, s).candidates] == [None, None, "min-p", "top-p", "top-p", "top-k"]
    assert [each.cut for each in distribution(row, s.replace(temperature=0)).candidates] == [
        None,
        *["temperature"] * 5,
    ]
    # a token that the model itself rules out is not cut by any rule
    nothing = distribution(torch.tensor([1.0, -math.inf]), SamplingSettings(top_k=1)).candidates[1]
    assert nothing.raw == nothing.after == 0 and nothing.cut is None


def test_the_penalty_counts_for_the_order_and_the_entropy_is_in_bits() -> None:
    found = distribution(torch.tensor([2.0, 1.5]), OFF.replace(repetition_penalty=4), [0])
    assert [each.id for each in found.candidates] == [1, 0]
    even = distribution(torch.zeros(16), OFF.replace(top_k=0, top_p=0.5))
    assert even.entropy_raw == pytest.approx(4) and even.entropy_after == pytest.approx(3) and even.left == 8


def test_logits_that_are_no_numbers_are_an_error() -> None:
    for bad in (torch.tensor([1.0, math.nan]), torch.tensor([-math.inf, -math.inf])):
        with pytest.raises(UserError, match="not a number"):
            distribution(bad, OFF)


# re-applied to what a text was drawn from


@pytest.mark.parametrize(
    "s",
    [
        SamplingSettings(seed=3, max_tokens=30),
        SamplingSettings(seed=4, max_tokens=30, temperature=0, repetition_penalty=1.3),
        SamplingSettings(
            seed=5, max_tokens=30, temperature=1.2, top_k=9, top_p=0.9, min_p=0.02, repetition_penalty=1.1
        ),
    ],
)
def test_kept_logits_give_every_token_again(letters: GPT, chars: CharTokenizer, s: SamplingSettings) -> None:
    keep = KeptLogits()
    *pieces, _ = generate(letters, chars, "abc", s, keep=keep)
    plain = [piece.id for piece in generate(letters, chars, "abc", s) if isinstance(piece, Piece)]
    history = chars.encode("abc").tolist()
    dice = Dice([s.seed or 0], torch.device("cpu"))
    for piece, before in zip(pieces, plain, strict=True):
        assert isinstance(piece, Piece) and piece.id == before  # keeping changes nothing
        row = keep.get(piece.kept)
        assert isinstance(row, Tensor) and row.dtype == torch.float32 and row.shape == (chars.vocab_size,)
        logits = process(row[None], s, torch.tensor([history]))
        drawn = pick_top(logits) if s.greedy else pick(probabilities(logits), dice.throw())
        assert drawn.item() == piece.id
        found = distribution(row, s, history, taken=piece.id)
        assert found.taken is not None and found.taken.cut is None and found.taken.after > 0
        history.append(piece.id)


def test_nothing_is_kept_of_what_was_not_drawn_or_not_asked_for(letters: GPT, chars: CharTokenizer) -> None:
    s = SamplingSettings(seed=3, max_tokens=5)
    keep = KeptLogits()
    pieces = [piece for piece in generate(letters, chars, "a", s, forced=[5, 6], keep=keep) if isinstance(piece, Piece)]
    assert [piece.kept is None for piece in pieces] == [True, True, False, False, False]
    assert all(not isinstance(piece, Done) and piece.kept is None for piece in [*generate(letters, chars, "a", s)][:-1])


def test_the_oldest_go_and_the_budget_holds() -> None:
    keep = KeptLogits(budget=4 * 10 * 3)
    numbers = [keep.add(torch.full((1, 50, 10), float(i))[0, -1]) for i in range(5)]
    assert keep.nbytes == 120
    assert [keep.get(number) is None for number in numbers] == [True, True, False, False, False]
    kept = keep.get(numbers[-1])
    assert isinstance(kept, Tensor) and kept.tolist() == [4.0] * 10
    assert kept.untyped_storage().nbytes() == 40  # not the whole that it was a part of
    alone = keep.add(torch.zeros(31))  # more than all
    assert keep.get(alone) is None and keep.nbytes == 0
    assert keep.get(None) is None
    keep.add(torch.zeros(3))
    keep.clear()
    assert keep.nbytes == 0
    few = KeptLogits(most=2)  # a small row takes more than its bytes
    assert [few.get(few.add(torch.zeros(1))) is None for _ in range(3)] == [False] * 3
    assert [few.get(number) is None for number in range(3)] == [True, False, False] and few.nbytes == 8


# the likeliest alone


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=50, unique=True),
    st.integers(1, 20),
    ANY_SETTINGS,
    st.lists(st.integers(0, 3), max_size=3),
)
@settings(max_examples=100)
def test_the_likeliest_give_what_all_give_wherever_they_say_so(
    values: list[float], most: int, s: SamplingSettings, history: list[int]
) -> None:
    row = torch.tensor(values)
    top = TopLogits.of(row, most)
    top = TopLogits.from_dict(json.loads(json.dumps(top.to_dict())))
    assert len(top.row()) == len(row) and top.others == max(0, len(row) - most)
    torch.testing.assert_close(probabilities(top.row())[top.ids], probabilities(row)[top.ids], atol=1e-6, rtol=1e-5)
    part, whole = (distribution(each, s, history, most=len(row)) for each in (top, row))
    assert part.beyond == () or top.others
    if part.beyond == ():
        theirs = {each.id: each for each in whole.candidates}
        listed = {each.id: each for each in part.candidates if each.id in top.ids}
        for number, each in listed.items():
            assert each.after == pytest.approx(theirs[number].after, abs=2e-5)
            assert (each.cut is None) == (theirs[number].cut is None)
        assert part.others_after == pytest.approx(whole.others_after, abs=2e-5)


@pytest.mark.parametrize(
    ("change", "history", "beyond"),
    [
        ({}, [], ()),
        ({"temperature": 0}, [], ()),
        ({"temperature": 0.5}, [], ("temperature",)),
        ({"temperature": 0.5, "top_k": 3}, [], ()),
        ({"top_k": 4}, [], ("top-k",)),
        ({"top_p": 0.6}, [], ()),
        ({"top_p": 0.99}, [], ("top-p",)),
        ({"min_p": 0.2}, [], ()),
        ({"min_p": 0.01}, [], ("min-p",)),
        ({"repetition_penalty": 1.5}, [0], ()),
        ({"repetition_penalty": 1.5}, [7], ("repetition penalty",)),
        ({"repetition_penalty": 1.5, "top_k": 2}, [7], ()),
        ({"repetition_penalty": 0.5, "top_k": 2}, [7], ()),
        ({"repetition_penalty": 0.2, "top_k": 2}, [7], ("top-k",)),
    ],
)
def test_a_rule_that_needs_more_than_the_likeliest_is_named(
    change: dict[str, float], history: list[int], beyond: tuple[str, ...]
) -> None:
    row = torch.tensor([4.0, 3.0, 2.5, 1.0, 0.9, 0.8, 0.7, 0.65])
    assert TopLogits.of(row, 4).beyond(OFF.replace(**change), history) == beyond
    assert TopLogits.of(row, 8).beyond(OFF.replace(**change), history) == ()


def test_a_small_vocabulary_travels_whole() -> None:
    row = torch.randn(65, generator=torch.Generator().manual_seed(1))
    tree = TopLogits.of(row, 1024).to_dict()
    assert set(tree) == {"logits"}
    assert torch.equal(TopLogits.from_dict(tree).row(), row)
    ruled_out = TopLogits.of(torch.tensor([1.0, -math.inf, -math.inf]), 1)
    assert TopLogits.from_dict(json.loads(json.dumps(ruled_out.to_dict()))).row().tolist() == [
        1.0,
        -math.inf,
        -math.inf,
    ]


TREE = TopLogits(np.array([1, 3]), np.array([2.0, 1.0], np.float32), 5, 0.5).to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"logits": "%%"},
        {"logits": None},
        {"logits": "AAAA"},
        {"logits": ""},
        {"logits": TREE["ids"][:4] + "=" * 4},
        {"ids": TREE["logits"]},
        {"ids": ""},
        {"others": 0},
        {"others": -1},
        {"others": 1},
        {"others": True},
        {"others": 1.5},
        {"others": 1 << 40},
        {"log_sum": "x"},
        {"log_sum": []},
    ],
)
def test_what_no_trainer_sends_is_refused_in_one_line(change: dict[str, object]) -> None:
    with pytest.raises(RunError, match=r"^the trainer's logits cannot be read[^\n]*$"):
        TopLogits.from_dict({**TREE, **change})


# top-p of a large vocabulary, of which the values alone are sorted


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("spread", [0.01, 1.0, 3.0, 20.0])
def test_top_p_of_a_large_vocabulary_is_that_of_sorting_all(
    spread: float, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = torch.randn(6, 6000, generator=torch.Generator().manual_seed(7)) * spread
    logits[1] = torch.where(logits[1] > spread, logits[1], -math.inf)
    if ties:
        logits = (logits * 2).round() / 2
    for p in (0.0, 1e-9, 0.3, 0.9, 0.999, 1 - 1e-9):
        quick = [keep_top_p(logits[i : i + 1], p) for i in range(6)]
        together = keep_top_p(logits, p)
        with monkeypatch.context() as patch:
            patch.setattr("engine.sampling.rules.SORT_ALL", 6000)
            assert torch.equal(keep_top_p(logits, p), torch.cat(quick)) and torch.equal(torch.cat(quick), together)
    assert logits.size(-1) > SORT_ALL
