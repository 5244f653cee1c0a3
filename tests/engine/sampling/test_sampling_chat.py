from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import TokenizerError
from engine.model.gpt import GPT
from engine.sampling.chat import Chat
from engine.sampling.generate import Done
from engine.sampling.settings import SamplingSettings
from engine.text.template import Template
from engine.tokenizers.char import CharTokenizer

TEMPLATE = Template(prefix="#", infix=" ", suffix="!\n", stop=tuple("!aeiourstn"))
S = SamplingSettings(temperature=1, seed=2, max_tokens=30)


@pytest.fixture(scope="module")
def model(tiny, chars: CharTokenizer) -> GPT:  # type: ignore[no-untyped-def]
    return tiny(chars.vocab_size, block_size=64)


def chat_of(model: GPT, chars: CharTokenizer, template: Template | None = TEMPLATE) -> Chat:
    return Chat(model, chars, template, S)


def test_an_answer_ends_at_the_templates_stop_and_is_remembered(model: GPT, chars: CharTokenizer) -> None:
    chat = chat_of(model, chars)
    done = list(chat.say("hello"))[-1]
    assert isinstance(done, Done) and done.stop_reason == "stop" and not set(done.text) & set(TEMPLATE.stops)
    assert chat.history == [("hello", done.text)]
    ids, turns = chat.fit("more")
    assert turns == 1 and chars.decode(ids) == f"#hello {done.text}!\n#more "
    chat.clear()
    assert chat.history == [] and chars.decode(chat.fit("more")[0]) == "#more "


@given(
    history=st.lists(st.tuples(st.text("abc", max_size=20), st.text("abc", max_size=20)), max_size=6),
    prompt=st.text("abc", max_size=90),
)
@settings(max_examples=100)
def test_whole_turns_the_newest_ones_as_many_as_fit(
    model: GPT, chars: CharTokenizer, history: list[tuple[str, str]], prompt: str
) -> None:
    chat = chat_of(model, chars)
    chat.history = list(history)
    ids, turns = chat.fit(prompt)
    room = 64 - 16  # a quarter of the context is the answer's
    text = TEMPLATE.turns(history[len(history) - turns :], prompt)
    assert chars.decode(ids) == text[-room:]
    assert len(text) <= room or turns == 0
    if turns < len(history):
        assert len(TEMPLATE.turns(history[len(history) - turns - 1 :], prompt)) > room


def test_a_model_of_plain_text_talks_in_paragraphs(model: GPT, chars: CharTokenizer) -> None:
    chat = chat_of(model, chars, None)
    chat.history = [("hi", "ho")]
    assert chars.decode(chat.fit("he")[0]) == "hi\nho\n\nhe\n"


def test_an_answer_cut_short_is_remembered_as_far_as_it_was_seen(model: GPT, chars: CharTokenizer) -> None:
    left = chat_of(model, chars)
    pieces = left.say("hello")
    text = next(pieces).text
    pieces.close()
    assert text and left.history == [("hello", text)]


def test_a_prompt_that_cannot_be_encoded_leaves_the_history(model: GPT, chars: CharTokenizer) -> None:
    chat = chat_of(model, chars)
    with pytest.raises(TokenizerError):
        chat.say("é")
    assert chat.history == []
