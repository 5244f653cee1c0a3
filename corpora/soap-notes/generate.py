#!/usr/bin/env python3
"""Writes soap-notes.txt: synthetic clinical notes from the conditions in conditions/*.toml. Not for clinical use.

Run it in any Python from 3.11 on: `python corpora/soap-notes/generate.py`. The same input always gives the same bytes.

Each condition says whom it befalls, how people complain of it, and what a note on it may hold. Its texts are written in
a small grammar, expanded afresh for every note:

    [a|b|c]      one of these; alternatives nest and may be empty
    {3-8}        a whole number between these
    {side}       a variable: side and its opposite `other`, dur, sport ...; {Side} begins with a capital letter
    {F:text}     only for women and girls; also M, adult (12 or older), child, work (age 20-64), nowork, under2, over2,
                 preg (a woman of 15 to 50), ocp (some women under 45)
    "?text"      (a history or exam entry) left out now and then

A variable is drawn once for a note, so the side, the trigger and the drug agree wherever they are named; `cases` draws
several together. Past history and allergies are chosen after the plan, so that none of them forbids what it prescribes.
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
NOTES_PER_WEIGHT = 27
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
            "work" if 20 <= years <= 64 else "nowork",
            "under2" if years < 2 else "over2",
        }
        if female and 15 <= years <= 50:
            facts.add("preg")
        if female and 15 <= years < 45 and dice.chance(0.35):
            facts.add("ocp")
        return cls(months, female, facts)

    @property
    def years(self) -> int:
        return self.months // 12

    def described(self, dice: Dice) -> str:
        """`34 y/o F`, `7-month-old girl` ..."""
        letter = "F" if self.female else "M"
        grown = "woman" if self.female else "man"
        child = "girl" if self.female else "boy"
        if self.months < 24:
            return f"{self.months}{dice.pick([f' m/o {letter}', f'-month-old {child}', f' m/o {child}'])}"
        noun = grown if self.years >= 18 else child
        short = f" y/o {letter}"
        return f"{self.years}{dice.pick([short, short, f' y/o {noun}', f'-year-old {noun}'])}"


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


def vital_signs(condition: dict[str, Any], patient: Patient, dice: Dice, hypertensive: bool) -> str:
    """Vital signs of that age, moved by the condition; a fever quickens the pulse and, in the young, the breath."""
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
    rate = (
        dice.number(*breaths) + dice.number(*condition.get("rr", (0, 0))) + round(fever * (0.5 if years >= 12 else 1))
    )
    saturation = dice.number(*condition.get("spo2", (97, 100)))
    shown = {"T": f"T {temperature:.1f} F", "HR": f"HR {heart}", "RR": f"RR {rate}", "SpO2": f"SpO2 {saturation}% RA"}
    if systolic and diastolic:
        up, down = condition.get("bp", (0, 0))
        more = 8 if hypertensive else 0
        shown["BP"] = f"BP {dice.number(*systolic) + up + more}/{dice.number(*diastolic) + down + more // 2}"
    orders = [["T", "HR", "BP", "RR", "SpO2"], ["BP", "HR", "RR", "T", "SpO2"], ["T", "BP", "HR", "RR", "SpO2"]]
    signs = ", ".join(shown[name] for name in dice.pick(orders) if name in shown)
    return dice.pick(["", "", "VS: ", "Vitals: "]) + signs + "."


def past(condition: dict[str, Any], patient: Patient, plan: str, dice: Dice) -> tuple[str, str]:
    """Past history that fits the age, the condition and the plan, with the tag of what it is."""
    if "pmh" in condition:
        return expand(dice.pick(condition["pmh"]), {}, patient.facts, dice), ""
    if patient.years < 12:
        return dice.pick(PHRASES["history"]["child"]), ""
    barred = set(condition.get("not", ()))
    for words, tags in PHRASES["ruled_out"].items():
        if re.search(words, plan, re.IGNORECASE):
            barred.update(tags)
    known = [
        item for item in PHRASES["history"]["adult"] if patient.years >= item["from"] and item["tag"] not in barred
    ]
    return dice.weighted([((item["text"], item["tag"]), item["weight"]) for item in known])


def allergy(plan: str, dice: Dice) -> str:
    """A word on allergies that the plan respects; often none."""
    fitting = [
        (item["text"], item["weight"])
        for item in PHRASES["allergy"]["choices"]
        if "without" not in item or not re.search(item["without"], plan, re.IGNORECASE)
    ]
    return dice.weighted(fitting)


def complaint(condition: dict[str, Any], patient: Patient, variables: dict[str, str], dice: Dice) -> tuple[str, str]:
    """The short complaint that is the note's input, and the complaint as the note itself words it."""
    noun = expand(dice.pick(condition["complaint"]), variables, patient.facts, dice)
    words = {"c": noun, "dur": variables["dur"], "who": patient.described(dice)}
    speaker = "child" if patient.years < 5 else "adult"
    asked = PHRASES["asked"]
    if condition.get("visit"):
        frames = asked["visit"]
    elif "bare" in condition and dice.chance(0.2):
        frames = asked["bare"]
        words["c"] = expand(dice.pick(condition["bare"]), variables, patient.facts, dice)
    elif condition.get("event"):
        frames = asked[speaker]
    else:
        frames = asked[speaker] | asked[f"{speaker}_timed"]
    return sentence(expand(dice.weighted(list(frames.items())), words, patient.facts, dice)), noun


