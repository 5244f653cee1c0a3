"""What is shown of a run stays as it was found, whatever its files become."""

from __future__ import annotations

import shutil
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runs import reader
from engine.runs.layout import RunDir
from engine.runs.lines import TRAIN_KEYS, metric_line
from engine.runs.reader import RunReader
from engine.runs.schema import decode
from engine.runs.series import Series
from engine.runs.writer import RunWriter

RECORD = st.one_of(
    st.builds(lambda step, loss: {"step": step, "loss": loss}, st.integers(0, 30), st.floats(0, 9)),
    st.builds(lambda step, loss: {"step": step, "val_loss": loss}, st.integers(0, 30), st.floats(0, 9)),
    st.builds(lambda step: {"resumed": step}, st.integers(0, 30)),
)


def numbers(series: Series) -> list[list[float]]:
    columns = [series.step, series.loss, series.tokens, series.val_step, series.val_loss]
    return [column.tolist() for column in columns] + [[len(series)]]


@given(st.lists(RECORD, max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_a_snapshot_never_changes(records: list[dict[str, float]], when: list[int]) -> None:
    series = Series()
    kept: list[tuple[Series, list[list[float]]]] = []
    for number, record in enumerate(records):
        if number in when:
            kept.append((series.snapshot(), numbers(series)))
        series.add(dict(record))
    for snapshot, then in kept:
        assert repr(numbers(snapshot)) == repr(then)  # NaN is NaN


def test_a_snapshot_costs_no_copy_until_rows_are_taken_back() -> None:
    series = Series()
    for step in range(5):
        series.add({"step": step, "loss": 1.0})
    snapshot = series.snapshot()
    assert np.shares_memory(snapshot.loss, series.loss)
    series.add({"step": 5, "loss": 2.0})
    assert np.shares_memory(snapshot.loss, series.loss) and len(snapshot) == 5
    series.add({"resumed": 2})
    assert not np.shares_memory(snapshot.loss, series.loss)
    second = series.loss
    series.add({"resumed": 1})  # nobody holds these
    assert np.shares_memory(second, series.loss)


def test_a_view_is_the_newest_of_all_there_is(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_VIEWED", 3)
    with RunWriter(run) as writer:
        for step in range(1, 6):
            writer.metric(step=step, loss=float(step))
            writer.sample(step=step, prompt="", text=f"text {step}")
            writer.event("noted", step)
        run.checkpoint(4).mkdir(parents=True)
        writer.metric(step=4, val_loss=0.5)
        found = RunReader(run)
        found.poll()
        view = found.view()
    assert view.run == run and view.info == found.info and view.status == found.status
    assert [sample["step"] for sample in view.samples] == [3, 4, 5]
    assert [event["step"] for event in view.events if event["kind"] == "noted"] == [3, 4, 5]
    assert view.checkpoints == ({"step": 4, "path": str(run.checkpoint(4)), "val_loss": 0.5},)
    assert view.problems == () and view.changed == {"series", "samples", "events"}
    assert view.series.loss.tolist() == [1, 2, 3, 4, 5]


def test_who_follows_for_days_holds_the_newest(run: RunDir) -> None:
    found = RunReader(run, most=3)

    def held() -> tuple[list[int], list[int], int]:
        found.poll()
        return [each["step"] for each in found.samples], [each["step"] for each in found.events], found.let_go

    with RunWriter(run) as writer:
        for step in range(1, 6):
            writer.sample(step=step, prompt="", text=f"text {step}")
            writer.event("noted", step)
        assert held() == ([3, 4, 5], [3, 4, 5], 2)
        writer.event("noted", 6)
        assert held() == ([3, 4, 5], [4, 5, 6], 3)
        writer.rewind(4)
        assert held() == ([3, 4], [4, 5, 6], 3)
    run.events.write_bytes(b'{"step":9,"kind":"x"}\n')
    assert held() == ([3, 4], [9], 0)


@pytest.mark.parametrize("state", ["finished", "running"])
@pytest.mark.parametrize("removed", ["its folder", "its description"])
def test_a_run_that_is_removed_while_it_is_shown_is_told_once(run: RunDir, state: str, removed: str) -> None:
    with RunWriter(run) as writer:
        writer.status(state=state, step=1)
    found = RunReader(run)
    found.poll()
    assert not found.poll()
    shutil.rmtree(run.path) if removed == "its folder" else run.run_json.unlink()
    assert found.poll() and "status" in found.changed
    assert found.problems[0] == "its folder is gone"
    assert not found.poll() and not found.poll()


@given(
    st.floats(-1e30, 1e30).filter(lambda loss: loss == 0 or abs(loss) > 1e-37),
    st.floats(1e-30, 1e-3),
    st.integers(1, 10**15),
)
def test_what_a_screen_holds_shows_the_digits_that_were_written(loss: float, lr: float, tokens: int) -> None:
    line = decode(metric_line({"step": 7, "loss": loss, "lr": lr, "tokens": tokens, "time_s": 86400.123}))
    series = Series(exact=False)
    assert series.add(dict(line)) is None
    for key in ("loss", "lr"):
        assert f"{float(getattr(series, key)[0]):.6g}" == f"{line[key]:.6g}"
    assert series.time_s[0] == 86400.123 and abs(series.tokens[0] - tokens) <= 1e-7 * tokens


def test_what_a_screen_holds_of_a_record_takes_few_bytes() -> None:
    rows = 4097
    columns = {key: array("d", range(rows)) for key in TRAIN_KEYS}
    for exact, most in ((True, 64), (False, 40)):
        series = Series(exact)
        assert series.extend(columns, {})
        assert series.train.nbytes == most * rows
        assert all(series.train.column(key).flags.aligned for key in TRAIN_KEYS[1:])
