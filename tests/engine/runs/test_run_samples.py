from __future__ import annotations

from typing import Any

import pytest

from engine.runs.layout import RunDir
from engine.runs.lines import CopiedPart, copied_part
from engine.runs.reader import RunReader
from engine.runs.summary import summary
from engine.runs.writer import RunWriter

SAID: dict[str, Any] = {"length": 1234, "start": 7, "checked": 500, "of": 500}


def test_a_record_tells_how_much_is_copied() -> None:
    assert copied_part({"copied": SAID}) == CopiedPart(1234, 7, whole=True, too_much=False)
    assert copied_part({"copied": {**SAID, "of": 501}}) == CopiedPart(1234, 7, whole=False, too_much=False)
    assert copied_part({"copied": {**SAID, "held_out": 50, "too_much": True}}) == CopiedPart(1234, 7, True, True)


@pytest.mark.parametrize(
    ("length", "whole", "words"),
    [(0, True, "0 characters at most"), (1, True, "1 character at most"), (1234, False, "1,234 characters or more")],
)
def test_it_is_told_in_words(length: int, whole: bool, words: str) -> None:
    assert str(CopiedPart(length, 0, whole, too_much=False)) == words


@pytest.mark.parametrize(
    "said",
    [None, 23, [], "23", {}, {"length": 23}, {**SAID, "length": "23"}, {**SAID, "of": None}, {**SAID, "start": True}],
)
def test_what_does_not_tell_it_is_no_error(said: object) -> None:
    assert copied_part({"step": 1}) is None
    assert copied_part({"step": 1, "copied": said}) is None


def test_a_summary_tells_it_of_the_newest_sample(run: RunDir) -> None:
    assert summary(run)["copied"] is None
    with RunWriter(run) as writer:
        writer.sample(step=4, prompt="", text="as an older program wrote it", settings={}, seed=1)
        reader = RunReader(run)
        reader.poll()
        assert [copied_part(sample) for sample in reader.samples] == [None] and not reader.problems
        assert summary(run)["copied"] is None
        writer.sample(step=8, prompt="", text="x" * 2000, settings={}, seed=1, copied=SAID)
    assert summary(run)["copied"] == {"step": 8, "length": 1234, "start": 7, "whole": True, "too_much": False}
