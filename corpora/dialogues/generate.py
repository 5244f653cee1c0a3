#!/usr/bin/env python3
"""Writes dialogues.csv, columns prompt and response, from topics/*.txt, where every line was written by hand.

    Hello. | Hi. | Hey.
    > Hello! What would you like to talk about?
    > Hi. Nice to hear from you.

A group is several ways to say one thing, then answers that fit all of them. Each prompt gets an answer and each answer
a prompt, in turn, and no pair stands twice. The pairs are shuffled with a fixed seed, so that training and validation
see all topics. `python corpora/dialogues/generate.py` always gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

HERE = Path(__file__).parent
SEED = 20261120


def read_groups(text: str) -> list[tuple[list[str], list[str]]]:
    """(prompts, responses) of every group; groups are separated by blank lines."""
    groups = []
    for block in text.strip().split("\n\n"):
        prompts, *answers = block.split("\n")
        if not answers or not all(answer.startswith("> ") for answer in answers):
            raise ValueError(f"a group needs a line of prompts and then answers that begin with >: {block!r}")
        groups.append(([prompt.strip() for prompt in prompts.split(" | ")], [answer[2:].strip() for answer in answers]))
    return groups


def pairs() -> list[tuple[str, str]]:
    """Every (prompt, response) once, in a fixed random order."""
    found: dict[tuple[str, str], None] = {}
    for file in sorted((HERE / "topics").glob("*.txt")):
        for prompts, responses in read_groups(file.read_text(encoding="ascii")):
            for turn in range(max(len(prompts), len(responses))):
                found[prompts[turn % len(prompts)], responses[turn % len(responses)]] = None
    dice = random.Random(SEED)
    # sorted by draws of random(), the one method whose values are the same in every Python version
    return [pair for _, pair in sorted((dice.random(), pair) for pair in found)]


def generate() -> str:
    """The whole CSV file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["prompt", "response"])
    writer.writerows(pairs())
    return out.getvalue()


if __name__ == "__main__":
    (HERE / "dialogues.csv").write_bytes(generate().encode("ascii"))
