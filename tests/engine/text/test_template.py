"""Templates: what is prompted is what was trained on, and the answer comes out whole."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.text.template import CHAT_TEMPLATE, Template

NOTES = Template.parse("### Input:\n{prompt}\n### Output:\n{response}\n\n", ["\n\n", "### Input:"])
plain = st.text(st.characters(codec="utf-8"), max_size=40)
templates = st.builds(Template, plain, plain, plain, st.lists(plain.filter(bool), max_size=3).map(tuple))


def test_a_record_is_the_applied_prompt_then_the_answer_then_the_suffix() -> None:
    assert CHAT_TEMPLATE.apply("Hi.") == "You: Hi.\nBot: "
    assert CHAT_TEMPLATE.record("Hi.", "Hello!") == "You: Hi.\nBot: Hello!<END>\n"
    assert CHAT_TEMPLATE.stops == ("<END>",)


def test_the_answer_is_cut_out_with_and_without_the_prompt_before_it() -> None:
    text = "Subjective: a\nPlan: b\n\n### Input:\nnext"
    for given_text in (text, NOTES.apply("Pt. complains of headache.") + text):
        assert NOTES.cut(given_text) == "Subjective: a\nPlan: b"


def test_an_answer_without_a_stop_is_kept_whole() -> None:
    assert CHAT_TEMPLATE.cut("Hello th") == "Hello th"


@given(templates, plain, plain, plain)
def test_cut_gives_back_any_answer_that_holds_no_stop(template: Template, prompt: str, answer: str, after: str) -> None:
    whole = answer + template.suffix + after
    first = min((place for stop in template.stops if (place := whole.find(stop)) >= 0), default=len(whole))
    assume(all(stop not in answer for stop in template.stops))
    cut = template.cut(template.apply(prompt) + whole, prompt)
    assert cut == whole[:first]
    if template.stops and template.suffix.startswith(template.stops) and first == len(answer):
        assert cut == answer


@given(plain.filter(lambda text: "\nBot: " not in text), plain.filter(lambda text: "<END>" not in text), plain)
def test_chat_answers_survive_the_round_trip(prompt: str, answer: str, after: str) -> None:
    assume("<END>" not in (answer + "<END>")[:-1])
    written = CHAT_TEMPLATE.record(prompt, answer) + after
    assert CHAT_TEMPLATE.cut(written) == CHAT_TEMPLATE.cut(written, prompt) == answer


@given(templates)
def test_templates_survive_json(template: Template) -> None:
    assert Template.from_dict(template.to_dict()) == template


@given(templates, st.lists(st.tuples(plain, plain), max_size=3), plain)
def test_turns_are_whole_records_and_then_the_prompt(
    template: Template, history: list[tuple[str, str]], prompt: str
) -> None:
    text = template.turns(history, prompt)
    for asked, answered in history:
        record = template.record(asked, answered)
        assert text.startswith(record)
        text = text.removeprefix(record)
    assert text == template.apply(prompt)


@pytest.mark.parametrize(
    ("template", "stops"),
    [
        (Template("Q: ", "\nA: ", "\n"), ("\nQ:",)),
        (Template("Q: ", "\nA: ", "\n\n"), ("\n\n",)),
        (Template("", " -> ", "\n"), ("\n",)),
        (Template("Q: ", "\nA: ", "</s>\n"), ("</s>",)),
        (Template("Q: ", "\nA: ", "</s>\n", ("Q:",)), ("Q:",)),
        (Template(), ()),
    ],
)
def test_stop_strings_follow_from_the_suffix(template: Template, stops: tuple[str, ...]) -> None:
    assert template.stops == stops


@pytest.mark.parametrize("record", ["", "{prompt}", "{response}", "{response}{prompt}", "{prompt}{prompt}{response}"])
def test_a_record_without_both_places_is_refused(record: str) -> None:
    with pytest.raises(CorpusError, match="needs"):
        Template.parse(record)


@pytest.mark.parametrize("tree", [{"record": 3}, {"prefix": "a", "middle": "b"}, {"prefix": "a", "stop": [""]}])
def test_a_damaged_template_is_refused(tree: dict[str, object]) -> None:
    with pytest.raises(CorpusError, match="template"):
        Template.from_dict(tree)
