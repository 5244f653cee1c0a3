"""How much of a sample is copied, while training: found, bounded, and called too much only where it is."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.runs.layout import RunDir
from engine.runs.lines import copied_part
from engine.runs.reader import RunReader
from engine.sampling import overlap
from engine.text.corpus import Text
from engine.tokenizers.dataset import TokenDataset
from engine.training import copied
from engine.training.copied import CopyCheck
from engine.training.start import open_dataset

from .conftest import tiny_config, train

WORDS = ["".join(random.Random(n).choices("etaoinshrdlu", k=2 + n % 7)) for n in range(400)]


def never() -> bool:
    return False


def prose(seed: int, size: int) -> str:
    """Text in which two places have little in common."""
    rng, words = random.Random(seed), [""]
    while sum(map(len, words)) + len(words) < size:
        words.append(rng.choice(WORDS))
    return " ".join(words)[:size]


def forms(seed: int, count: int) -> str:
    """Records that fill in one form: any two have 170 characters on end in common, all of them from the form."""
    rng, form = random.Random(seed), prose(99, 170)
    return "".join(f"{form}: {rng.choice(WORDS)} {rng.choice(WORDS)} {rng.choice(WORDS)}.\n" for _ in range(count))


def check_of(folder: Path, text: str) -> CopyCheck:
    file = folder / "text.txt"
    file.write_text(text)
    data = Text(file, file.stat().st_size, str(hash(text)))
    return CopyCheck(TokenDataset.open(data, tiny_config().data, cache=folder / "cache"))


def test_the_longest_passage_is_found_over_the_borders_of_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "BLOCK", 50)
    text = prose(1, 4000)
    check = check_of(tmp_path, text)
    for at in range(0, 400, 7):
        found = check.compare("QQ" + text[at : at + 40] + "ZZ", never)
        assert found is not None
        assert (found.length, found.start, found.checked, found.of) == (40, 2, check.dataset.cut, check.dataset.cut)


def test_only_the_training_split_counts(tmp_path: Path) -> None:
    text = prose(1, 4000)
    check = check_of(tmp_path, text)
    cut = check.dataset.cut
    before, beyond = (check.compare(text[at : at + 60], never) for at in (cut - 60, cut))
    assert before is not None and before.length == 60
    assert beyond is not None and beyond.length < 40


def test_of_a_large_text_a_part_is_checked_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "BLOCK", 200)
    monkeypatch.setattr(copied, "MOST_BYTES", 1000)
    text = prose(1, 20_000)
    check = check_of(tmp_path, text)
    last = check.dataset.cut - 100
    seen, unseen = (check.compare(text[at : at + 40], never) for at in (last, 1000))
    assert seen is not None and (seen.length, seen.checked, seen.of) == (40, 1000, check.dataset.cut)
    assert unseen is not None and unseen.length < 40
    part = copied_part({"copied": unseen.record()})
    assert part is not None and not part.whole and str(part) == f"{unseen.length} characters or more"


def test_what_held_out_text_shares_too_is_not_too_much(tmp_path: Path) -> None:
    text = forms(1, 200)
    check = check_of(tmp_path, text)
    own = forms(2, 2)[:300]  # another filled-in form, copied from none
    found, alarm = check.look(own, never)
    assert found is not None and found.length >= 170 and found.held_out is not None and found.held_out >= 170
    assert not found.too_much and alarm == ""
    found, alarm = check.look(text[1000:1400], never)
    assert found is not None and found.length == 400 and found.too_much
    assert alarm.startswith("400 characters on end of the sample are copied from the training text")


def test_the_alarm_is_raised_once_while_sample_after_sample_is_copied(tmp_path: Path) -> None:
    text = prose(1, 20_000)
    check = check_of(tmp_path, text)
    own = prose(2, 200)
    alarms = [check.look(sample, never)[1] != "" for sample in (own, text[:200], text[300:500], own, text[:200])]
    assert alarms == [False, True, False, False, True]


@pytest.mark.parametrize(("length", "long"), [(40, False), (60, True)])
def test_half_of_a_short_sample_is_much(tmp_path: Path, length: int, long: bool) -> None:
    text = prose(1, 20_000)
    found = check_of(tmp_path, text).compare(text[500 : 500 + length] + "Q" * 20, never)
    assert found is not None and found.length == length and found.too_much is long


def test_where_little_is_held_out_nothing_is_too_much(tmp_path: Path) -> None:
    text = prose(1, 2000)
    found = check_of(tmp_path, text).compare(text[:200], never)
    assert found is not None and (found.length, found.held_out, found.too_much) == (200, None, False)
    assert found.record().keys() == {"length", "start", "checked", "of"}


def test_it_gives_way(tmp_path: Path) -> None:
    text = prose(1, 20_000)
    check = check_of(tmp_path, text)
    assert check.look(text[:200], lambda: True) == (None, "")
    answers = iter([False])
    found, alarm = check.look(text[:200], lambda: next(answers, True))  # a stop while it looks at held-out text
    assert found is not None and (found.length, found.held_out, alarm) == (200, None, "")
    found, alarm = check.look(text[:200], never)
    assert found is not None and found.too_much and alarm


def test_a_text_that_is_gone_is_said_once(tmp_path: Path) -> None:
    text = prose(1, 20_000)
    check = check_of(tmp_path, text)
    (tmp_path / "text.txt").write_text(text[:100])
    assert check.look(text[:200], never) == (
        None,
        f"samples are no longer compared with the training text: {tmp_path / 'text.txt'} has become shorter",
    )
    assert check.look(text[:200], never) == (None, "")


def test_every_sample_of_a_run_tells(start: Callable[..., RunDir]) -> None:
    run = start("told", "train.sample_tokens=60")
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    dataset = open_dataset(run)
    assert dataset.text is not None
    training = dataset.text.path.read_text()[: dataset.cut]
    assert len(reader.samples) >= 3
    for sample in reader.samples:
        part = copied_part(sample)
        assert part is not None and part.whole
        passage = sample["text"][part.start : part.start + part.length]
        assert passage in training
        longer = range(len(sample["text"]) - part.length)
        assert not any(sample["text"][at : at + part.length + 1] in training for at in longer)


def test_a_copying_model_is_an_alarm_of_the_run(
    start: Callable[..., RunDir], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.sampling.generate import Done
    from engine.training import beside

    text = prose(5, 20_000)
    corpus.write_text(text)

    def generate(*args: object, **kwargs: object) -> Iterator[Done]:
        yield Done(text[100:300], 200, "length", 1, 1.0, 200.0)

    monkeypatch.setattr(beside, "generate", generate)
    run = start("copying")
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    assert all((part := copied_part(sample)) is not None and part.too_much for sample in reader.samples)
    (alarm,) = (event for event in reader.events if event["kind"] == "alarm")
    assert alarm["alarm"] == "copied" and alarm["message"].startswith("200 characters on end of the sample are copied")


def test_what_is_copied_is_in_the_training_text(start: Callable[..., RunDir]) -> None:
    run = start("one", "train.max_steps=4")
    train(run)
    reader = RunReader(run)
    reader.poll()
    (record,) = reader.samples
    dataset = open_dataset(run)
    assert dataset.text is not None
    content = dataset.text.path.read_text()[: dataset.cut]
    part = copied_part(record)
    assert part is not None and part.length > 0
    passage = record["text"][part.start : part.start + part.length]
    assert passage in content
