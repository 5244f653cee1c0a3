#!/usr/bin/env python3
"""Writes soap-notes.txt: synthetic clinical notes from the conditions in conditions/*.toml. Not for clinical use.

Run it in any Python from 3.11 on: `python corpora/soap-notes/generate.py`. The same input always gives the same bytes.

Each condition says whom it befalls, how people complain of it, and what a note on it may hold. Notes are short, of each
section the sentence that tells most: so a note fits a small model's context whole, and much of it hangs on the
complaint, which is what there is to learn. Wordings under `unseen` are kept out of the corpus, for asking a trained
model something it has not read. `family` says which conditions are akin.

The texts are written in a small grammar, expanded afresh for every note:

    [a|b|c]      one of these; alternatives nest and may be empty
    {3-8}        a whole number between these
    {side}       a variable: side and its opposite `other`, dur, sport ...; {Side} begins with a capital letter
    {F:text}     only for women and girls; also M, adult (12 or older), child, under2, over2

A variable is drawn once for a note, so the side, the trigger and the drug agree wherever they are named; `cases` draws
several together.
"""

from __future__ import annotations

import random
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 20261120
NOTES_PER_WEIGHT = 97
TWO_COMPLAINTS = 0.35  # share of complaints that name two things
NO_SUBJECT = 0.2  # that say neither who complains nor to whom
LONGEST_PAIR = 50  # characters of two complaints together
GIVE_UP = 2000  # draws without a new note

PHRASES: dict[str, Any] = tomllib.loads((HERE / "phrases.toml").read_text(encoding="ascii"))


class Dice:
    """Draws that stay the same in every Python version: only `random()` of a seeded generator is relied on."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def number(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))

    def real(self, low: float, high: float) -> float:
        return low + self._random.random() * (high - low)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, items: list[Any]) -> Any:
        return items[self.number(0, len(items) - 1)]

    def weighted(self, items: list[tuple[Any, float]]) -> Any:
        left = self.real(0.0, sum(weight for _, weight in items))
        for item, weight in items:
            left -= weight
            if left < 0:
                return item
        return items[-1][0]

    def shuffle(self, items: list[Any]) -> None:
        for last in range(len(items) - 1, 0, -1):
            other = self.number(0, last)
            items[last], items[other] = items[other], items[last]


@dataclass
class Patient:
    """Age in months, sex, and what the texts may ask about them."""

    months: int
    female: bool
    facts: set[str] = field(default_factory=set)

    @classmethod
    def draw(cls, condition: dict[str, Any], dice: Dice) -> Patient:
        low, high = condition["age"]
        months = dice.number(low, high) if condition.get("months") else 12 * dice.number(low, high)
        sex = condition.get("sex", "any")
        female = sex == "F" or (sex == "any" and dice.chance(condition.get("female", 0.5)))
        years = months // 12
        facts = {
            "F" if female else "M",
            "adult" if years >= 12 else "child",
            "under2" if years < 2 else "over2",
        }
        return cls(months, female, facts)

    @property
    def years(self) -> int:
        return self.months // 12

    def described(self, dice: Dice) -> str:
        """`34 yo F`, `7 mo girl` ..."""
        letter, grown, child = ("F", "woman", "girl") if self.female else ("M", "man", "boy")
        if self.months < 24:
            return f"{self.months} mo {dice.pick([letter, child])}"
        return f"{self.years} yo {dice.pick([letter, letter, grown if self.years >= 18 else child])}"


def split_alternatives(text: str) -> list[str]:
    """`a|b[c|d]` -> `a`, `b[c|d]`: at the bars that stand in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] in "[{") - (text[place] in "]}")
        if depth == 0:
            return place
    raise ValueError(f"a bracket is never closed: {text!r}")