def opening(condition: dict[str, Any], patient: Patient, noun: str, variables: dict[str, str], dice: Dice) -> str:
    """The Subjective's first sentence."""
    told_later = any("{dur}" in text for text in condition["history"])
    kind = "child" if patient.years < 5 else "adult"
    if condition.get("visit"):
        kind = "visit"
    elif told_later or (kind == "child" and condition.get("event")):
        kind += "_untimed"
    elif condition.get("event"):
        kind += "_event"
    words = {"c": noun, "dur": variables["dur"], "who": patient.described(dice)}
    return expand(dice.weighted(list(PHRASES["opening"][kind].items())), words, patient.facts, dice)


def write_note(condition: dict[str, Any], dice: Dice) -> tuple[str, str]:
    """A short complaint, and the four sections of the note on it."""
    patient = Patient.draw(condition, dice)
    sides = ["left", "right"]
    dice.shuffle(sides)
    variables = {"side": sides[0], "other": sides[1], "dur": duration(condition, dice)}
    if "cases" in condition:
        case = dice.pick(condition["cases"])
        variables |= {name: expand(value, variables, patient.facts, dice) for name, value in case.items()}

    def told(texts: list[str]) -> list[str]:
        kept = (text.lstrip("?") for text in texts if not text.startswith("?") or dice.chance(0.6))
        return [sentence(expand(text, variables, patient.facts, dice)) for text in kept]

    asked, noun = complaint(condition, patient, variables, dice)
    plan = told(condition["plan"])
    history, tag = past(condition, patient, " ".join(plan), dice)
    subjective = [opening(condition, patient, noun, variables, dice), *told(condition["history"])]
    if "pain" in condition and patient.years >= 5:
        subjective.append(f"Pain {dice.number(*condition['pain'])}/10.")
    subjective += [f"{text}." for text in (history, allergy(" ".join(plan), dice)) if text]
    look = condition.get("look", PHRASES["look"]["adult" if patient.years >= 12 else "child"])
    objective = [vital_signs(condition, patient, dice, tag == "htn"), dice.pick(look), *told(condition["exam"])]
    assessment = expand(dice.pick(condition["assessment"]), variables, patient.facts, dice)
    numbered = dice.chance(0.25)
    steps = [f"{number}) {step}" for number, step in enumerate(plan, 1)] if numbered else plan
    sections = {"Subjective": subjective, "Objective": objective, "Assessment": [assessment], "Plan": steps}
    return asked, "\n".join(f"{name}: {sentence(' '.join(texts))}" for name, texts in sections.items())


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
