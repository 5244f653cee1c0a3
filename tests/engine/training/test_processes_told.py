"""What is told of a training in several processes, and asked of them, whatever became of them."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from engine.errors import RunError, TrainingError
from engine.runs.layout import RunDir
from engine.training.processes import Processes

Start = Callable[..., RunDir]


class Launcher:
    """Stands for the process that looks after the ranks."""

    pid = 4000

    def __init__(self, code: int | None = None) -> None:
        self.code = code
        self.waited: list[float | None] = []

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None) -> None:
        self.waited.append(timeout)
        if self.code is None:
            raise subprocess.TimeoutExpired("ranks", timeout or 0.0)


def of(run: RunDir, code: int | None = None) -> Processes:
    made = Processes(run, "a.module", ("word",), 3, restarts=2)
    made._launcher = Launcher(code)  # type: ignore[assignment]
    return made


def says(run: RunDir, **status: Any) -> None:
    run.status_json.write_text(json.dumps({"state": "finished", "step": 4, **status}))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    def process(pid: int) -> Any:
        if not found:
            raise psutil.NoSuchProcess(pid)
        assert pid == Launcher.pid
        return SimpleNamespace(children=lambda recursive=False: found)

    fake = SimpleNamespace(Process=process, Error=psutil.Error)
    monkeypatch.setattr("engine.training.processes.psutil", fake)
    return found


@pytest.mark.parametrize("steps", [(), (4,), (4, 9)])
@pytest.mark.parametrize("problem", ["no room", ""])
@pytest.mark.parametrize(
    ("told", "state"), [("finished", "finished"), ("stopped", "stopped"), ("failed", "failed"), ("odd", "failed")]
)
def test_how_it_ended_is_what_the_run_says(
    start: Start, told: str, state: str, problem: str, steps: tuple[int, ...]
) -> None:
    run = start("ended")
    says(run, state=told, problem=problem)
    for step in steps:
        run.checkpoint(step).mkdir(parents=True)
    assert of(run).state is None and of(run).error is None and of(run).alive
    ended = of(run, 1)
    assert (ended.state, ended.alive, ended.untold()) == (state, False, {})
    if state != "failed":
        assert ended.error is None
    elif told == "failed" and problem:
        assert ended.error == "no room"
    else:
        stands = f"the checkpoint of step {steps[-1]} stands, go on with tinytui train --resume ended" if steps else ""
        nothing = f"there is no checkpoint yet, see {run.log}"
        assert ended.error == f"the process that had the run (rank 0) has died; {stands or nothing}"


def test_what_was_never_begun_is_nothing(start: Start) -> None:
    made = Processes(start("none"), "a.module", (), 2)
    assert (made.alive, made.state, made.error, made.ours, made.begun) == (False, None, None, False, False)
    made.join(1.0)


def test_a_status_is_ours_when_a_child_wrote_it(start: Start, children: list[Any]) -> None:
    run = start("whose")
    says(run, pid=77, socket="")
    assert not of(run).ours and not of(run).begun, "nobody is there"
    children += [SimpleNamespace(pid=76), SimpleNamespace(pid=77)]
    assert of(run).ours and not of(run).begun
    says(run, pid=77, socket="/tmp/x.sock")
    assert of(run).ours and of(run).begun
    says(run, pid=78, socket="/tmp/x.sock")
    assert not of(run).ours and not of(run).begun


def test_who_does_not_listen_yet_is_told_by_a_signal(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked, killed = start("stop"), list[Any](), list[tuple[int, int]]()
    listens = True

    def send(do: str, **fields: Any) -> None:
        if not listens:
            raise RunError("it is starting")
        asked.append((do, fields))

    monkeypatch.setattr("engine.training.processes.ControlClient", lambda run: SimpleNamespace(send=send))
    monkeypatch.setattr("os.kill", lambda pid, number: killed.append((pid, number)))
    of(run).stop()
    of(run).stop(checkpoint=False)
    assert asked == [("stop", {"checkpoint": True}), ("stop", {"checkpoint": False})] and killed == []
    listens = False
    of(run, code=0).stop()
    assert killed == [], "nobody is there any more"
    of(run).stop()
    assert killed == [(Launcher.pid, signal.SIGTERM)] and len(asked) == 2


def test_all_are_ended_at_once(start: Start, monkeypatch: pytest.MonkeyPatch, children: list[Any]) -> None:
    run, ended = start("end"), list[Any]()
    monkeypatch.setattr("os.kill", lambda pid, number: ended.append((pid, number)))
    of(run).give_up("why")
    assert ended == [], "nobody is there"
    children += [SimpleNamespace(pid=pid, kill=lambda pid=pid: ended.append(pid)) for pid in (1, 2)]
    of(run).give_up("why")
    assert ended == [(Launcher.pid, signal.SIGKILL), 1, 2]


def test_it_is_begun_as_it_was_asked_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run, began = start("begin"), list[Any]()

    def group(*words: str, log: Any, **how: Any) -> Launcher:
        assert log.name == str(run.log) and log.mode == "ab"
        began.append((words, how))
        return Launcher()

    monkeypatch.setattr("engine.process.start_group", group)
    for usable, threads in ((7, 2), (3, 1), (2, 1)):
        monkeypatch.setattr("engine.training.processes.usable_threads", lambda usable=usable: usable)
        made = Processes(run, "a.module", ("one", "two"), 3, restarts=2)
        made.start()
        assert began.pop() == (("a.module", "one", "two"), {"size": 3, "restarts": 2, "threads": threads})
    assert made.alive and made.pid == Launcher.pid
    made.join(0.5)
    assert made._launcher.waited == [0.5]  # type: ignore[union-attr]

    def fails(*words: str, **how: Any) -> Launcher:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("engine.process.start_group", fails)
    with pytest.raises(TrainingError, match=r"^3 processes cannot be started: Resource temporarily unavailable$"):
        made.start()
