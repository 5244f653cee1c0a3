"""The meter of notes that follow from their complaints: right about true notes, wrong ones and broken ones."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from bench.follows import Asked, Judge, complaints, families, fresh_notes, sections, tally, write_notes
from engine.model import build_model
from engine.preset_files import load_preset
from engine.sampling.generate import Done, generate
from engine.sampling.settings import SamplingSettings
from engine.text.catalog import find_corpus
from engine.tokenizers.byte import ByteTokenizer

Notes = Sequence[tuple[str, dict[str, str]]]


@pytest.fixture(scope="module")
def notes() -> Notes:
    return fresh_notes(1, seed=5)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(fresh_notes(24, seed=6))


def test_every_condition_has_a_family_and_two_unseen_wordings() -> None:
    family, asked = families(), complaints(1, seed=1)
    assert {each.condition for each in asked} == set(family)
    assert all(2 <= sum(other == each for other in family.values()) <= 9 for each in family.values())
    assert len(asked) == len({each.complaint for each in asked}) == 2 * len(family)


def test_true_notes_are_judged_to_be_of_their_condition(judge: Judge, notes: Notes) -> None:
    found = tally(judge, notes)
    assert found.in_order == 1.0 and found.family > 0.9 and found.condition > 0.85


def test_a_note_on_something_else_does_not_count_however_well_it_is_made(judge: Judge, notes: Notes) -> None:
    family = families()
    others = [(asked, next(note for other, note in notes if family[other] != family[asked])) for asked, _ in notes]
    found = tally(judge, others)
    assert found.in_order == 1.0 and found.family < 0.03 and found.either < 0.1


def test_one_section_of_another_family_spoils_the_note(judge: Judge, notes: Notes) -> None:
    of = dict(notes)
    mixed = dict(of["migraine"], Plan=of["acne"]["Plan"])
    found = tally(judge, [("migraine", mixed)])
    assert found.family == 0 and found.by_section == {"Subjective": 1.0, "Assessment": 1.0, "Plan": 0.0}
    assert found.either == 1.0


def test_sections_stand_in_order_each_once() -> None:
    lines = ["Subjective: a.", "Objective: b.", "Assessment: c.", "Plan: d."]
    assert sections("\n".join(lines)) == {"Subjective": "a.", "Objective": "b.", "Assessment": "c.", "Plan": "d."}
    assert sections("\n".join(lines) + "\n") is not None
    wrong = [lines[:3], [*lines, lines[3]], [lines[1], lines[0], *lines[2:]], [*lines[:3], "Plan: "], [*lines, "more"]]
    assert not any(sections("\n".join(each)) for each in wrong)


def test_notes_written_side_by_side_are_those_written_alone() -> None:
    """Prompts of several lengths, and notes longer than the context."""
    tokenizer = ByteTokenizer()
    model = build_model(
        load_preset("nano").replace({"model.n_embd": 16, "model.n_layer": 1, "model.block_size": 128}).model,
        tokenizer.vocab_size,
        generator=torch.Generator().manual_seed(3),
    ).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(generator=torch.Generator().manual_seed(4))
    asked = [Asked("acne", text) for text in ("Acne.", "Gout.", "Pt. has acne.")]
    settings = SamplingSettings(max_tokens=150, seed=11)
    template = find_corpus("soap-notes").template
    assert template is not None
    for number, (each, note) in enumerate(zip(asked, write_notes(model, tokenizer, asked, settings), strict=True)):
        own = settings.replace(seed=11 + number, stop=template.stops)
        *_, done = generate(model, tokenizer, template.apply(each.complaint), own)
        assert isinstance(done, Done) and done.text == note and note
