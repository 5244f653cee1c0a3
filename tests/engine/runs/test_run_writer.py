from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engine.errors import LockedError, RunError, UserError
from engine.machine import hostname
from engine.runs import writer as writer_module
from engine.runs.layout import RunDir
from engine.runs.lines import TRAIN_KEYS, VAL_KEYS
from engine.runs.lock import is_locked, read_owner
from engine.runs.reader import RunReader
from engine.runs.status import overview, read_status
from engine.runs.writer import RunWriter


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def child(code: str, *args: object) -> subprocess.Popen[str]:
    """Another process that runs `code`, with what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


TRAIN_FOREVER = """
    import itertools, sys
    from pathlib import Path
    from engine.runs.layout import RunDir
    from engine.runs.writer import RunWriter
    with RunWriter(RunDir(Path(sys.argv[1]))) as writer:
        writer.status(state="running")
        start = int(sys.argv[2])
        writer.rewind(start)
        for step in itertools.count(start + 1):
            writer.metric(step=step, tokens=step * 10, loss=1 / step)
            if step % 10 == 0:
                writer.sample(step=step, text="x" * 20_000)
            if step == start + 40:
                print("going", flush=True)
"""


def test_records_are_lines_with_keys_in_one_order(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.metric(
            mem_bytes=1 << 40, loss=2.345678912, step=7, tokens=70, lr=1e-5, time_s=123456.78912, grad_norm=1e9
        )
        writer.metric(val_loss=1.5, step=8, eval_s=0.25, val_bpb=np.float32(2.25), tokens=80, time_s=1.0)
    train, val = lines(run.metrics)
    assert train == (
        '{"step":7,"tokens":70,"time_s":123456.789,"loss":2.34568,"lr":1E-05,"grad_norm":1E+09,"mem_bytes":1099511627776}'
    )
    assert json.loads(train)["lr"] == 1e-5
    assert val == '{"step":8,"tokens":80,"time_s":1.000,"val_loss":1.5,"val_bpb":2.25,"eval_s":0.25}'
    assert list(json.loads(train)) == [key for key in TRAIN_KEYS if key != "tokens_per_s"]
    assert tuple(json.loads(val)) == VAL_KEYS


def test_what_is_not_finite_is_null_and_what_is_none_is_absent(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.metric(step=1, loss=math.nan, grad_norm=math.inf, mem_bytes=None)
        writer.event("error", 1, loss=math.nan, seen=[math.inf, 1.0], nested={"x": -math.inf})
    assert lines(run.metrics) == ['{"step":1,"loss":null,"grad_norm":null}']
    event = json.loads(lines(run.events)[0])
    assert (event["loss"], event["seen"], event["nested"]) == (None, [None, 1.0], {"x": None})


def test_any_text_is_kept_in_one_line(run: RunDir) -> None:
    texts = ["two\nlines\r\n", "\x1b]52;c;x\x07", "中文 é 🜁", "\u2028\x85", "half \ud800", '"\\']
    with RunWriter(run) as writer:
        for text in texts:
            writer.sample(step=1, text=text)
    assert run.samples.read_bytes().count(b"\n") == len(texts)
    reader = RunReader(run)
    reader.poll()
    assert [sample["text"] for sample in reader.samples] == texts
    assert reader.problems == []


def test_a_second_trainer_is_refused_by_name(run: RunDir, impatient: None) -> None:
    expected = f"run soap-1 is being trained by process {os.getpid()} on {hostname()}; open it with tinytui open soap-1"
    with RunWriter(run) as writer:
        writer.serve_at("/tmp/x.sock")
        with pytest.raises(LockedError) as caught, RunWriter(run):
            pass
        assert str(caught.value) == expected
        writer.metric(step=1, loss=1.0)
        assert run.live
        assert read_owner(run.lock)["socket"] == "/tmp/x.sock"
    assert not run.live
    with RunWriter(run):
        pass


def test_a_readers_look_at_the_lock_never_costs_a_trainer_its_run(run: RunDir) -> None:
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            is_locked(run.lock)

    readers, taken = [threading.Thread(target=look) for _ in range(2)], 0
    for thread in readers:
        thread.start()
    try:
        for _ in range(30):
            with RunWriter(run):
                taken += run.live
    finally:
        done.set()
        for thread in readers:
            thread.join()
    assert taken == 30


def test_the_lock_does_not_leak_into_children(run: RunDir) -> None:
    writer = RunWriter(run)
    writer.__enter__()
    inherits = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    can_go, go = os.pipe()
    pid = os.fork()
    if pid == 0:  # a child without exec, as multiprocessing makes them
        os.close(go)
        os.read(can_go, 1)
        os._exit(0)
    try:
        assert run.live
        writer.close()
        assert not run.live
        with RunWriter(run):
            assert run.live
    finally:
        os.close(go)
        os.waitpid(pid, 0)
        inherits.communicate(b"\n")


def test_a_killed_trainers_run_is_taken_over_and_no_record_is_glued(run: RunDir, impatient: None) -> None:
    start = 0
    for _ in range(4):
        process = child(TRAIN_FOREVER, run.path, start)
        assert said(process) == "going"
        with pytest.raises(LockedError, match=f"process {process.pid} "), RunWriter(run):
            pass
        reader = RunReader(run)
        reader.poll()
        assert reader.status["state"] == "running"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not run.live
        reader.poll()
        assert reader.status["state"] == "crashed"
        assert 0 <= time.time() - overview(run)["heartbeat"] < 60  # its last sign of life
        assert reader.problems == [
            f"its process {process.pid} ended without a word; resume with tinytui train --resume soap-1"
        ]
        start = max(0, int(reader.series.step[-1]) - 5)
    with RunWriter(run) as writer:
        writer.rewind(start)
        writer.metric(step=start + 1, loss=1.0)
        writer.status(state="finished")
    reader.poll()
    again = RunReader(run)
    again.poll()
    for each in (reader, again):
        assert each.problems == []
        assert each.series.step.tolist() == list(range(1, start + 2))
        assert all(len(sample["text"]) == 20_000 for sample in each.samples)
        assert max(sample["step"] for sample in each.samples) <= start


def test_a_torn_line_is_ended_and_excused(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.metric(step=1, loss=1.0)
    with run.metrics.open("ab") as file:
        file.write(b'{"step":2,"lo')
    with RunWriter(run) as writer:
        writer.metric(step=2, loss=2.0)
    assert lines(run.metrics) == ['{"step":1,"loss":1}', '{"step":2,"lo', '{"torn":true}', '{"step":2,"loss":2}']
    reader = RunReader(run)
    reader.poll()
    assert reader.series.loss.tolist() == [1.0, 2.0]
    assert reader.problems == []


def test_a_full_disk_is_named_and_costs_no_record_before_or_after(run: RunDir) -> None:
    code = """
        import resource, sys
        from pathlib import Path
        from engine.runs.layout import RunDir
        from engine.runs.writer import RunWriter
        with RunWriter(RunDir(Path(sys.argv[1]))) as writer:
            writer.status(state="running")
            writer.metric(step=1, loss=1.0)
            resource.setrlimit(resource.RLIMIT_FSIZE, (30, resource.RLIM_INFINITY))
            writer.metric(step=2, loss=2.0)
            print(writer.stuck, writer.unsaved(), sep="\\n", flush=True)
            print(writer.status(state="paused"), flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            print(writer.status(state="finished"), flush=True)
    """
    process = child(code, run.path)
    out, _ = process.communicate()
    first, *rest = out.splitlines()
    assert first == f"cannot write {run.metrics}: file too large; raise the limit on the size of files (ulimit -f)"
    assert rest == ["['metrics since step 2']", "False", "True"]
    reader = RunReader(run)
    reader.poll()
    assert reader.series.loss.tolist() == [1.0, 2.0]
    assert reader.status["state"] == "finished"
    assert reader.problems == []
    assert not list(run.path.glob(".*"))


def test_status_is_a_heartbeat_written_seldom_but_for_what_matters(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    written: list[dict[str, object]] = []
    real = writer_module.write_atomic

    def spy(path: Path, data: bytes, *, sync: bool = True) -> None:
        assert not sync
        written.append(json.loads(data))
        real(path, data, sync=sync)

    monkeypatch.setattr(writer_module, "write_atomic", spy)
    monkeypatch.setattr(writer_module.time, "monotonic", lambda: now)
    with RunWriter(run) as writer:
        writer.status(state="running", step=0)
        for step in range(1, 100):
            now += 0.01
            writer.status(step=step)
        assert 2 <= len(written) <= 3
        writer.status(phase="evaluating")
        assert written[-1]["phase"] == "evaluating" and written[-1]["step"] == 99
        count = len(written)
        writer.status(phase="evaluating", step=100)
        assert len(written) == count
        now += 1
        writer.status()
        assert written[-1]["step"] == 100
        assert written[-1]["pid"] == os.getpid() and written[-1]["host"] == hostname()
        writer.status(state="finished", best_val_loss=math.inf)
    assert read_status(run)["state"] == "finished"
    assert read_status(run)["best_val_loss"] is None


def test_how_a_writer_leaves_is_the_runs_state(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.status(state="running", best_val_loss=1.5)
    assert read_status(run)["state"] == "stopped"
    with pytest.raises(UserError), RunWriter(run) as writer:
        writer.status(state="running")
        raise UserError("the loss is nan;\nlower the learning rate")
    status = read_status(run)
    assert (status["state"], status["message"]) == ("failed", "the loss is nan; lower the learning rate")
    assert status["best_val_loss"] == 1.5
    with RunWriter(run) as writer:
        writer.status(state="finished")
    assert read_status(run)["state"] == "finished"
    assert "message" not in read_status(run) or not read_status(run)["message"]


def test_facts_are_added_to_the_runs_description(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.describe(tokenizer={"fingerprint": "ab"}, preset="other")
    info = RunReader(run).info
    assert info["tokenizer"] == {"fingerprint": "ab"} and info["preset"] == "other"
    assert info["corpus"]["name"] == "soap"


def test_a_writer_that_is_closed_or_has_no_run_says_so(run: RunDir, tmp_path: Path) -> None:
    writer = RunWriter(run)
    with writer:
        pass
    with pytest.raises(RunError, match="closed"):
        writer.metric(step=1, loss=1.0)
    with pytest.raises(RunError, match="is not a run"), RunWriter(RunDir(tmp_path)):
        pass
    assert not (tmp_path / "lock").exists()


def test_many_threads_may_write(run: RunDir) -> None:
    with RunWriter(run) as writer:

        def work(number: int) -> None:
            for step in range(100):
                writer.event("x", step, by=number, fill="y" * 100)
                writer.status(step=step)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.sync()
    reader = RunReader(run)
    reader.poll()
    assert len(reader.events) == 400
    assert reader.problems == []
