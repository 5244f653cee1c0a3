"""What a first run asks by itself: once, at a good checkpoint, and nothing once the person has written or asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.runs.layout import RunDir
from engine.text.template import Template
from tui.state.conversation import Conversation
from tui.state.conversations import Conversations
from tui.state.prompting import LIVE, LoadedModels
from tui.state.showing import Showing

EXAMPLE = "Sore throat."
TEMPLATE = Template("Q: ", "\nA: ", "\n\n")
POOR: list[dict[str, Any]] = [{"step": 1, "val_loss": None}, {"step": 2}, {"step": 3, "val_loss": 2.0}]
GOOD: list[dict[str, Any]] = [*POOR, {"step": 4, "val_loss": 0.7}]


@pytest.fixture
def talk(tmp_path: Path) -> Conversation:
    """With a run that has no trainer: what is asked of it is refused at once."""
    return Conversations().of(RunDir(tmp_path / "run"))


def look(showing: Showing, talk: Conversation, checkpoints: list[dict[str, Any]]) -> bool:
    return showing.look(talk, TEMPLATE, checkpoints, LoadedModels())


def test_the_example_is_written_and_asked_once_in_the_format_of_the_corpus(talk: Conversation) -> None:
    showing = Showing(EXAMPLE, good_loss=0.7)
    assert look(showing, talk, []) and talk.sheet.prompt == EXAMPLE
    assert not look(showing, talk, POOR) and not talk.jobs
    assert look(showing, talk, GOOD) and showing.over
    (job,) = talk.jobs
    assert (job.request.source, job.request.prompt, job.request.templated) == (LIVE, EXAMPLE, True)
    assert job.request.applied == TEMPLATE.apply(EXAMPLE) and job.request.settings.stop == TEMPLATE.stops
    assert not look(showing, talk, GOOD) and talk.jobs == [job]
    job.join(60)


@pytest.mark.parametrize("typed", [EXAMPLE + " x", "", "mine"])
def test_who_types_first_is_left_alone_also_when_the_example_stands_there_again(talk: Conversation, typed: str) -> None:
    showing = Showing(EXAMPLE, good_loss=0.7)
    look(showing, talk, [])
    talk.sheet = replace(talk.sheet, prompt=typed)
    assert not look(showing, talk, GOOD) and showing.over
    talk.sheet = replace(talk.sheet, prompt=EXAMPLE)
    assert not look(showing, talk, GOOD) and not talk.jobs


def test_what_was_typed_before_the_run_was_there_stays(talk: Conversation) -> None:
    showing = Showing(EXAMPLE, good_loss=0.7)
    talk.sheet = replace(talk.sheet, prompt="mine")
    assert not look(showing, talk, GOOD)
    assert showing.over and talk.sheet.prompt == "mine" and not talk.jobs


def test_who_asked_the_example_itself_first_is_not_answered_twice(talk: Conversation) -> None:
    first, second = Showing(EXAMPLE, good_loss=0.7), Showing(EXAMPLE, good_loss=0.7)
    look(first, talk, [])
    look(first, talk, GOOD)
    assert not look(second, talk, GOOD) and len(talk.jobs) == 1
    talk.jobs[0].join(60)


def test_sliders_that_nobody_moved_are_set_with_the_example(talk: Conversation) -> None:
    talk.sheet = replace(talk.sheet, values={"temperature": 0.8, "top_k": 7})
    look(Showing(EXAMPLE, good_loss=0.7, values={"temperature": 0.5, "top_k": 20}), talk, [])
    assert dict(talk.sheet.values) == {"temperature": 0.5, "top_k": 7}
