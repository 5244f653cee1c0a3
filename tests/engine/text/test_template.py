"""Templates: what is prompted is what was trained on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CorpusError
from engine.text.template import CHAT_TEMPLATE, Template

plain = st.text(st.characters(codec="utf-8"), max_size=40)
templates = st.builds(Template, plain, plain, plain, st.lists(plain.filter(bool), max_size=3).map(tuple))


def test_a_record_is_the_applied_prompt_then_the_answer_then_the_suffix() -> None:
    assert CHAT_TEMPLATE.apply("Hi.") == "You: Hi.\nBot: "
    assert CHAT_TEMPLATE.record("Hi.", "Hello!") == "You: Hi.\nBot: Hello!<END>\n"
    assert CHAT_TEMPLATE.stops == ("<END>",)


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
