from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.errors import UserError
from engine.model import build_model
from engine.model.gpt import GPT
from engine.sampling.beam import Beam, beam_search
from engine.sampling.decode import Context
from engine.sampling.generate import generate
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from tests.later import Later

transformers = Later("transformers")

MakeModel = Callable[..., GPT]
VOCAB = 30


class Adapted(nn.Module):
    """A GPT-2 of transformers under our model's names."""

    supports_cache = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config = ModelConfig(block_size=model.config.n_positions)
        self.vocab_size = model.config.vocab_size

    def forward(self, ids: Tensor, cache: None = None, last: bool = False) -> Tensor:
        return self.model(ids).logits


@pytest.fixture(scope="module")
def gpt2() -> Any:
    torch_state = torch.get_rng_state()
    torch.manual_seed(3)
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.4
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    torch.set_rng_state(torch_state)
    return model


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("beams", [2, 5])
@pytest.mark.parametrize("stop_ids", [(), (4,), (4, 9, 11)])
def test_equals_transformers(
    gpt2: Any, chars: CharTokenizer, beams: int, length_penalty: float, stop_ids: tuple[int, ...]
) -> None:
    prompts = ("b", "hello", "qu")
    for prompt in [prompts[(beams // 2 + len(stop_ids) // 2) % 3]] if stop_ids else prompts:
        ids = torch.from_numpy(chars.encode(prompt).astype("int64"))[None]
        theirs = gpt2.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=length_penalty,
            early_stopping=False,
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=list(stop_ids) or None,
            pad_token_id=1,
            repetition_penalty=1.2,
            output_scores=True,
            return_dict_in_generate=True,
        )
        s = SamplingSettings(max_tokens=12, stop_ids=stop_ids, repetition_penalty=1.2)
        ours = beam_search(Adapted(gpt2), chars, prompt, s, beams, length_penalty=length_penalty, num=beams)  # type: ignore[arg-type]
        sequences = theirs.sequences[:, ids.size(1) :].tolist()
        assert [beam.score for beam in ours] == pytest.approx(theirs.sequences_scores.tolist(), rel=1e-5)
        for beam, sequence in zip(ours, sequences, strict=True):
            assert list(beam.ids) == sequence[: len(beam.ids)]
            assert all(pad == 1 for pad in sequence[len(beam.ids) :])


def bigram(chances: dict[str, dict[str, float]]) -> tuple[GPT, CharTokenizer]:
    """A model whose next character hangs on the last alone, with these chances."""
    tokenizer = CharTokenizer("".join(chances))
    model = build_model(ModelConfig(kind="bigram", position="none", block_size=8), tokenizer.vocab_size).eval()
    with torch.no_grad():
        for row, last in enumerate(chances):
            model.wte.weight[row] = torch.tensor([chances[last].get(char, 1e-9) for char in chances]).log()
    return model, tokenizer


def test_a_beam_between_the_worst_and_the_best_finished_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can no longer be the first, but still take the place of the last."""
    # after the second token: "." (0.5) and "c." (0.12) are finished, and "bd", at 0.198, is between them
    model, tokenizer = bigram(
        {
            "a": {".": 0.5, "b": 0.3, "c": 0.2},
            "b": {"d": 0.66, ".": 0.34},
            "c": {".": 0.6, "d": 0.4},
            "d": {".": 0.9, "d": 0.1},
            ".": {".": 1.0},
        }
    )
    s = SamplingSettings(max_tokens=6, stop_ids=tuple(tokenizer.encode(".").tolist()))
    found = beam_search(model, tokenizer, "a", s, 2, num=2, length_penalty=0.0)
    assert [tokenizer.decode(beam.ids) for beam in found] == [".", "bd."]
    assert [math.exp(beam.score) for beam in found] == pytest.approx([0.5, 0.3 * 0.66 * 0.9])
    # and not a step further than needed: what is open by then, "bdd" at 0.0198, is below both
    steps, append = list[int](), Context.append
    monkeypatch.setattr(Context, "append", lambda self, ids: steps.append(len(ids)) or append(self, ids))
    assert beam_search(model, tokenizer, "a", s, 2, num=2, length_penalty=0.0) == found
    assert steps == [2, 2]


def test_many_ways_to_end_leave_as_many_beams_going_on() -> None:
    """Of the four likeliest first letters three are ends; "c", the fifth, must still be followed."""
    rest = "defghijk"
    model, tokenizer = bigram(
        {
            "a": {"x": 0.3, "b": 0.28, "y": 0.2, "z": 0.12, "c": 0.1},
            "b": {**dict.fromkeys("xyz", 0.05), **dict.fromkeys(rest, 0.85 / len(rest))},
            "c": {"x": 0.9, "b": 0.1},
            **{letter: {"d": 1.0} for letter in (*rest, *"xyz")},
        }
    )
    s = SamplingSettings(max_tokens=4, stop_ids=tuple(tokenizer.encode("xyz").tolist()))
    found = beam_search(model, tokenizer, "a", s, 2, num=2, length_penalty=0.0)
    assert [tokenizer.decode(beam.ids) for beam in found] == ["x", "cx"]
    assert [math.exp(beam.score) for beam in found] == pytest.approx([0.3, 0.09])


LETTERS = {
    "a": {"a": 0.1, "b": 0.2, "c": 0.3, ".": 0.4},
    "b": {"a": 0.55, "b": 0.15, "c": 0.25, ".": 0.05},
    "c": {"a": 0.28, "b": 0.12, "c": 0.52, ".": 0.08},
    ".": {"a": 0.7, "b": 0.1, "c": 0.15, ".": 0.05},
}


def chance(text: str, before: str = "a") -> float:
    return math.prod(LETTERS[last][char] for last, char in pairwise(before + text))


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 2.0])
def test_with_beams_for_every_text_the_best_are_those_of_all_texts(length_penalty: float) -> None:
    model, tokenizer = bigram(LETTERS)
    for n in (1, 2, 3):
        found = beam_search(
            model, tokenizer, "a", SamplingSettings(max_tokens=n), 4**n, num=4**n, length_penalty=length_penalty
        )
        assert {beam.text for beam in found} == set(map("".join, product(LETTERS, repeat=n)))
        assert [beam.stop_reason for beam in found] == ["length"] * 4**n
        expected = [math.log(chance(beam.text)) / n**length_penalty for beam in found]
        assert [beam.score for beam in found] == pytest.approx(expected, rel=1e-5)
        assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)


def test_with_beams_for_every_text_and_an_end_the_best_are_those_of_all_ended_texts() -> None:
    model, tokenizer = bigram(LETTERS)
    ended = ["".join((*word, ".")) for n in range(3) for word in product("abc", repeat=n)]
    texts = [*ended, *map("".join, product("abc", repeat=3))]
    for stops in ({"stop_ids": tuple(tokenizer.encode(".").tolist())}, {"stop": (".",)}):
        s = SamplingSettings(max_tokens=3, **stops)  # type: ignore[arg-type]
        found = beam_search(model, tokenizer, "a", s, 64, num=len(texts), length_penalty=0.0)
        whole = [tokenizer.decode(beam.ids) for beam in found]
        assert sorted(whole) == sorted(texts)
        assert [math.exp(beam.score) for beam in found] == pytest.approx([chance(text) for text in whole], rel=1e-4)
        assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)
        assert [beam.text for beam in found] == [text.removesuffix(".") for text in whole]
        assert [beam.stop_reason == "stop" for beam in found] == [text.endswith(".") for text in whole]


def test_the_cache_changes_nothing(letters: GPT, chars: CharTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    s, found = SamplingSettings(max_tokens=12), []
    for cache in (True, False):
        monkeypatch.setattr(letters, "supports_cache", cache)
        found.append(beam_search(letters, chars, "ab", s, 4, num=4))
    assert [beam.ids for beam in found[0]] == [beam.ids for beam in found[1]]
    assert [beam.score for beam in found[0]] == pytest.approx([beam.score for beam in found[1]], abs=1e-4)


def test_scores_are_the_texts_own_log_probabilities(letters: GPT, chars: CharTokenizer) -> None:
    prompt = chars.encode("ab").tolist()
    for beam in beam_search(letters, chars, "ab", SamplingSettings(max_tokens=9), 3, length_penalty=0.7, num=3):
        ids = torch.tensor([[*prompt, *beam.ids]])
        logp = letters(ids)[0].log_softmax(-1)
        total = sum(logp[len(prompt) + i - 1, token].item() for i, token in enumerate(beam.ids))
        assert beam.score == pytest.approx(total / len(beam.ids) ** 0.7, abs=1e-4)


def test_one_beam_is_greedy_and_more_find_nothing_less_likely(letters: GPT, chars: CharTokenizer) -> None:
    s = SamplingSettings(temperature=0, max_tokens=10)
    (one,) = beam_search(letters, chars, "ab", s, 1)
    assert one.text == list(generate(letters, chars, "ab", s))[-1].text
    assert beam_search(letters, chars, "ab", s, 16)[0].score >= one.score


def test_every_text_ends_at_its_stop_string(letters: GPT, chars: CharTokenizer) -> None:
    s = SamplingSettings(max_tokens=20)
    said = beam_search(letters, chars, "ab", s, 6)[0].text
    stops = (said[3:5], said[8])
    found = beam_search(letters, chars, "ab", s.replace(stop=stops), 6, num=6)
    assert any(beam.stop_reason == "stop" for beam in found)
    for beam in found:
        whole = chars.decode(beam.ids)
        assert not any(stop in beam.text for stop in stops)
        assert whole.startswith(beam.text) and (whole != beam.text) == (beam.stop_reason == "stop")


def test_past_the_context(letters: GPT, chars: CharTokenizer) -> None:
    found = beam_search(letters, chars, "ab", SamplingSettings(max_tokens=40), 3, num=3)
    assert [(len(beam.ids), beam.stop_reason) for beam in found] == [(40, "length")] * 3
    assert [beam.score for beam in found] == sorted((beam.score for beam in found), reverse=True)


def test_global_random_state_and_mode_are_left_alone(tiny: MakeModel, chars: CharTokenizer) -> None:
    model, state = tiny(chars.vocab_size).train(), torch.get_rng_state()
    beam_search(model, chars, "", SamplingSettings(max_tokens=5), 2)
    assert model.training and torch.equal(torch.get_rng_state(), state)


def test_what_makes_no_sense_is_refused(tiny: MakeModel, letters: GPT, chars: CharTokenizer) -> None:
    for beams, num in ((0, 1), (2, 3), (65, 1), (2, 0)):
        with pytest.raises(UserError, match="beams must be from 1"):
            beam_search(letters, chars, "ab", SamplingSettings(), beams, num=num)
    assert beam_search(letters, chars, "ab", SamplingSettings(max_tokens=0), 3) == [Beam("", (), 0.0, "length")]
    broken = tiny(256)
    with torch.no_grad():
        broken.wte.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="not a number"):
        beam_search(broken, ByteTokenizer(), "ab", SamplingSettings(), 2)


@pytest.mark.parametrize("finite", [0, 1, 3])
def test_as_long_as_anything_can_follow_the_search_goes_on(finite: int) -> None:
    """Fewer tokens than are looked at have any mass; with none, that is said."""
    model, tokenizer = bigram({letter: {} for letter in "abcde"})
    with torch.no_grad():
        model.wte.weight.fill_(-torch.inf)
        model.wte.weight[:, :finite] = torch.arange(float(finite))
    s = SamplingSettings(max_tokens=3)
    if finite:
        found = beam_search(model, tokenizer, "e", s, 2)
        assert [beam.ids for beam in found] == [(finite - 1,) * 3]
        return
    with pytest.raises(UserError, match="not a number"):
        beam_search(model, tokenizer, "e", s, 2)
