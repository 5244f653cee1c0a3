from __future__ import annotations

import pytest

from tui.cli.views import Now, event_type, progress_text, tell


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
