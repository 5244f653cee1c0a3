from __future__ import annotations

import errno
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine import process
from engine.errors import RunError
from engine.preset_files import load_preset
from engine.process import Helper
from engine.runs import columns, reader, status, tail
from engine.runs.columns import Block, blocks_aside, records_of
from engine.runs.layout import RunDir, create_run
from engine.runs.lines import json_line, metric_line
from engine.runs.lock import RunLock
from engine.runs.reader import MAX_PROBLEMS, RunReader
from engine.runs.schema import decode
from engine.runs.series import Series
from engine.runs.summary import csv_lines
from engine.runs.writer import RunWriter

QUICK = settings(max_examples=60)


def train(step: int, **fields: float | None) -> bytes:
    return metric_line(
        {"step": step, "tokens": step * 10, "time_s": step / 3, "loss": 3 - step / 1e6, "lr": 1e-5} | fields
    )


def val(step: int, loss: float) -> bytes:
    return metric_line(
        {"step": step, "tokens": step * 10, "time_s": 1.5, "val_loss": loss, "val_bpb": loss / 2, "eval_s": 1}
    )


def opened(run: RunDir) -> RunReader:
    reader = RunReader(run)
    reader.poll()
    return reader


def differing(one: Series, two: Series) -> list[str]:
    """The columns in which two series are not the same numbers, NaN being equal to NaN."""
    found = []
    for name, table, other in (("train", one.train, two.train), ("val", one.val, two.val)):
        columns = {"step": (table.steps, other.steps)}
        columns |= {key: (table.column(key), other.column(key)) for key in table.keys}
        found += [f"{name}.{key}" for key, (a, b) in columns.items() if not np.array_equal(a, b, equal_nan=True)]
    return found


def slowly(data: bytes) -> Series:
    """What the numbers are when every line is read by itself."""
    series = Series()
    for line in data.split(b"\n"):
        try:
            record = decode(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "torn" not in record:
            series.add(record)
    return series


def test_numbers_are_arrays_and_what_is_absent_is_nan(run: RunDir) -> None:
    run.metrics.write_bytes(train(1, loss=2.5) + train(2, grad_norm=float("nan")) + val(2, 1.75))
    reader = RunReader(run)
    assert len(reader.series) == 0
    assert reader.poll() and reader.changed == {"series"}
    series = reader.series
    assert series.step.tolist() == [1, 2] and series.step.dtype == np.int64
    assert series.loss[0] == 2.5 and series.tokens.tolist() == [10.0, 20.0]
    assert np.isnan(series.mem_bytes).all() and np.isnan(series.grad_norm).all()
    assert (series.val_step.tolist(), series.val_loss.tolist(), series.val_bpb.tolist()) == ([2], [1.75], [0.875])
    assert not reader.poll() and reader.changed == frozenset()


record = st.one_of(
    st.builds(lambda step, loss: train(step, loss=loss), st.integers(0, 40), st.floats(0, 9)),
    st.builds(val, st.integers(0, 40), st.floats(0.1, 9)),
    st.builds(lambda step: json_line({"resumed": step}), st.integers(0, 40)),
    st.just(b'{"step":4,"lo\n{"torn":true}\n'),
    st.just(b"\x00\xff damaged\n"),
    st.just(b"\n"),
)


@QUICK
@given(st.lists(record, max_size=30), st.data())
def test_following_a_run_in_any_pieces_is_reading_it_once(records: list[bytes], data: st.DataObject) -> None:
    content = b"".join(records)
    with tempfile.TemporaryDirectory() as folder:
        run = create_run(Path(folder), "r", load_preset("nano"), corpus={}, environment={})
        cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
        reader = RunReader(run)
        with run.metrics.open("ab", buffering=0) as file:
            for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
                file.write(content[start:end])
                reader.poll()
        once = opened(run)
    assert differing(reader.series, once.series) == []
    assert reader.problems == once.problems
    assert differing(once.series, slowly(content)) == []
    for table in (once.series.train, once.series.val):
        assert np.all(np.diff(table.steps) > 0)


def test_a_file_torn_at_any_byte_gives_its_whole_lines_and_no_complaint(run: RunDir) -> None:
    content = train(1) + val(1, 2.0) + train(2)
    for cut in range(len(content) + 1):
        run.metrics.write_bytes(content[:cut])
        reader = opened(run)
        assert len(reader.series) + len(reader.series.val_step) == content[:cut].count(b"\n")
        assert reader.problems == []
        with run.metrics.open("ab") as file:
            file.write(content[cut:])
        reader.poll()
        assert (len(reader.series), len(reader.series.val_step), reader.problems) == (2, 1, [])


def test_damage_in_the_middle_is_named_by_line_and_the_rest_read(run: RunDir) -> None:
    bad = [b"\x00" * 50, b'{"step":3,"lo', b"[1]", b'{"loss":1}', b'{"step":"x","loss":1}', b'{"step":8,"loss":"x"}']
    content = train(1) + b"\n".join(bad) + b"\n" + train(9)
    run.metrics.write_bytes(content)
    run.samples.write_bytes(b'{"step":1,"text":"a"}\n{"text":"b"}\nx\n{"step":2,"text":"c"}\n')
    run.events.write_bytes(b'{"step":1,"kind":"started"}\nnull\n{"step":2,"kind":"paused"}\n')
    reader = opened(run)
    assert reader.series.step.tolist() == [1, 9]
    assert [sample["text"] for sample in reader.samples] == ["a", "c"]
    assert [event["kind"] for event in reader.events] == ["started", "paused"]
    named = [problem.split(":")[0] for problem in reader.problems]
    assert named == [f"metrics.jsonl line {line}" for line in range(2, 8)] + [
        "samples.jsonl line 2",
        "samples.jsonl line 3",
        "events.jsonl line 2",
    ]


def test_a_file_of_nothing_but_damage_is_said_in_few_words(run: RunDir) -> None:
    run.events.write_bytes(b"x\n" * 5000)
    problems = opened(run).problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1] == f"events.jsonl: {5000 - MAX_PROBLEMS} more lines like these"