def expand(text: str, variables: dict[str, str], facts: set[str], dice: Dice) -> str:
    """One reading of a text in the grammar above."""
    out, place = "", 0
    while place < len(text):
        character = text[place]
        if character not in "[{":
            out += character
            place += 1
            continue
        end = closing(text, place)
        body = text[place + 1 : end]
        place = end + 1
        if character == "[":
            out += expand(dice.pick(split_alternatives(body)), variables, facts, dice)
        elif found := re.fullmatch(r"(-?\d+)-(-?\d+)", body):
            out += str(dice.number(int(found[1]), int(found[2])))
        elif ":" in body:
            fact, _, inner = body.partition(":")
            out += expand(inner, variables, facts, dice) if fact in facts else ""
        else:
            value = expand(variables[body[0].lower() + body[1:]], variables, facts, dice)
            out += value[0].upper() + value[1:] if body[0].isupper() else value
    return out


def sentence(text: str) -> str:
    """Spaces and stops put right, the first letter a capital."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([.,;:])", r"\1", text)
    text = re.sub(r"\.(?:\s*\.)+", ".", text)
    text = re.sub(r",\.", ".", text)
    text = re.sub(r"(?<![\d.-])1 (hour|day|week|month|year|time)s\b", r"1 \1", text)
    return text if text.startswith("pH") else text[:1].upper() + text[1:]


def duration(condition: dict[str, Any], dice: Dice) -> str:
    """`3 days` out of `["1-5 days", "2-3 weeks"]`."""
    span, unit = dice.pick(condition["dur"]).split(" ")
    low, high = map(int, span.split("-"))
    count = dice.number(low, high)
    if unit == "hours" and count >= 24:  # as people say it
        count, unit = (count + 12) // 24, "days"
    return f"{count} {unit[:-1] if count == 1 else unit}"


def vital_signs(condition: dict[str, Any], patient: Patient, dice: Dice) -> str:
    """Temperature and pulse of that age, moved by the condition; the others where they matter.

    A fever quickens the pulse and, in the young, the breath.
    """
    years = patient.years
    #             youngest, pulse, breaths, systolic, diastolic
    normal = [
        (60, (62, 84), (13, 18), (118, 134), (68, 80)),
        (18, (62, 86), (12, 17), (108, 126), (66, 80)),
        (12, (66, 90), (13, 18), (104, 120), (62, 74)),
        (6, (76, 100), (17, 21), (96, 110), (58, 70)),
        (3, (88, 110), (20, 25), (90, 104), (54, 64)),
        (1, (98, 126), (23, 30), None, None),
        (0, (112, 142), (30, 40), None, None),
    ]
    _, pulse, breaths, systolic, diastolic = next(row for row in normal if years >= row[0])
    low, high = condition.get("temp", (97.5, 98.9))
    temperature = dice.real(low, high)
    fever = max(0.0, temperature - 99.5)
    heart = dice.number(*pulse) + dice.number(*condition.get("hr", (0, 0))) + round(fever * 5)
    shown = [f"T {temperature:.1f} F"]
    if "temp" in condition or "hr" in condition:
        shown.append(f"HR {heart}")
    if systolic and diastolic and "bp" in condition:
        up, down = condition["bp"]
        shown.append(f"BP {dice.number(*systolic) + up}/{dice.number(*diastolic) + down}")
    if "rr" in condition or "spo2" in condition:
        quicker = round(fever * (0.5 if years >= 12 else 1))
        rate = dice.number(*breaths) + dice.number(*condition.get("rr", (0, 0))) + quicker
        shown += [f"RR {rate}", f"SpO2 {dice.number(*condition.get('spo2', (97, 100)))}% RA"]
    return ", ".join(shown) + "."


def complaint(condition: dict[str, Any], patient: Patient, variables: dict[str, str], dice: Dice) -> tuple[str, str]:
    """The short complaint that is the note's input, and the Subjective: the same words of the patient.

    What the note takes over word for word is what a model learns to look for first.
    """
    who, dur = patient.described(dice), variables["dur"]
    kind = "visit" if condition.get("visit") else "child" if patient.years < 5 else "adult"
    said = "bare" in condition and dice.chance(0.2)  # a sentence, no noun
    what = expand(dice.pick(condition["bare"]), variables, patient.facts, dice) if said else ""
    what = what or wording(condition, patient, variables, dice)
    verb = "states:" if said else dice.weighted(list(PHRASES["told"][kind].items()))
    time = "" if said or kind == "visit" else f"{dice.pick([' x', ' for'])} {dur}"
    by_parents = verb.startswith(("mother", "father", "parents"))
    if dice.chance(NO_SUBJECT):
        asked = what
    elif by_parents or verb.startswith("brought"):
        asked = f"{verb} {what}"
    else:
        named = {"with": {}}.get(verb, PHRASES["subject"]["child" if kind == "child" else "adult"])
        asked = f"{dice.weighted([(who, 3), *named.items()])} {verb} {what}"
    asked += f"{time if dice.chance(0.4) else ''}."
    return sentence(asked), f"{who}{',' if by_parents else ''} {verb} {what}{time}."


def wording(condition: dict[str, Any], patient: Patient, variables: dict[str, str], dice: Dice) -> str:
    """What is complained of: one of the condition's wordings, or two that have no word in common."""

    def drawn() -> str:
        return expand(dice.pick(condition["complaint"]), variables, patient.facts, dice)

    first = drawn()
    if condition.get("visit") or not dice.chance(TWO_COMPLAINTS):
        return first
    second = drawn()
    both = f"{first} and {second}"
    joined = re.search(r",| and | with ", f"{first}{second}") is not None or len(both) > LONGEST_PAIR
    common = set(first.split()) & set(second.split()) - {variables["side"]}
    unseen = [expand(text, variables, patient.facts, dice) for text in condition["unseen"]]
    return first if joined or common or any(text in both for text in unseen) else both


