from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.inspect import losses as module
from engine.inspect.losses import Losses, Worst, joined, text_losses, worst_passages
from engine.tokenizers.answers import Answers
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.training.evaluate import Portion, evaluate

from .conftest import KINDS, VOCAB, MakeModel


def some_ids(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCAB, n).astype(np.uint16)


def by_hand(make_model, ids: np.ndarray, size: int) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Logits (n - 1, V), one window after the other."""
    with torch.inference_mode():
        starts = range(0, len(ids) - 1, size)
        windows = [torch.tensor(ids[i : min(i + size, len(ids) - 1)].astype(np.int64))[None] for i in starts]
        return torch.cat([make_model(window)[0].float() for window in windows])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [2, 8, 9, 10, 17, 150])
def test_each_token_is_judged_by_what_stands_before_it_in_its_window(make: MakeModel, kind: str, n: int) -> None:
    model, ids = make(kind), some_ids(n)
    parts = list(text_losses(model, ids))
    found = joined(parts)
    logits, targets = by_hand(model, ids, 8), torch.tensor(ids[1:].astype(np.int64))
    expected = F.cross_entropy(logits, targets, reduction="none")
    assert found.ids.tolist() == targets.tolist() and found.start == 1
    assert [part.start for part in parts] == np.cumsum([1, *(len(part) for part in parts[:-1])]).tolist()
    np.testing.assert_allclose(found.loss, expected, atol=1e-5)
    np.testing.assert_allclose(found.probability, logits.softmax(-1).gather(1, targets[:, None])[:, 0], atol=1e-5)
    order = logits.argsort(dim=-1, descending=True)
    assert found.rank.tolist() == [row.tolist().index(t) + 1 for row, t in zip(order, targets.tolist(), strict=True)]
    assert found.top.tolist() == order[:, :5].tolist()
    np.testing.assert_allclose(found.top_p, logits.softmax(-1).gather(1, order[:, :5]), atol=1e-5)
    assert all(isinstance(each, np.ndarray) for each in (found.loss, found.rank, found.top, found.top_p))


def test_the_mean_is_the_validation_loss(make: MakeModel) -> None:
    model, tokenizer = make("gpt", vocab=256), ByteTokenizer()
    val = tokenizer.encode("The quick brown fox jumps over the lazy dog, again and again.")
    dataset = TokenDataset(val, val, tokenizer, len(val) - 1)
    exact = evaluate(model, dataset, 8, torch.device("cpu"))
    found = joined(list(text_losses(model, val)))
    assert len(found) == exact.tokens
    assert found.mean == pytest.approx(exact.loss, abs=1e-5)
    assert found.bits_per_byte(tokenizer) == pytest.approx(exact.bits_per_byte, abs=1e-5)


def test_memory_does_not_grow_with_the_text_or_the_vocabulary(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows and logits are made in portions; the result does not hang on them."""
    ids, most = some_ids(200), list[int]()
    for kind in ("gpt", "decoder"):
        model = make(kind)
        whole = joined(list(text_losses(model, ids)))
        monkeypatch.setattr(module, "portion_for", lambda model: Portion(3, 16))
        most.clear()
        told = model.logits
        monkeypatch.setattr(model, "logits", lambda x, told=told: most.append(x.shape[1]) or told(x))
        parts = list(text_losses(model, ids))
        assert max(most) == 16 and max(len(part) for part in parts) == 24
        np.testing.assert_allclose(joined(parts).loss, whole.loss, atol=1e-5)
        monkeypatch.undo()


def test_a_text_of_less_than_two_tokens_has_no_losses_and_a_long_one_can_be_left(make: MakeModel) -> None:
    model = make()
    assert list(text_losses(model, [])) == list(text_losses(model, [3])) == []
    asked: list[int] = []
    parts = list(text_losses(model, some_ids(400), cancelled=lambda: asked.append(1) or len(asked) > 2))
    assert [len(part) for part in parts] == [8, 16]  # something is there at once
    none, no_loss = np.empty(0, np.int32), np.empty(0, np.float32)
    nothing = Losses(0, none, no_loss, none, none[:, None], no_loss[:, None])
    assert math.isnan(nothing.mean) and math.isnan(nothing.bits_per_byte(ByteTokenizer()))