def test_only_the_line_cut_short_is_excused(run: RunDir) -> None:
    """A damaged line, a good one, a record without its newline, the mark of a torn line: the first stays named."""
    mark = b'\n{"torn":true}\n'
    run.metrics.write_bytes(b"\x00\n" + train(1) + train(2).rstrip(b"\n") + mark + b'{"step":3,"lo' + mark + train(3))
    reader = opened(run)
    assert reader.series.step.tolist() == [1, 2, 3]
    assert reader.problems == ["metrics.jsonl line 1: not JSON; left out"]
    run.events.write_bytes(b"x\n" * (MAX_PROBLEMS + 3) + b"cut" + mark)  # also where damage is only counted
    assert opened(run).problems[-1] == "events.jsonl: 3 more lines like these"


def test_of_two_records_of_one_step_the_last_counts(run: RunDir) -> None:
    twice = train(1) + train(2, loss=9.0, lr=None) + train(2, loss=1.5) + val(2, 8.0) + val(2, 1.25) + train(3)
    many = b"".join(train(step) for step in range(4, 200)) + train(199, loss=0.5) + train(200)  # the fast way
    run.metrics.write_bytes(twice + many)
    series = opened(run).series
    assert series.step.tolist() == list(range(1, 201))
    assert (series.loss[1], series.lr[1], series.loss[198]) == (1.5, 1e-5, 0.5)
    assert (series.val_step.tolist(), series.val_loss.tolist(), series.val_bpb.tolist()) == ([2], [1.25], [0.625])
    rows = list(csv_lines(run))
    assert len(rows) == 201 and rows[2].split(",")[3] == "1.5" and rows[199].split(",")[3] == "0.5"


def test_a_resume_takes_back_what_came_after_its_step(run: RunDir) -> None:
    with RunWriter(run) as writer:
        for step in range(1, 11):
            writer.metric(step=step, loss=1.0)
            writer.metric(step=step, val_loss=1.0)
            writer.sample(step=step, text="old")
            writer.event("x", step)
    reader = opened(run)
    with RunWriter(run) as writer:
        writer.rewind(6)
        writer.metric(step=7, loss=2.0)
        writer.sample(step=7, text="new")
    assert reader.poll()
    for each in (reader, opened(run)):
        assert each.series.step.tolist() == [1, 2, 3, 4, 5, 6, 7]
        assert each.series.loss.tolist() == [1.0] * 6 + [2.0]
        assert each.series.val_step.tolist() == [1, 2, 3, 4, 5, 6]
        assert [sample["text"] for sample in each.samples] == ["old"] * 6 + ["new"]
        assert len(each.events) == 10
        assert each.problems == []


def test_one_damaged_step_costs_one_record(run: RunDir) -> None:
    for wrong in (0, 99_999):
        steps = [*range(1, 6), wrong, *range(7, 100)]
        run.metrics.write_bytes(b"".join(train(step) for step in steps))
        reader = opened(run)
        assert reader.series.step.tolist() == [*range(1, 6), *range(7, 100)]
        assert len(reader.problems) == 1 and "after step" in reader.problems[0]


