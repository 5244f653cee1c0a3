"""What is drawn with a penalty of either kind, and what of a conversation is read, in each case."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from engine.model.gpt import GPT
from engine.sampling.chat import Chat, fit_turns
from engine.sampling.generate import Done, Piece
from engine.sampling.rules import Dice, sample
from engine.sampling.settings import SamplingSettings
from engine.text.template import Template
from engine.tokenizers.char import CharTokenizer

PLAIN = Template(prefix="", infix=" ", suffix="", stop=("!",))


@pytest.mark.parametrize(("penalty", "picked"), [(1.0, 0), (2.0, 1), (0.5, 2), (1.2, 0), (0.9, 0)])
@pytest.mark.parametrize("temperature", [0.0, 1e-6])
def test_a_penalty_of_either_kind_counts(penalty: float, picked: int, temperature: float) -> None:
    logits = torch.tensor([[4.0, 3.0, 2.5, 2.5]])
    seen = torch.tensor([[0, 2]]) if penalty > 1 else torch.tensor([[2]])
    settings = SamplingSettings(temperature=temperature, repetition_penalty=penalty)
    found = sample(logits, settings, Dice([1], logits.device), seen)
    assert found.tolist() == [picked]


@pytest.mark.parametrize("max_tokens", [1, 4, 100])
@pytest.mark.parametrize("block_size", [1, 8, 40])
@pytest.mark.parametrize("words", [0, 3, 39, 200])
def test_the_end_of_a_prompt_that_is_too_long_is_read(max_tokens: int, block_size: int, words: int) -> None:
    def encode(text: str) -> list[int]:
        return list(text.encode())

    prompt = "".join(chr(33 + number % 90) for number in range(words))
    history: Sequence[tuple[str, str]] = [("aaaa", "bb"), ("c", "d")]
    found, turns = fit_turns(PLAIN, history, prompt, encode, block_size, max_tokens)
    room = max(1, block_size - min(max_tokens, block_size // 4))
    whole = [encode(PLAIN.turns(history[2 - n :], prompt)) for n in range(3)]
    fitting = [n for n in range(3) if len(whole[n]) <= room]
    assert turns == max(fitting, default=0)
    assert found == (whole[turns] if fitting else whole[0][-room:])


@pytest.fixture(scope="module")
def model(tiny, chars: CharTokenizer) -> GPT:  # type: ignore[no-untyped-def]
    return tiny(chars.vocab_size, block_size=64)


def test_an_answer_that_is_left_half_way_is_remembered_once(model: GPT, chars: CharTokenizer) -> None:
    chat = Chat(model, chars, PLAIN, SamplingSettings(temperature=1, seed=2, max_tokens=9))
    chat.history = [("a", "b"), ("c", "d")]
    pieces = chat.say("hello")
    said = next(piece.text for piece in pieces if isinstance(piece, Piece) and piece.text)
    pieces.close()  # type: ignore[attr-defined]
    assert chat.history == [("a", "b"), ("c", "d"), ("hello", said)]
    pieces = chat.say("more")
    for piece in pieces:
        if isinstance(piece, Done):
            break
    pieces.close()  # type: ignore[attr-defined]
    assert len(chat.history) == 4 and chat.history[3][0] == "more"
    nothing = chat.say("none")
    nothing.close()  # type: ignore[attr-defined]
    assert len(chat.history) == 4
