"""Whether a note follows from its complaint: prompts a run trained on soap-notes with complaints it has not read.

    python -m bench.follows RUN [--checkpoint best] [--temperature 0.5] [--draws 1] [--seed 0] [--json]

Every condition of the corpus lists wordings that the corpus leaves out (`unseen`); each is asked, framed as there, with
what the demo's prompt is filled in with: its temperature, and the other sliders where they stand. Of a note whose
sections stand in order, each once, Subjective, Assessment and Plan are each laid to the condition whose notes they are
likeliest to come from, by the words of fresh notes of every condition (naive Bayes on words and pairs of them). A note
counts when all three are of the complaint's own condition, or of its family; a row of its own says in how many
Subjective or Assessment is, a gentler meter. What the judge makes of fresh true notes is the ceiling. Copying is
measured as training does it, beside notes of the held-out split.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import re
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bench.machine import describe, percentile, say
from engine.config import make_config
from engine.model.cache import KVCache
from engine.model.gpt import GPT
from engine.runs.layout import find_run
from engine.runs.summary import summary
from engine.sampling.decode import KEPT, evaluating, read
from engine.sampling.generate import Row
from engine.sampling.rules import Dice, sample
from engine.sampling.settings import SamplingSettings
from engine.text.catalog import find_corpus
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.dataset import TokenDataset
from engine.training.checkpoint import load_model
from engine.training.copied import CopyCheck
from tui.state.conversation import Sheet
from tui.state.first import FIRST_VALUES

CORPUS = "soap-notes"
SECTIONS = ("Subjective", "Objective", "Assessment", "Plan")
JUDGED = ("Subjective", "Assessment", "Plan")
FRESH_SEED = 99  # of the notes that the judge learns from; the corpus has another
FRESH = 40  # of them a condition
TRUE = 2  # true notes a condition that the judge itself is tried on
SMOOTHING = 0.1
BATCH = 32  # notes written side by side
FORM = re.compile("\n".join(rf"{name}: (?P<{name}>[^\n]+)" for name in SECTIONS) + r"\n*\Z")


def generator() -> ModuleType:
    """The script that writes the corpus, as a module."""
    if CORPUS not in sys.modules:
        path = find_corpus(CORPUS).path.parent / "generate.py"
        spec = importlib.util.spec_from_file_location(CORPUS, path)
        assert spec is not None and spec.loader is not None
        sys.modules[CORPUS] = importlib.util.module_from_spec(spec)  # dataclasses look their module up there
        spec.loader.exec_module(sys.modules[CORPUS])
    return sys.modules[CORPUS]


@dataclass(frozen=True)
class Asked:
    """A complaint, and what it is a complaint of."""

    condition: str
    complaint: str


def complaints(draws: int, seed: int) -> list[Asked]:
    """Every wording of every condition that the corpus leaves out, framed `draws` times as the corpus frames them."""
    corpus, asked = generator(), []
    dice = corpus.Dice(seed)
    for condition in corpus.load_conditions():
        for wording in condition["unseen"] * draws:
            told = {name: value for name, value in condition.items() if name != "bare"} | {"complaint": [wording]}
            asked.append(Asked(condition["name"], corpus.write_note(told, dice)[0]))
    return asked


def families() -> dict[str, str]:
    """Condition -> family."""
    return {condition["name"]: condition["family"] for condition in generator().load_conditions()}


def sections(note: str) -> dict[str, str] | None:
    """A note's sections by name; None unless all four stand there in order, each once, and nothing else."""
    found = FORM.match(note)
    return found.groupdict() if found else None


def features(text: str) -> list[str]:
    """Words and pairs of neighbouring words; numbers are all alike."""
    words = re.findall(r"[a-z][a-z'-]*|#", re.sub(r"\d[\d.,/-]*", "#", text.lower()))
    return words + [f"{first} {second}" for first, second in pairwise(words)]


