"""The shipped corpora: what the generators write is what is shipped, and it keeps its promises."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CORPORA = Path(__file__).parents[2] / "corpora"
SECTIONS = ["Subjective", "Objective", "Assessment", "Plan"]


def load_generator(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"generate_{name.replace('-', '_')}", CORPORA / name / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def card(name: str) -> dict[str, Any]:
    return tomllib.loads((CORPORA / name / "corpus.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def notes() -> list[tuple[str, list[str]]]:
    """(short complaint, the note's lines) of every record."""
    text = (CORPORA / "soap-notes" / "soap-notes.txt").read_text(encoding="ascii")
    assert text.endswith("\n\n")
    found = []
    for record in text[:-2].split("\n\n"):
        head, asked, output, *lines = record.split("\n")
        assert (head, output) == ("### Input:", "### Output:")
        found.append((asked, lines))
    return found


@pytest.fixture(scope="module")
def pairs() -> list[list[str]]:
    header, *rows = csv.reader(io.StringIO((CORPORA / "dialogues" / "dialogues.csv").read_text(encoding="ascii")))
    assert header == ["prompt", "response"]
    return rows


@pytest.mark.parametrize("name", ["soap-notes", "dialogues"])
def test_a_fresh_run_of_the_generator_gives_the_shipped_file_and_the_hash_on_its_card(name: str) -> None:
    shipped = (CORPORA / name / card(name)["file"]).read_bytes()
    assert load_generator(name).generate().encode("ascii") == shipped
    assert hashlib.sha256(shipped).hexdigest() == card(name)["sha256"]


def test_the_notes_card_says_that_they_are_synthetic_and_not_for_clinical_use() -> None:
    assert "synthetic" in card("soap-notes")["about"].lower()
    assert "not for clinical use" in card("soap-notes")["about"].lower()


def test_there_are_over_2000_notes_and_no_two_are_alike(notes: list[tuple[str, list[str]]]) -> None:
    assert len({"\n".join(lines) for _, lines in notes}) == len(notes) > 2000
    assert 1_500_000 <= (CORPORA / "soap-notes" / "soap-notes.txt").stat().st_size <= 2_500_000


def test_every_note_has_its_four_sections_in_order(notes: list[tuple[str, list[str]]]) -> None:
    for asked, lines in notes:
        assert [line.partition(": ")[0] for line in lines] == SECTIONS, asked
        assert all(len(line.partition(": ")[2]) >= 6 for line in lines), asked


def test_there_are_many_conditions_and_many_ways_to_complain(notes: list[tuple[str, list[str]]]) -> None:
    conditions = load_generator("soap-notes").load_conditions()
    assert len({condition["name"] for condition in conditions}) == len(conditions) >= 40
    assert len({asked for asked, _ in notes}) > 2000
    assert sum(asked.startswith(("Pt. complains of", "Patient complains of")) for asked, _ in notes) > 300
    assert max(len(asked) for asked, _ in notes) < 100


def test_what_a_trained_model_is_asked_is_not_in_the_corpus(notes: list[tuple[str, list[str]]]) -> None:
    """In no complaint, whatever stands around it; and nearly every word of it is, or the model could not know it."""
    asked = " | ".join(asked for asked, _ in notes).lower()
    words = set(re.findall(r"[a-z-]+", "\n".join("\n".join(lines) for _, lines in notes).lower() + asked))
    for condition in load_generator("soap-notes").load_conditions():
        assert len(condition["unseen"]) == 2
        for wording in condition["unseen"]:
            for side in ("left", "right"):
                text = wording.replace("{side}", side).lower()
                assert text not in asked, text
                assert set(re.findall(r"[a-z-]+", text.replace("{site}", ""))) <= words, text


def test_the_note_begins_with_the_words_of_the_complaint(notes: list[tuple[str, list[str]]]) -> None:
    """Its last word, its side and its duration come back in the Subjective's first sentence."""
    for asked, (subjective, *_) in notes:
        told = subjective.lower()
        assert asked.rstrip(".").split()[-1].lower() in told, (asked, subjective)
        if found := re.search(r" (x|for) \d+ (hours?|days?|weeks?|months?)\.$", asked):
            assert found[0] in told, (asked, subjective)


def test_no_grammar_is_left_in_the_notes(notes: list[tuple[str, list[str]]]) -> None:
    for asked, lines in notes:
        for line in (asked, *lines):
            assert not re.search(r"[\[\]{}|]|  | [.,;]|\.\.|,\.|\b1 (hours|days|weeks|months|years|times)\b", line), (
                line
            )
            assert line.endswith((".", "?")), line


def test_age_sex_and_side_agree_within_a_note(notes: list[tuple[str, list[str]]]) -> None:
    for asked, lines in notes:
        note = "\n".join((asked, *lines))
        ages = set(re.findall(r"(\d+ [ym]o)\b", note))
        assert len(ages) == 1, note
        male = re.search(r"\b[ym]o (?:M|man|boy)\b", note)
        female = re.search(r"\b[ym]o (?:F|woman|girl)\b", note)
        assert bool(male) != bool(female), note
        if male:
            assert not re.search(r"[Mm]enses|[Mm]enstru|[Vv]agina|[Vv]ulv|[Pp]eriod", note), note
        side = re.search(r"\b(left|right)\b", asked)
        if side and side[1] not in lines[0].lower():
            raise AssertionError(note)


def test_vital_signs_fit_the_assessment(notes: list[tuple[str, list[str]]]) -> None:
    """Fever and low oxygen stand where they must, and nowhere else."""
    febrile = r"[Ii]nfluenza,|pneumonia\b(?! unlikely)|[Pp]yelonephritis|^Assessment: (?:Group A s|S)trep|otitis media"
    for _, (_, objective, assessment, _) in notes:
        temperature = float(re.search(r"T (\d+\.\d) F", objective)[1])  # type: ignore[index]
        breathing = re.search(r"RR (\d+), SpO2 (\d+)% RA", objective)
        breaths, saturation = map(int, breathing.groups()) if breathing else (None, None)
        assert 97 <= temperature <= 104, objective
        assert breathing is None or (88 <= saturation <= 100 and 10 <= breaths <= 65), objective
        if re.search(febrile, assessment) and "no sign" not in assessment and "no pneumonia" not in assessment:
            assert temperature > 100, (assessment, objective)
        if "asthma" in assessment:
            assert saturation is not None and saturation < 97, (assessment, objective)
        if re.search(r"[Mm]igraine|[Ll]umbar|osteoarthritis|[Aa]cne", assessment):
            assert temperature < 99.5 and (saturation is None or saturation >= 97), (assessment, objective)


def test_a_small_vocabulary_holds_both_corpora(pairs: list[list[str]]) -> None:
    text = (CORPORA / "soap-notes" / "soap-notes.txt").read_text(encoding="ascii")
    assert len(set(text)) < 90
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    assert all(character == "\n" or " " <= character <= "~" for pair in pairs for cell in pair for character in cell)


def test_dialogues_are_many_different_and_short(pairs: list[list[str]]) -> None:
    assert len({tuple(pair) for pair in pairs}) == len(pairs) >= 800
    prompts = Counter(prompt.lower() for prompt, _ in pairs)
    assert len(prompts) > 0.9 * len(pairs), "prompts are repeated too often"
    assert len({response for _, response in pairs}) > 500
    for prompt, response in pairs:
        assert prompt == prompt.strip() and response == response.strip() and prompt and response
        assert len(prompt) < 80 and len(response) < 200 and "\n" not in prompt + response
        assert "<END>" not in prompt + response and not response.startswith("Bot:")
