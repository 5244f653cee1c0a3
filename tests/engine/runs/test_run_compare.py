"""Several runs beside each other, and the words that choose some of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runs.compare import at_step, common_step, differences
from engine.runs.filter import NUMBERS, TEXTS, FilterError, parse_filter
from engine.runs.series import Series


def series(steps: int, loss: float, evals: dict[int, float]) -> Series:
    made = Series()
    for step in range(1, steps + 1):
        made.add({"step": step, "loss": loss / step})
        if step in evals:
            made.add({"step": step, "val_loss": evals[step]})
    return made


def test_runs_are_compared_where_the_shortest_ended() -> None:
    short = series(100, 50.0, {40: 3.0, 80: 2.0})
    long = series(1000, 60.0, {50: 2.5, 100: 1.75, 1000: 0.5})
    assert common_step([short, long]) == 100
    one, two = at_step([short, long])
    assert (one.step, one.val_step, one.val_loss) == (100, 80, 2.0)
    assert (two.step, two.val_step, two.val_loss) == (100, 100, 1.75)
    assert (one.val_behind, two.val_behind) == (0.25, 0.0)
    mean = sum(1 / step for step in range(91, 101)) / 10  # the last ten steps
    assert one.loss == pytest.approx(50 * mean) and two.loss == pytest.approx(60 * mean)
    assert two.behind == pytest.approx(10 * mean) and one.behind == 0.0
    (late,) = at_step([long])
    assert late.step == 1000 and late.loss == pytest.approx(60 * sum(1 / step for step in range(981, 1001)) / 20)
    assert at_step([long], 60)[0].val_step == 50


def test_what_was_not_measured_is_not_compared() -> None:
    empty, early = Series(), series(10, 1.0, {5: math.nan})
    assert common_step([empty, early]) == 0 and common_step([]) == 0
    assert [(each.val_loss, each.loss, each.behind) for each in at_step([empty, early])] == [(None, None, None)] * 2
    first, second = at_step([empty, early], 10)
    assert (first.loss, first.behind, second.behind, second.val_loss) == (None, None, 0.0, None)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 2)), min_size=1, max_size=4))
def test_differences_are_all_and_only_those_in_which_runs_differ(runs: list[dict[str, Any]]) -> None:
    found = differences(runs)
    for key in "abc":
        values = [each.get(key) for each in runs]
        assert (found[key] == values) if len(set(values)) > 1 else key not in found


RUN = {
    "name": "Soap-Notes-nano-1", "corpus": "soap-notes", "preset": "nano", "state": "finished", "note": "two words",
    "step": 2000, "steps": 2000, "last_val_loss": 1.25, "best_val_loss": 1.2, "val_bits_per_byte": None,
    "params": 1_200_000, "tokens": 5_000_000, "learning_rate": 1e-3, "tokens_per_second": 12_345.6,
    "train_seconds": 5400.0, "peak_memory_bytes": 3_000_000_000, "seed": 7, "parent": {"run": "older"}, "device": "cpu",
}  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "holds"),
    [
        ("", True), ("  ", True), ("soap", True), ("SOAP nano", True), ("soap nope", False), ("-nope", True),
        ("!soap", False), ("corpus:soap", True), ("corpus=soap", False), ("corpus=soap-notes", True),
        ("corpus!=x", True),
        ("preset:nano state:fin", True), ("state:failed", False), ("-state:failed", True), ('"two words"', True),
        ('note:"two words"', True), ('-"two words"', False), ("parent:old", True), ("lr>1e-3", False),
        ("lr>=1e-3", True),
        ("lr=0.001", True), ("lr>9e-4", True), ("val<1.5", True), ("val<1.5 best>1.3", False), ("params>1M", True),
        ("params>=1.2m", True), ("params>1.2M", False), ("tokens=5m", True), ("tok/s>12k", True), ("speed=12350", True),
        ("time>1h", True), ("time<90m", False), ("time=1.5h", True), ("memory<4G", True), ("step=2,000", True),
        ("bpb<9", False), ("bpb>0", False), ("-bpb>0", True), ("bpb!=1", False), ("seed=7", True), ("seed!=7", False),
        ("http://x", False), ("cpu", False), ("device:cpu", True), ("val>-1", True), ("corpus:", True),
    ],
)  # fmt: skip
def test_a_filter_means_what_it_says(typed: str, holds: bool) -> None:
    assert parse_filter(typed)(RUN) is holds


@pytest.mark.parametrize(
    "typed", ["lr>", "lr>x", "val<1.5.5", "params>1Q", "time>1y", "lr:", "nope>1", "val_loss<1", "name>a"]
)
def test_what_is_no_filter_says_what_would_be_in_one_line(typed: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(f"soap {typed} more")
    message = str(caught.value)
    assert message.isprintable() and len(message) < 200 and (";" in message or "such as" in message)


def test_a_comparison_of_text_says_how_text_is_asked_for() -> None:
    with pytest.raises(FilterError, match=r"^name is text; ask name:a$"):
        parse_filter("name>a")


facts = st.fixed_dictionaries(
    {},
    optional={
        fact: st.none() | st.integers() | st.floats() | st.text(max_size=5)
        for fact in (*TEXTS.values(), *NUMBERS.values())
    },
)
words = st.sampled_from([*TEXTS, *NUMBERS, "a", "-", "!", '"', ":", "<", ">=", "=", " ", "1e-3", "1M", "\x1b", "é"])


@given(st.lists(words, max_size=8).map("".join) | st.text(max_size=30), facts)
def test_anything_can_be_typed_and_any_run_be_asked(typed: str, run: dict[str, Any]) -> None:
    try:
        wanted = parse_filter(typed)
    except FilterError as error:
        assert "\n" not in str(error) and len(str(error)) < 250
        return
    assert wanted(run) in (True, False)


@given(facts, st.sampled_from([*NUMBERS]), st.floats(-1e9, 1e9))
def test_above_and_not_above_part_all_runs_that_are_known(run: dict[str, Any], key: str, limit: float) -> None:
    known = run.get(NUMBERS[key])
    is_number = isinstance(known, int | float) and not isinstance(known, bool)
    above, below = (parse_filter(f"{key}{op}{limit:.17g}")(run) for op in (">", "<="))
    assert (above, below).count(True) == (1 if is_number and known == known else 0)