class Judge:
    """Which condition a section is likeliest to be of."""

    def __init__(self, notes: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        """From (condition, sections) of true notes."""
        counts: dict[str, dict[str, Counter[str]]] = {name: defaultdict(Counter) for name in JUDGED}
        for condition, parts in notes:
            for name in JUDGED:
                counts[name][condition].update(features(parts[name]))
        self._scores = {name: _log_shares(by_condition) for name, by_condition in counts.items()}

    def condition(self, section: str, text: str) -> str:
        """The condition whose true notes' words are likeliest to give this text."""
        by_condition, known = self._scores[section], features(text)
        return max(by_condition, key=lambda c: sum(by_condition[c].get(word, by_condition[c][""]) for word in known))


def _log_shares(by_condition: Mapping[str, Counter[str]]) -> dict[str, dict[str, float]]:
    """Log of each feature's smoothed share of a condition's; that of one it never has under ""."""
    size = len(set().union(*by_condition.values()))
    scores = {}
    for condition, counts in by_condition.items():
        whole = math.log(counts.total() + SMOOTHING * size)
        scores[condition] = {word: math.log(count + SMOOTHING) - whole for word, count in counts.items()}
        scores[condition][""] = math.log(SMOOTHING) - whole
    return scores


def fresh_notes(each: int, seed: int) -> list[tuple[str, dict[str, str]]]:
    """(condition, sections) of `each` new notes of every condition."""
    corpus, notes = generator(), []
    dice = corpus.Dice(seed)
    for condition in corpus.load_conditions():
        for _ in range(each):
            parts = sections(corpus.write_note(condition, dice)[1])
            assert parts is not None
            notes.append((condition["name"], parts))
    return notes


@dataclass(frozen=True)
class Tally:
    """Shares of notes: all four sections in order, each once; of those, all three judged of the condition, family."""

    notes: int
    in_order: float
    condition: float
    family: float
    either: float
    """Subjective or Assessment of the family: a gentler meter, never to be mixed with `family`."""
    by_section: dict[str, float]
    """Of the family, section by section."""


def tally(judge: Judge, notes: Sequence[tuple[str, str | Mapping[str, str]]]) -> Tally:
    """Of (condition asked for, note or its sections)."""
    family = families()
    whole = right = related = either = 0
    by_section: Counter[str] = Counter()
    for condition, note in notes:
        parts = sections(note) if isinstance(note, str) else note
        if parts is None:
            continue
        whole += 1
        found = {name: judge.condition(name, parts[name]) for name in JUDGED}
        near = {name: family[each] == family[condition] for name, each in found.items()}
        right += all(each == condition for each in found.values())
        related += all(near.values())
        either += near["Subjective"] or near["Assessment"]
        by_section.update(name for name, yes in near.items() if yes)
    count = len(notes)
    shares = {name: by_section[name] / count for name in JUDGED}
    return Tally(count, whole / count, right / count, related / count, either / count, shares)


def write_notes(model: GPT, tokenizer: Tokenizer, asked: Sequence[Asked], settings: SamplingSettings) -> list[str]:
    """A note for each complaint: those whose prompts are equally long in tokens side by side."""
    template = find_corpus(CORPUS).template
    assert template is not None
    settings = settings.replace(stop=template.stops)
    prompts = [tokenizer.encode(template.apply(each.complaint)).tolist() for each in asked]
    notes = [""] * len(asked)
    for length in sorted({len(prompt) for prompt in prompts}):
        alike = [number for number, prompt in enumerate(prompts) if len(prompt) == length]
        for start in range(0, len(alike), BATCH):
            numbers = alike[start : start + BATCH]
            rows = [Row(tokenizer, settings, (settings.seed or 0) + number) for number in numbers]
            _write(model, torch.tensor([prompts[number] for number in numbers]), rows, settings)
            for number, row in zip(numbers, rows, strict=True):
                notes[number] = row.done(0.0).text
    return notes


def _write(model: GPT, ids: Tensor, rows: Sequence[Row], settings: SamplingSettings) -> None:
    """Fill the rows with what comes after ids (B, T); past the context its last three quarters are read again."""
    dice = Dice([row.seed for row in rows], ids.device)
    weight = next(model.parameters())
    cache = KVCache(model.config, len(rows), model.config.block_size, weight)
    with evaluating(model):
        logits = read(model, ids, cache)
        while any(row.reason is None for row in rows):
            drawn = sample(logits, settings, dice, ids)
            for row, token in zip(rows, drawn.tolist(), strict=True):
                if row.reason is None:
                    row.push(token)
            ids = torch.cat((ids, drawn[:, None]), dim=1)
            unread = 1
            if cache.length == cache.capacity:
                cache.reset()
                unread = int(KEPT * cache.capacity)
            logits = read(model, ids[:, -unread:], cache)


def copied(dataset: TokenDataset, notes: Sequence[str]) -> dict[str, float]:
    """Characters of the longest passage of a note that stands in the training text, and how many are too long."""
    check = CopyCheck(dataset)
    found = [each for note in notes if (each := check.compare(note, lambda: False)) is not None]
    lengths = [float(each.length) for each in found]
    return {
        "median": statistics.median(lengths),
        "p90": percentile(lengths, 0.9),
        "too_much": sum(each.too_much for each in found) / len(found),
    }


def held_out(dataset: TokenDataset, count: int) -> list[str]:
    """Up to `count` notes of the validation split, evenly spread over it."""
    assert dataset.text is not None
    template = find_corpus(CORPUS).template
    assert template is not None
    text = "".join(dataset.text.chunks(dataset.cut))
    notes = [record.partition(template.infix)[2] for record in text.split(template.suffix) if record]
    return notes[:: max(1, len(notes) // count)][:count]


def measure(
    model: GPT, tokenizer: Tokenizer, dataset: TokenDataset, draws: int, settings: SamplingSettings
) -> dict[str, Any]:
    """Everything that is reported but the run's own figures, and the notes themselves under "examples"."""
    judge = Judge(fresh_notes(FRESH, FRESH_SEED))
    asked = complaints(draws, settings.seed or 0)
    began = time.monotonic()
    notes = write_notes(model, tokenizer, asked, settings)
    seconds = time.monotonic() - began
    written = list(zip([each.condition for each in asked], notes, strict=True))
    return {
        "notes": asdict(tally(judge, written)),
        "true_notes": asdict(tally(judge, fresh_notes(TRUE, FRESH_SEED + 1))),
        "copied": copied(dataset, notes),
        "held_out": copied(dataset, held_out(dataset, len(notes))),
        "seconds": round(seconds, 1),
        "examples": [asdict(each) | {"note": note} for each, note in zip(asked, notes, strict=True)],
    }


def report(found: dict[str, Any]) -> None:
    """The table."""
    written, true = found["notes"], found["true_notes"]
    say("run", f"{found['run']}, step {found['step']:,}, {found['train_seconds']:.0f} s of training")
    loss, bpb = (math.nan if found[name] is None else found[name] for name in ("val_loss", "val_bpb"))
    say("val loss", f"{loss:.4f}, {bpb:.4f} bits a byte")
    rules = f"temperature {found['temperature']:g}, top-k {found['top_k']}"
    say("notes", f"{written['notes']}, {rules}, written in {found['seconds']:.0f} s")
    say("four sections in order, each once", f"{written['in_order']:.1%}")
    say(
        "all three of the complaint's family",
        f"{written['family']:.1%} (the judge of true notes: {true['family']:.1%})",
    )
    say("all three of its very condition", f"{written['condition']:.1%} ({true['condition']:.1%})")
    say("Subjective or Assessment of the family", f"{written['either']:.1%} ({true['either']:.1%})")
    for name in JUDGED:
        say(f"  {name} of the family", f"{written['by_section'][name]:.1%}")
    for name, key in (("copied on end", "copied"), ("shared by held-out notes", "held_out")):
        each = found[key]
        lengths = f"median {each['median']:.0f} characters, nine of ten at most {each['p90']:.0f}"
        say(name, f"{lengths}; too much in {each['too_much']:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run on soap-notes: its name or path")
    parser.add_argument("--checkpoint", default="best", help="best, last or a step")
    parser.add_argument("--temperature", type=float, default=FIRST_VALUES["temperature"])
    parser.add_argument("--draws", type=int, default=1, help="how often each wording is asked")
    parser.add_argument("--seed", type=int, default=0, help="of the complaints' frames and of what is drawn")
    parser.add_argument("--examples", type=int, default=0, help="notes to print, evenly spread")
    parser.add_argument("--json", action="store_true", help="all of it, every note included, as one object")
    options = parser.parse_args()
    run = find_run(options.run)
    facts = summary(run)
    model, tokenizer, step = load_model(run, options.checkpoint)
    config = make_config(facts["config"])
    dataset = TokenDataset.open(find_corpus(CORPUS).prepare(), config.data, tokenizer=tokenizer)
    settings = Sheet(values=FIRST_VALUES | {"temperature": options.temperature}, seed=str(options.seed)).settings()
    found = measure(model, tokenizer, dataset, options.draws, settings)
    of_run: dict[str, Any] = {"run": run.name, "step": step, "machine": describe()}
    of_run |= {"temperature": settings.temperature, "top_k": settings.top_k}
    of_run |= {"train_seconds": facts["train_seconds"] or 0.0}
    of_run |= {"val_loss": facts["best_val_loss"], "val_bpb": facts["val_bits_per_byte"]}
    found = of_run | found
    if options.json:
        print(json.dumps(found))
        return
    print(found["machine"])
    report(found)
    for each in found["examples"][:: max(1, len(found["examples"]) // options.examples)] if options.examples else []:
        print(f"\n[{each['condition']}] {each['complaint']}\n{each['note'].strip()}")


if __name__ == "__main__":
    main()
