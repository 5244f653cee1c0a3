"""What a run gets from its corpus before it begins."""

from __future__ import annotations

from pathlib import Path

from engine.preset_files import load_config
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.text.catalog import find_corpus
from engine.training.start import start_run

from .conftest import TINY, train


def samples_of(run: RunDir) -> list[dict[str, object]]:
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    return list(reader.samples)


def test_samples_are_asked_and_ended_in_the_corpus_own_format(tmp_path: Path) -> None:
    sets = [*TINY, "train.max_steps=2", "train.eval_every=2", "train.sample_tokens=400", "data.tokenizer=word"]
    run = start_run("dialogues", load_config("nano", sets=[*sets, "data.vocab_size=400"]), tmp_path)
    sample = samples_of(run)[-1]
    found = find_corpus("dialogues")
    assert found.template is not None and sample["prompt"] == found.template.apply(found.examples[0])
    assert str(sample["prompt"]).startswith("You: ") and str(sample["prompt"]).endswith("\nBot: ")
    assert sample["settings"]["stop"] == ["<END>"] and "<END>" not in str(sample["text"])  # type: ignore[index]


def test_a_prompt_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    sets = [*TINY, "train.max_steps=1", "train.sample_prompt=Once"]
    sample = samples_of(start_run("dialogues", load_config("nano", sets=sets), tmp_path))[-1]
    assert sample["prompt"] == "Once" and sample["settings"]["stop"] == []  # type: ignore[index]


def test_a_run_without_a_name_is_called_after_corpus_and_preset(tmp_path: Path) -> None:
    config = load_config("nano", sets=TINY)
    for preset, name in (("nano", "dialogues-nano"), ("", "dialogues-custom")):
        assert start_run("dialogues", config, tmp_path, preset=preset).name.startswith(name)