def test_a_file_that_was_replaced_cut_or_removed_is_read_anew(run: RunDir) -> None:
    run.metrics.write_bytes(train(1) + train(2) + train(3))
    reader = opened(run)
    changes: list[tuple[Callable[[], object], list[int]]] = [
        (lambda: os.truncate(run.metrics, len(train(1))), [1]),
        (lambda: run.metrics.write_bytes(train(5) + train(6)), [5, 6]),
        (lambda: run.metrics.write_bytes(train(7) + train(8) + train(9)), [7, 8, 9]),
        (lambda: (run.metrics.rename(run.path / "old"), run.metrics.write_bytes(train(4))), [4]),
        (run.metrics.unlink, []),
        (lambda: run.metrics.write_bytes(train(2)), [2]),
    ]
    for change, steps in changes:
        change()
        assert reader.poll()
        assert reader.series.step.tolist() == steps
    assert reader.problems == []


def shuffled(seed: int, count: int) -> bytes:
    """A file such as trainers write: evaluations, resumes, missing and odd fields, a torn and a damaged line."""
    rng = random.Random(seed)
    lines, step = [], 0
    for _ in range(count):
        step += rng.choice((1, 1, 1, 2))
        scale = 10.0 ** rng.randint(-12, 12)
        memory = rng.choice((None, 1 << 33)) if step % 1000 < 20 else 1 << 33
        norm = float("inf") if rng.random() < 0.001 else rng.random() * scale
        lines.append(
            train(step, loss=rng.gauss(0, 3), grad_norm=norm, tokens_per_s=rng.random() * 1e7, mem_bytes=memory)
        )
        if step % 100 == 0:
            lines.append(val(step, rng.random()))
        if rng.random() < 2e-4:
            step = max(0, step - 50)
            lines.append(b'{"step":1,"tok\n{"torn":true}\n' + json_line({"resumed": step}))
        if rng.random() < 2e-4:
            lines.append(b"\x01\n" if rng.random() < 0.3 else lines[-1][:30].replace(b'"tok', b'"t0k') + b"\n")
    return b"".join(lines)


def test_the_fast_way_reads_what_json_reads(run: RunDir) -> None:
    content = shuffled(1, 12_000)
    run.metrics.write_bytes(content)
    reader = opened(run)
    assert len(reader.series) > 10_000 and len(reader.series.val_step) > 80
    assert differing(reader.series, slowly(content)) == []
    assert 0 < len(reader.problems) < 40


def aside(run: RunDir) -> RunReader:
    reader = RunReader(run, aside=lambda path, offset: columns.blocks_aside(path, offset))
    reader.poll()
    return reader