# the worst passages


def last(found) -> Worst:  # type: ignore[no-untyped-def]
    *_, end = found
    return end


@given(st.integers(2, 120), st.integers(1, 12), st.integers(1, 12), st.sampled_from([8, 7, 1]), st.integers(0, 3))
@settings(max_examples=20)
def test_the_worst_passages_are_those_of_the_highest_mean(
    make: MakeModel, n: int, length: int, most: int, size: int, seed: int
) -> None:
    model, ids = make(block_size=size), some_ids(n, seed)
    found = last(worst_passages(model, ids, most=most, length=length))
    assert not found.sampled and found.looked_at == found.wanted == found.split == n - 1
    assert [each.loss for each in found.passages] == sorted((each.loss for each in found.passages), reverse=True)
    covered: list[int] = []
    for each in found.passages:
        covered += range(each.start, each.start + each.length)
        assert each.start >= 1 and each.start + each.length <= n and each.length <= length
        # the losses that a screen shows are those that were judged
        shown = joined(list(text_losses(model, ids[each.window : each.start + each.length])))
        assert shown.loss[-each.length :].mean() == pytest.approx(each.loss, abs=1e-4)
        assert each.start - 1 - each.window >= min(size // 2, each.start - 1)  # half a context before it
    assert len(covered) == len(set(covered))
    every = last(worst_passages(model, ids, most=1000, length=length)).passages
    assert [each.loss for each in every[:most]] == [each.loss for each in found.passages]
    assert sum(each.length for each in every) > (n - 1) / 2


def test_where_answers_alone_were_learned_they_alone_are_judged(make: MakeModel) -> None:
    model, ids = make(block_size=8), some_ids(120, 1)
    answers = Answers(np.array([10, 40, 80]), np.array([20, 60, 90]))
    found = last(worst_passages(model, ids, most=1000, length=4, answers=answers)).passages
    seen = 0
    for each in found:
        counted = answers.mask(np.array([each.start - 1]), each.length)[0]
        shown = joined(list(text_losses(model, ids[each.window : each.start + each.length]))).loss[-each.length :]
        assert counted.any() and shown[counted].mean() == pytest.approx(each.loss, abs=1e-4)
        seen += int(counted.sum())
    assert seen == 40, "none of an answer is left out where a token is a quarter of a passage"


def test_what_is_strange_is_found(make: MakeModel) -> None:
    model = make("bigram")
    with torch.no_grad():
        model.wte.weight.zero_()
        model.wte.weight[:, 3] = 5.0  # all is expected to be token 3
    ids = np.full(300, 3, np.uint16)
    ids[201:205] = 7
    (worst,) = last(worst_passages(model, ids, most=1, length=4)).passages
    assert worst.start <= 204 and worst.start + worst.length > 201 and worst.loss > 1


def test_a_large_split_is_sampled_evenly_and_says_so(make: MakeModel) -> None:
    model, ids = make(), some_ids(4000)
    *_, found = worst_passages(model, ids, most=1000, length=4, most_tokens=400)
    assert found.sampled and found.looked_at == found.wanted == 400 and found.split == 3999
    starts = sorted(each.start for each in found.passages)
    assert len(starts) == 100 and starts[0] == 1 and starts[-1] > 3900
    assert max(b - a for a, b in pairwise(starts)) < 60
    again = last(worst_passages(model, ids, most=1000, length=4, most_tokens=400))
    assert again.passages == found.passages


def test_the_search_can_be_left_and_says_how_far_it_came(make: MakeModel) -> None:
    asked: list[int] = []
    found = list(worst_passages(make(), some_ids(400), cancelled=lambda: asked.append(1) or len(asked) > 3))
    assert [each.looked_at for each in found] == sorted(each.looked_at for each in found)
    assert 0 < found[-1].looked_at < found[-1].wanted == 399
    assert list(worst_passages(make(), [4])) == []