def write_note(condition: dict[str, Any], dice: Dice) -> tuple[str, str]:
    """A short complaint, and the four sections of the note on it."""
    patient = Patient.draw(condition, dice)
    sides = ["left", "right"]
    dice.shuffle(sides)
    variables = {"side": sides[0], "other": sides[1], "dur": duration(condition, dice)}
    if "cases" in condition:
        case = dice.pick(condition["cases"])
        variables |= {name: expand(value, variables, patient.facts, dice) for name, value in case.items()}

    def told(text: str) -> str:
        return sentence(expand(text, variables, patient.facts, dice))

    asked, opening = complaint(condition, patient, variables, dice)
    sections = {
        "Subjective": sentence(opening),
        "Objective": f"{vital_signs(condition, patient, dice)} {told(condition['exam'])}",
        "Assessment": told(dice.pick(condition["assessment"])),
        "Plan": told(condition["plan"]),
    }
    return asked, "\n".join(f"{name}: {text}" for name, text in sections.items())


def load_conditions() -> list[dict[str, Any]]:
    """Every condition of every file, in the files' order by name."""
    files = sorted((HERE / "conditions").glob("*.toml"))
    return [condition for file in files for condition in tomllib.loads(file.read_text(encoding="ascii"))["condition"]]


def generate() -> str:
    """The whole corpus: no two notes are the same."""
    dice = Dice(SEED)
    seen: set[str] = set()
    records = []
    for condition in load_conditions():
        for _ in range(NOTES_PER_WEIGHT * condition.get("weight", 1)):
            for _ in range(GIVE_UP):
                asked, note = write_note(condition, dice)
                if note not in seen:
                    break
            else:
                raise ValueError(f"{condition['name']} has too few different notes")
            seen.add(note)
            records.append(f"### Input:\n{asked}\n### Output:\n{note}\n\n")
    dice.shuffle(records)
    return "".join(records)


if __name__ == "__main__":
    (HERE / "soap-notes.txt").write_bytes(generate().encode("ascii"))