def test_a_long_file_is_read_by_others_as_it_is_read_here(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    content = shuffled(2, 9_000)
    run.metrics.write_bytes(content)
    here = opened(run)
    monkeypatch.setattr(reader, "LONG", 1 << 19)
    read_here: list[int] = []
    monkeypatch.setattr(reader, "records_of", lambda block: read_here.append(len(block)) or records_of(block))
    there = aside(run)
    assert 0 < sum(read_here) <= columns.AT_ONCE < len(content)  # what comes behind the last whole block
    assert differing(there.series, here.series) == [] and there.problems == here.problems != []
    with run.metrics.open("ab") as file:
        file.write(train(50_000))
    monkeypatch.undo()
    assert here.poll() and there.poll() and differing(there.series, here.series) == []


def test_what_others_do_not_read_is_read_here(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    content = shuffled(4, 3_000)
    first = content.replace(b"8589934592", b"9589934592")  # its lines lie where the others do
    assert first != content
    monkeypatch.setattr(reader, "LONG", 1 << 10)
    monkeypatch.setattr(columns, "AT_ONCE", 1 << 15)
    whole = blocks_aside

    def lost(path: Path, offset: int) -> Iterator[Block]:
        return islice(whole(path, offset), 2)

    def replaced(path: Path, offset: int) -> Iterator[Block]:
        for block in whole(path, offset):
            with path.open("r+b") as file:
                file.write(content)
            yield block

    started: list[Helper] = []

    def refused(module: str) -> Helper:
        if started:
            raise OSError(errno.EAGAIN, "no more processes")
        started.append(Helper(module))
        return started[0]

    for way in (lost, replaced):
        run.metrics.write_bytes(content if way is lost else first)
        monkeypatch.setattr(columns, "blocks_aside", way)
        found = aside(run)
        found.poll()  # after a file that was replaced
        assert differing(found.series, slowly(content)) == [], way
    monkeypatch.setattr(columns, "blocks_aside", whole)
    monkeypatch.setattr(columns, "usable_threads", lambda: 2)
    for none in (refused, lambda module: Helper("engine.none")):
        monkeypatch.setattr(process, "Helper", none)
        assert differing(aside(run).series, slowly(content)) == []
    assert started[0]._process.returncode is not None


def test_what_others_read_ends_before_a_line_that_is_too_long(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "AT_ONCE", 256)
    monkeypatch.setattr(columns, "LINE", 256)
    run.metrics.write_bytes(
        b"".join(map(train, range(1, 20))) + b"x" * 600 + b"\n" + b"".join(map(train, range(20, 40)))
    )
    before = [*columns._parts(run.metrics, 0)]
    assert [end for _, end in before[:-1]] == [start for start, _ in before[1:]]
    data = run.metrics.read_bytes()
    assert len(before) > 1 and all(data[end - 1 : end] == b"\n" for _, end in before)
    assert before[-1][1] <= data.index(b"x")
    behind = [*columns._parts(run.metrics, data.index(b"x") + 601)]
    assert behind and behind[-1][1] <= len(data)


def test_a_helper_answers_nothing_where_lines_are_gone(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.metrics.write_bytes(train(1) + train(2))
    whole = len(train(1) + train(2))
    said: list[bytes] = []
    orders = BytesIO(f"[0,{whole}]\n[0,{whole + 1}]\n[1,{whole - 1}]\n".encode())
    monkeypatch.setattr(columns, "first_order", lambda: str(run.metrics))
    monkeypatch.setattr(columns, "answer", said.append)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=orders))
    columns.work()
    assert said[1:] == [b"", b""]
    assert (block := columns._unpacked(whole, said[0])).lines == 2 and block.seam == run.metrics.read_bytes()[-64:]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_run_is_read_the_fast_way(run: RunDir, monkeypatch: pytest.MonkeyPatch, separators: tuple[str, str]) -> None:
    """No line is read by itself, whoever wrote it: what makes a million of them open in two seconds."""
    block = b"".join(train(step) + (val(step, 1.0) if step % 100 == 0 else b"") for step in range(1, 1001))
    block = b"".join(
        json.dumps(json.loads(line), separators=separators).encode() + b"\n" for line in block.splitlines()
    )
    run.metrics.write_bytes(block)
    monkeypatch.setattr(reader, "split_lines", None)
    assert differing(opened(run).series, slowly(block)) == []


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"step":1,"loss":1.5},{"step":2,"loss":1.5}'],
        [b'{"step":1,"loss":1.5', b'"lr":1}'],
        [b"1", b"[2]", b"null", b'"x"'],
        [b"", b" "],
        [b'{"step":1}]', b'[{"step":2}'],
        [b'{"step":01}', b'{"step":+1}', b'{"step":1.}'],
        [b'{"step":1,"loss":NaN}', b'{"step":2,"loss":Infinity}'],
        [b'{"step":true}'],
        [b'{"step":5,"loss":false}'],
        [b'{"step":5,"x":true}'],
        [b'{"step":5,"x":"1"}', b'{"step":6,"loss":"1.5"}'],
        [b'{"step":1,"x":"\xff"}'],
        [b'{"step":3,"step":4}'],
        [b'{"step":1,"loss":' + b"1" * 400 + b"}"],
        [b'{"step":1,"loss":' + b"[" * 5000],
    ],
    ids=lambda lines: lines[0][:24],
)
def test_lines_that_are_no_records_are_never_taken_for_some(run: RunDir, lines: list[bytes]) -> None:
    content = b"\n".join([train(0)[:-1], *lines, train(9)])
    run.metrics.write_bytes(content)
    found = opened(run)
    assert differing(found.series, slowly(content)) == []
    assert len(found.problems) == sum(1 for line in lines if line.strip() and b'step":4' not in line)


@QUICK
@example(place=1, junk=b"\r", insert=True)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=3), st.booleans())
def test_damage_anywhere_is_seen_alike_by_both_ways(run: RunDir, place: int, junk: bytes, insert: bool) -> None:
    content = b"".join(train(step, grad_norm=step / 7) for step in range(1000, 1050))
    content = content[:place] + junk + content[place if insert else place + len(junk) :] + train(1050)
    run.metrics.write_bytes(content)
    assert differing(opened(run).series, slowly(content)) == []


