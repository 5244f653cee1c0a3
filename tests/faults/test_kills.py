"""kill -9 at any moment: the run opens, verifies, resumes, and comes to the numbers of an undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training.verify import verify_checkpoint

from .conftest import Campaign
from .shim import Shim
from .tiny import Outcome, start, state_of, train
from .zygote import Zygote


@pytest.fixture(scope="module")
def killers() -> Iterator[Zygote]:
    with Zygote() as one:
        yield one


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def job(run: RunDir, cache: Path, **more: Any) -> dict[str, Any]:
    return {"do": "train", "path": str(run.path), "cache": str(cache), **more}


def check_killed(run: RunDir) -> None:
    """What a kill leaves: a run that reads, is said to have crashed, and whose checkpoints are all whole."""
    reader = RunReader(run)
    reader.poll()
    damage = [problem for problem in reader.problems if "ended without a word" not in problem]
    assert damage == [], damage
    assert not run.live and state_of(run) in ("crashed", "new", "finished")
    for step in run.checkpoint_steps():
        found = verify_checkpoint(run.checkpoint(step))
        assert found.ok, found.problem


def finish(run: RunDir, cache: Path, killers: Zygote, expected: Outcome) -> None:
    """Goes on to the end, which must be that of an undisturbed training."""
    if state_of(run) != "finished":
        assert killers.do(job(run, cache)) == 0
    assert state_of(run) == "finished"
    assert Outcome.of(run) == expected
    steps = run.checkpoint_steps()
    assert len(steps) <= 3 and steps[-1] == 12, steps  # the newest two, and the best
    shutil.rmtree(run.path)


def test_kills_at_random(tmp_path: Path, cache: Path, campaign: Callable[..., Campaign], killers: Zygote) -> None:
    promise = campaign(
        "a kill -9 at any moment, also of the resumed training, loses nothing that was saved: the run opens, its "
        "checkpoints verify, and it resumes to exactly the metrics and weights of an undisturbed training",
        quick=2,
        whole=200,
    )
    whole = start(tmp_path, "whole")
    began = time.monotonic()
    assert killers.do(job(whole, cache)) == 0
    lasts, expected = time.monotonic() - began, Outcome.of(whole)
    for number in promise:
        chance = random.Random(number)
        kills = [chance.uniform(0.0, lasts) for _ in range(1 + number % 3)]
        with promise.trial(f"killed after {', '.join(f'{each:.3f}' for each in kills)} s"):
            run = start(tmp_path, f"r{number}")
            for seconds in kills:
                pid = killers.begin(job(run, cache))
                time.sleep(seconds)
                os.kill(pid, signal.SIGKILL) if killers_child(pid) else None
                if killers.end() == 0:
                    break
                check_killed(run)
            finish(run, cache, killers, expected)


def killers_child(pid: int) -> bool:
    """Whether the child still runs; it is not waited for before it is asked about, so its pid is nobody else's."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except OSError:
        return False


def test_kills_at_every_call_of_a_checkpoint(
    tmp_path: Path, cache: Path, campaign: Callable[..., Campaign], killers: Zygote
) -> None:
    promise = campaign(
        "a kill -9 before any call that writes, replaces or removes a checkpoint leaves every checkpoint whole, loses "
        "none that stood, and nothing stays behind",
        quick=3,
        whole=150,
    )
    whole = start(tmp_path, "whole")
    with Shim(whole.checkpoints).in_force() as shim:
        assert train(whole).error is None
    expected, calls = Outcome.of(whole), len(shim.calls)
    names = {name for name, _ in shim.calls}
    assert {"mkdir", "open", "write", "fsync", "rename", "unlink", "rmdir"} <= names, names
    for number in promise:
        at = round(number * calls / promise.planned) if promise.planned < calls else number % calls
        with promise.trial(f"killed before call {at}, {' '.join(shim.calls[at])}"):
            run = start(tmp_path, f"r{number}")
            assert killers.do(job(run, cache, folder=str(run.checkpoints), kill_at=at)) == -signal.SIGKILL
            check_killed(run)
            finish(run, cache, killers, expected)


def test_kills_while_tokenizing(
    tmp_path: Path, cache: Path, campaign: Callable[..., Campaign], killers: Zygote
) -> None:
    promise = campaign(
        "a kill -9 at any call that writes tokens, a tokenizer or a new run makes no half run, costs only that work, "
        "and what it left goes by itself",
        quick=2,
        whole=100,
    )
    bpe = ("data.tokenizer=bpe", "data.vocab_size=280")
    with Shim(tmp_path).in_force() as shim:
        whole = start(tmp_path, "whole", *bpe)
    assert train(whole).error is None
    expected, calls = Outcome.of(whole), len(shim.calls)
    begin = {"do": "start", "path": str(tmp_path), "cache": str(cache), "sets": bpe, "folder": str(tmp_path)}
    for number in promise:
        at = round(number * calls / promise.planned) if promise.planned < calls else number % calls
        with promise.trial(f"killed before call {at}, {' '.join(shim.calls[at])}"):
            shutil.rmtree(cache)
            name = f"r{number}"
            assert killers.do({**begin, "name": name, "kill_at": at}) in (0, -signal.SIGKILL)
            run = RunDir(tmp_path / "runs" / name)
            left = [path for path in tmp_path.rglob(".*") if path.name not in (".", "..")]
            for path in left:
                os.utime(path, (0, 0))
            if run.path.exists():
                assert run.exists, "half a run"
                other = start(tmp_path, "other", *bpe)
                shutil.rmtree(other.path)
            else:
                run = start(tmp_path, name, *bpe)
            assert not [path for path in left if path.exists()], "left for ever"
            finish(run, cache, killers, expected)
