"""The processes of a run: how many are asked for, and which of them keeps the others waiting."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from tui.screens.train.ranks import rank_rows, ranks_line, span
from tui.state.several import LEAST_READINGS, MOST, READINGS, RankWatch, Several, how_many, over_the_others
from tui.text import width_of


def status(step: int, seconds: list[float], hosts: int = 1, **more: Any) -> dict[str, Any]:
    ranks = [
        {
            "rank": rank,
            "host": f"node-{rank * hosts // len(seconds)}",
            "pid": 100 + rank,
            "device": f"cuda:{rank}",
            "seconds": each,
            "memory": 2**30,
        }
        for rank, each in enumerate(seconds)
    ]
    return {"state": "running", "step": step, "parallel": "ddp", "ranks": ranks, **more}


def seen(*readings: list[float], **more: Any) -> Several:
    watch = RankWatch()
    found = None
    for step, seconds in enumerate(readings):
        found = watch.look(status(step, seconds, **more))
    assert found is not None
    return found


def words(rows: list[list[Any]]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


def test_so_many_are_asked_for() -> None:
    assert [how_many(text, 4) for text in ("1", "12", str(MOST), "gpu")] == [1, 12, MOST, 4]
    for text in ("", "0", "x", "-1", "1.5", "٣", str(MOST + 1), "9" * 5000, "gpus"):
        with pytest.raises(ConfigError, match="from 1 to 1,024, or gpu"):
            how_many(text, 4)
    with pytest.raises(ConfigError, match="there is none here; give a number"):
        how_many("gpu", 0)


@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=20))
def test_each_is_measured_by_the_median_of_the_others(values: list[float]) -> None:
    expected = [value / median(values[:at] + values[at + 1 :]) for at, value in enumerate(values)]
    assert over_the_others(values) == pytest.approx(expected)


def test_one_that_is_always_late_is_the_straggler() -> None:
    slow = [0.10, 0.14]
    assert seen(*[slow] * (LEAST_READINGS - 1)).straggler is None, "not by a few readings"
    late = seen(*[slow] * LEAST_READINGS).straggler
    assert late is not None and (late.rank, round(late.behind, 2)) == (1, 1.4)
    assert seen(*[[0.10, 0.114]] * 8).straggler is None, "that is no more than others differ"
    once = [[0.1, 0.1, 0.1]] * 5 + [[0.1, 0.1, 3.0]]
    assert seen(*once).straggler is None, "once is no habit"
    assert seen(*[[0.1, 0.2], [0.2, 0.1]] * 4).straggler is None, "nobody is late more often than the other"
    assert seen(*[slow] * 8, state="stopped").straggler is None
    recovered = [slow] * 8 + [[0.1, 0.1]] * READINGS
    assert seen(*recovered).straggler is None


def test_the_same_step_counts_once_and_another_beginning_anew() -> None:
    watch = RankWatch()
    for _ in range(20):
        found = watch.look(status(5, [0.1, 0.2]))
    assert found is not None and found.straggler is None
    for step in range(6, 12):
        found = watch.look(status(step, [0.1, 0.2]))
    assert found is not None and found.straggler is not None
    found = watch.look(status(3, [0.1, 0.2]))  # begun again at a checkpoint
    assert found is not None and found.straggler is None
    found = watch.look(status(4, [0.1, 0.2, 0.3]))
    assert found is not None and len(found.ranks) == 3
    assert watch.look({"state": "running", "step": 5}) is None
    assert watch.look(status(6, [0.1])) is None


@pytest.mark.parametrize("hosts", [1, 8])
@pytest.mark.parametrize("many", [2, 8, 64, 1024])
@pytest.mark.parametrize("width", [36, 76, 136])
def test_none_is_left_out_without_a_word(many: int, width: int, hosts: int) -> None:
    late = many // 2 + 1 if many > 2 else 1
    seconds = [0.142 + 0.001 * (rank % 5) + 0.06 * (rank == late) for rank in range(many)]
    several = seen(*[seconds] * 8, hosts=min(hosts, many))
    for height in (2, 3, 10, 24, 40):
        rows = rank_rows(several, width, height)
        said = words(rows)
        assert len(rows) <= height and max(width_of(row) for row in rows) <= width
        assert said[0].startswith(f"{many:,} ranks · ddp")
        if height == 2:
            continue
        marked = [line for line in said if "!" in line and "1.4x" in line]
        assert len(marked) == 1 or width < 60, said
        devices = sum(line.count("cuda:") for line in said)
        hosted = sum(line.count(" ranks ") for line in said[1:])
        more = [line for line in said if line.startswith("and ")]
        whole = devices == many or hosted == len(several.hosts)
        assert whole or more == [f"and {many - devices:,} more, none of them slower"], said
    (line,) = words([ranks_line(several, ("ranks ", "dim"), 60)])
    assert f"{many:,} · ddp" in line and f"! rank {late} 1.4x slowest" in line


@pytest.mark.parametrize("many", [4, 1024])
def test_the_lost_one_is_marked_however_little_room_there_is(many: int) -> None:
    """Named as ranks are named to each other, or as the process that had the run."""
    late = [0.1] * (many - 1) + [0.2]
    for rank, problem in (
        (2, "rank 2 (process 102 on node-0) ended: no room"),
        (0, "its process 100 ended without a word"),
    ):
        several = seen(late, state="failed", problem=problem)
        assert several.lost == several.ranks[rank] and several.straggler is None
        for width in range(26, 140, 9):
            line = words([ranks_line(several, ("ranks ", "dim"), width)])[0]
            assert line.endswith(f"✖ rank {rank} lost") and width_of([(line, "")]) <= width
        said = words(rank_rows(several, 60, 4))
        assert sum("✖ lost" in row for row in said) == 1
    for problem in ("", "rank 12 (process 102 on node-0) has died", "no room for rank 2", "its process 1 ended"):
        assert seen(late, state="failed", problem=problem).lost is None


def test_times_in_a_few_letters() -> None:
    assert [span(each) for each in ([0.1], [0.142, 0.151], [0.9, 1.2])] == [
        "100 ms",
        "142 to 151 ms",
        "900 ms to 1.20 s",
    ]