def test_a_line_longer_than_a_block_is_read(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "BLOCK", 64)
    with RunWriter(run) as writer:
        for size in (1, 1000, 10, 100_000, 60):
            writer.sample(step=size, text="é" * size)
    assert [len(sample["text"]) for sample in opened(run).samples] == [1, 1000, 10, 100_000, 60]


def test_a_poll_ends_however_fast_the_writer(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.events.write_bytes(b'{"step":0,"kind":"x"}\n')
    reader = RunReader(run)
    real = os.pread

    def pread(*args: Any) -> bytes:
        with run.events.open("ab") as file:
            file.write(b'{"step":0,"kind":"x"}\n')
        return real(*args)

    monkeypatch.setattr(tail.os, "pread", pread)
    assert reader.poll()
    assert len(reader.events) == 1
    monkeypatch.undo()
    reader.poll()
    assert len(reader.events) == 2


def test_status_and_description_are_followed(run: RunDir) -> None:
    reader = RunReader(run)
    assert reader.status["state"] == "new" and not reader.poll()
    with RunWriter(run) as writer:
        writer.status(state="running", step=3)
        assert reader.poll() and reader.changed >= {"status"}
        assert (reader.status["state"], reader.status["step"]) == ("running", 3)
        writer.describe(preset="small")
        assert reader.poll() and "info" in reader.changed
        assert reader.info["preset"] == "small"
    assert reader.poll()
    assert reader.status["state"] == "stopped" and reader.problems == []


def test_a_trainer_on_another_machine_is_judged_by_its_heartbeat(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"state": "running", "pid": 7, "host": "far-away", "heartbeat": 1000.0}
    run.status_json.write_text(json.dumps(said))
    clock = 1000.0 + status.SILENCE - 1
    monkeypatch.setattr(status.time, "time", lambda: clock)
    reader = RunReader(run)
    assert reader.status["state"] == "running"
    clock += 2
    assert reader.poll()
    assert reader.status["state"] == "crashed" and "process 7" in reader.problems[0]


def test_a_run_that_ends_while_we_look_is_not_called_dead(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunWriter(run) as writer:
        writer.status(state="running")
        reader = RunReader(run)
        real = status.is_locked

        def ends_meanwhile(path: Path) -> bool | None:
            writer.status(state="finished")
            writer.close()
            return real(path)

        monkeypatch.setattr(status, "is_locked", ends_meanwhile)
        reader.poll()
    assert reader.status["state"] == "finished"


def test_a_removed_run_is_said_to_be_gone(run: RunDir) -> None:
    run.metrics.write_bytes(train(1))
    with RunWriter(run) as writer:
        writer.status(state="finished")
    reader = opened(run)
    run.path.rename(run.path.with_name("moved"))
    assert reader.poll()
    assert reader.status["state"] == "failed" and reader.problems[0] == "its folder is gone"
    assert not reader.poll()


def test_what_is_no_run_or_too_new_is_refused(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        RunReader(RunDir(tmp_path))
    run.run_json.write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="update tinytui"):
        RunReader(run)
    run.run_json.write_text('{"form')
    with pytest.raises(RunError, match=r"run soap-1 is damaged: .*run\.json: it is not JSON; restore"):
        RunReader(run)


def test_checkpoints_carry_the_loss_measured_at_their_step(run: RunDir) -> None:
    run.metrics.write_bytes(val(500, 1.5) + val(1000, 1.25))
    for step in (500, 750, 1000):
        run.checkpoint(step).mkdir(parents=True)
    assert [(made["step"], made["val_loss"]) for made in opened(run).checkpoints()] == [
        (500, 1.5),
        (750, None),
        (1000, 1.25),
    ]


def test_reading_disturbs_nothing(run: RunDir) -> None:
    with RunLock(run.path):
        before = {path.name: path.read_bytes() for path in run.path.iterdir()}
        opened(run)
        assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before
        assert run.live


@pytest.mark.parametrize("again", [[4, 5], [3, 4, 5, 6], [1, 9]])
def test_a_block_that_begins_with_steps_there_are_already_is_not_put_behind_them(run: RunDir, again: list[int]) -> None:
    run.metrics.write_bytes(b"".join(train(step) for step in (1, 2, 3, 4)))
    reader = opened(run)
    with run.metrics.open("ab") as file:
        file.write(b"".join(train(step, loss=9.0) for step in again))
    reader.poll()
    assert not differing(reader.series, slowly(run.metrics.read_bytes()))
    assert (np.diff(reader.series.train.steps) > 0).all()
