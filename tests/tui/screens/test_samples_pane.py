"""The samples pane: what it says of a sample besides its text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pilot_for_tests import until
from runs_for_tests import write_run

from engine.runs.lines import CopiedPart
from tui.app import Workbench
from tui.screens.train.samples import SamplesPane, below


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, "page 3 of 3  t 0.80  seed 1337  copied: 1,234 characters at most"),
        (60, "page 3 of 3  t 0.80  seed 1337  copied: 1,234 characters"),
        (50, "page 3 of 3  t 0.80  seed 1337"),
        (40, "page 3 of 3  t 0.80  seed 1337"),
        (12, "page 3 of 3…"),
        (0, ""),
    ],
)
def test_how_much_of_a_sample_is_copied_is_said_where_there_is_room(width: int, shown: str) -> None:
    said = "page 3 of 3  t 0.80  seed 1337"
    part = CopiedPart(1234, 0, whole=True, too_much=False)
    assert below(said, part, width).plain == shown
    assert below(said, None, 80).plain == said


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, "! copied: 1,234 characters  page 3 of 3  t 0.80  seed 1337"),
        (45, "! copied: 1,234 characters  page 3 of 3"),
        (26, "! copied: 1,234 characters"),
        (10, "! copied"),
    ],
)
def test_a_sample_that_is_copied_too_much_is_said_first_and_in_red(width: int, shown: str) -> None:
    said = below("page 3 of 3  t 0.80  seed 1337", CopiedPart(1234, 0, whole=True, too_much=True), width)
    assert said.plain == shown
    ((start, end, style),) = ((span.start, span.end, span.style) for span in said.spans)
    assert (start, shown[:end], style) == (0, shown[:26], "$alarm")


@given(st.integers(1, 10**7), st.integers(0, 100), st.booleans(), st.booleans())
def test_no_number_stands_without_its_unit(length: int, width: int, whole: bool, too_much: bool) -> None:
    shown = below("page 3 of 3  t 0.80  seed 1337", CopiedPart(length, 0, whole, too_much), width).plain
    assert len(shown) <= width
    if "copied:" in shown:
        assert f"copied: {length:,} character{'' if length == 1 else 's'}" in shown


async def test_the_samples_pane_says_what_is_copied(runs: Path) -> None:
    run = write_run(runs, state="finished")
    copied = {"length": 180, "start": 0, "checked": 1000, "of": 1000}
    record = {"step": 600, "prompt": "", "text": "newer", "settings": {"temperature": 0.8}, "seed": 1337}
    app = Workbench(runs, run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        pane = app.screen.query_one(SamplesPane)
        await until(pilot, lambda: pane.step == 500)
        assert "copied" not in str(pane.border_subtitle)
        with run.samples.open("a") as file:
            file.write(json.dumps({**record, "copied": copied}) + "\n")
        await until(pilot, lambda: "copied: 180" in str(pane.border_subtitle))
        assert "!" not in str(pane.border_subtitle)
        with run.samples.open("a") as file:
            file.write(json.dumps({**record, "step": 700, "copied": {**copied, "too_much": True}}) + "\n")
        await until(pilot, lambda: "! copied: 180 characters" in str(pane.border_subtitle))
