from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.preset_files import load_preset
from engine.runs.layout import create_run
from engine.runs.reader import RunReader
from engine.runs.writer import RunWriter
from tui.cli.newest import MOST_EVENTS, WINDOW, Newest
from tui.cli.views import Now, Records, event_type, progress_text, tell


def now(**changes: object) -> Now:
    known = {
        "state": "running", "step": 1234, "steps": 5000, "loss": 1.5, "val_loss": 1.6, "val_step": 1000,
        "tokens_per_second": 118_000.0, "seconds_left": 192.0, "message": "",
    }  # fmt: skip
    return Now(**{**known, **changes})  # type: ignore[arg-type]


def test_the_progress_line_tells_all_where_there_is_room() -> None:
    text = progress_text(now(), 120).plain
    for part in ("1,234/5,000", "loss  1.5000", "val  1.6000", "118k", "3m12s", "━"):
        assert part in text


@pytest.mark.parametrize("width", [1, 2, 10, 20, 40, 60, 80, 100, 200])
def test_the_progress_line_never_wraps(width: int) -> None:
    assert progress_text(now(state="paused", step=4_999_999, steps=5_000_000), width).cell_len <= max(1, width - 1)


def test_nothing_jitters_between_two_steps() -> None:
    one, two = (progress_text(now(step=step, loss=loss), 120).plain for step, loss in ((9, 10.25), (4999, 0.5)))
    assert [place for place, letter in enumerate(one) if letter == "/"] == [
        place for place, letter in enumerate(two) if letter == "/"
    ]
    assert one.index("val") == two.index("val")


def test_an_event_is_one_line_of_words() -> None:
    alarm = {"step": 900, "time": 1.0, "kind": "alarm", "alarm": "overfitting", "best_step": 700, "best_val_loss": 1.5}
    assert tell(alarm) == "step 900: alarm, alarm overfitting, best step 700, best val loss 1.5"
    resumed = {"step": 5, "kind": "resumed", "warnings": ["2 threads, it was 4", "torch 3, it was 2"]}
    assert tell(resumed) == "step 5: resumed, 2 threads, it was 4; torch 3, it was 2"


def test_a_sample_is_told_once() -> None:
    assert event_type({"kind": "sample"}) == "event"
    assert event_type({"kind": "checkpoint"}) == "checkpoint"


def test_a_line_about_a_run_of_any_length_holds_its_newest_numbers_alone(tmp_path: Path) -> None:
    """And says what all of the run says, resumed or not."""
    run = create_run(tmp_path, "long", load_preset("nano"), corpus={})
    newest, whole, dice, step, told = Newest(run), RunReader(run), random.Random(1), 0, 0
    with RunWriter(run) as writer:
        for _ in range(40):
            for _ in range(dice.choice((1, WINDOW, 3 * WINDOW))):
                step += 1
                writer.metric(step=step, tokens=step, time_s=step / 10, loss=dice.random(), tokens_per_s=dice.random())
                if step % 7 == 0:
                    writer.metric(step=step, tokens=step, time_s=step / 10, val_loss=dice.random())
                    writer.event("checkpoint", step)
            if dice.random() < 0.3:
                step -= dice.choice((0, 5, WINDOW - 5, WINDOW))
                writer.rewind(max(0, step))
                step = max(0, step)
            if dice.random() < 0.3:  # nobody looks at every one
                continue
            assert newest.poll()
            whole.poll()
            series, now = whole.series, Now.of(newest)
            assert now.step == max(newest.status.get("step") or 0, *newest.trained.step, 0)
            if len(newest.trained):
                assert (newest.trained.step == series.step[-len(newest.trained) :]).all()
                assert now.loss == series.loss[-1]
            if now.val_step is not None:
                assert (now.val_step, now.val_loss) == (series.val_step[-1], series.val_loss[-1])
            told += len(newest.events())
            assert len(newest.trained) <= WINDOW and len(newest.evaluated.val_step) <= WINDOW
        newest.poll()
        whole.poll()
        told += len(newest.events())
        assert step > 10 * WINDOW and told == len(whole.events) > 0 and newest.events() == []
        for _ in range(MOST_EVENTS + 10):
            writer.event("checkpoint", step)
        newest.poll()
        assert len(newest.events()) == MOST_EVENTS, "where nobody reads them"


def test_records_begin_with_what_is_written_from_now_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = create_run(tmp_path, "told", load_preset("nano"), corpus={})
    with RunWriter(run) as writer:
        writer.metric(step=1, loss=2.0)
        newest, view = Newest(run), Records(run)
        writer.metric(step=2, loss=1.0)
        view.update(newest)
    assert capsys.readouterr().out.startswith('{"type": "metric", "step": 2,')
