"""Disks that fill up, fail, come back, or are gone: a run waits, goes on, and comes to the same numbers."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from engine.control import ControlClient
from engine.errors import UserError
from engine.runs import writer as writer_module
from engine.runs.layout import RunDir
from engine.runs.status import read_status
from engine.training import state
from engine.training.host import TrainingHost

from .conftest import WHOLE, Campaign
from .shim import Shim, failing
from .tiny import Outcome, go_on, start, state_of, train

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing waits for long, and tokens are kept apart from the user's."""
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(writer_module, "HEARTBEAT", 0.01)
    monkeypatch.setattr(state, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(state, "DISK_RETRY_SECONDS", 0.02)


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Outcome, int]:
    """What an undisturbed training comes to, and how many calls it writes with."""
    run = start(tmp_path, "whole")
    with Shim(run.path).in_force() as shim:
        assert train(run).error is None
    return Outcome.of(run), len(shim.calls)


def choices(promise: Campaign, calls: int) -> Iterator[tuple[int, int]]:
    """For each try a call and an error: every call with every error, in an order drawn once."""
    every = list(itertools.product(range(calls), ERRORS))
    random.Random(7).shuffle(every)
    for number in promise:
        yield every[number % len(every)]


def test_a_write_that_fails(tmp_path: Path, campaign: Callable[..., Campaign], whole: tuple[Outcome, int]) -> None:
    """Each call of a training that writes fails some times in a row, then works again."""
    expected, calls = whole
    promise = campaign(
        "a write that fails (disk full, quota, file too large, disk error, read-only) at any call of a run is waited "
        "for: the training ends with the numbers of an undisturbed one, nothing lost, doubled or torn",
        quick=5,
        whole=600,
    )
    for number, (at, error) in enumerate(choices(promise, calls)):
        times = 1 + number % 40
        with promise.trial(f"calls {at} to {at + times - 1} fail with {errno.errorcode[error]}"):
            run = start(tmp_path, f"r{number}")
            with Shim(run.path, failing(range(at, at + times), error)).in_force():
                try:
                    said = train(run).error
                except UserError as refused:  # before it was begun
                    said = str(refused)
            if said is not None:
                assert "\n" not in said and "cannot" in said, said
                assert state_of(run) in ("new", "failed"), state_of(run)
                assert go_on(run).error is None
            assert state_of(run) == "finished"
            assert Outcome.of(run) == expected
            shutil.rmtree(run.path)


def test_a_stop_while_nothing_can_be_written(
    tmp_path: Path, campaign: Callable[..., Campaign], whole: tuple[Outcome, int]
) -> None:
    """From some call on every write fails; the training is told to stop, and later resumed."""
    expected, calls = whole
    promise = campaign(
        "a stop on a disk that cannot be written ends the training at once, says what is not saved, and leaves a run "
        "that resumes to the numbers of an undisturbed one",
        quick=3,
        whole=200,
    )
    for number, (at, error) in enumerate(choices(promise, calls)):
        with promise.trial(f"from call {at} on all fail with {errno.errorcode[error]}"):
            run = start(tmp_path, f"r{number}")
            host = TrainingHost(run, device="cpu")
            with Shim(run.path, failing(range(at, 1 << 40), error)).in_force() as shim:
                try:
                    host.start()
                except UserError as refused:
                    assert "\n" not in str(refused)
                else:
                    while host.alive and len(shim.calls) < at + 20:
                        host.join(0.005)
                    host.stop()
                    host.join(60)
                    assert not host.alive, "it did not end"
                    if len(shim.calls) > at:  # a run that beats its heart less often is over before
                        assert host.error is not None and "\n" not in host.error
                        assert "without saving" in host.error or "cannot" in host.error, host.error
            assert state_of(run) not in ("running", "paused")
            if state_of(run) != "finished":
                assert go_on(run).error is None
            assert Outcome.of(run) == expected
            shutil.rmtree(run.path)


def test_a_start_on_a_failing_disk(
    tmp_path: Path, campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the text, training a tokenizer, tokenizing, making the run: any call may fail."""
    promise = campaign(
        "a disk that fails while a run is begun (text, tokenizer, tokens, the run itself) is named in one line, and "
        "nothing half-made is left: the next start is as if nothing had been",
        quick=5,
        whole=200,
    )
    bpe = ("data.tokenizer=bpe", "data.vocab_size=280")
    cache = tmp_path / "cache"
    monkeypatch.setenv("TINYTUI_CACHE", str(cache))
    with Shim(tmp_path).in_force() as shim:
        expected = start(tmp_path, "whole", *bpe)
    facts = json.loads(expected.run_json.read_bytes())["tokenizer"]
    for number, (at, error) in enumerate(choices(promise, len(shim.calls))):
        name = f"r{number}"
        with promise.trial(f"call {at}, {' '.join(shim.calls[at])}, fails with {errno.errorcode[error]}"):
            shutil.rmtree(cache)
            run = RunDir(tmp_path / "runs" / name)
            with Shim(tmp_path, failing(range(at, at + 1), error)).in_force():
                try:
                    start(tmp_path, name, *bpe)
                except UserError as said:
                    assert "\n" not in str(said) and os.strerror(error).lower() in str(said).lower(), said
                    assert sorted(path.name for path in run.path.parent.iterdir()) == ["whole"]
                    start(tmp_path, name, *bpe)
            assert json.loads(run.run_json.read_bytes())["tokenizer"] == facts
            shutil.rmtree(run.path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes file systems in memory of so many KiB; skips where this process may not."""
    made: list[Path] = []

    def make(kib: int) -> Path:
        folder = tmp_path / f"disk{len(made)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this process may not mount a file system")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    path = folder / "filler"
    with path.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return path


def test_small_disks(
    tmp_path: Path,
    campaign: Callable[..., Campaign],
    whole: tuple[Outcome, int],
    small_disk: Callable[[int], Path],
) -> None:
    """Real file systems of many sizes: the run begins with so many pages free, fills them, waits, and gets room."""
    expected, _ = whole
    promise = campaign(
        "a disk that fills up at any moment of a run pauses it visibly, and with room it goes on to the same numbers",
        quick=2,
        whole=64,
    )
    disk = small_disk(4096)
    for number in promise:
        pages = 1 + number * (64 // promise.planned)
        with promise.trial(f"{pages} pages free"):
            run = start(tmp_path, f"r{number}")
            there = RunDir(disk / run.name)
            shutil.move(run.path, there.path)
            filler = fill(disk)
            os.truncate(filler, filler.stat().st_size - pages * 4096)
            host = TrainingHost(there, device="cpu")
            try:
                host.start()
                while host.alive and "no space left" not in str(read_status(there).get("message")):
                    host.join(0.005)
            except UserError as refused:
                assert "no space left" in str(refused) and "\n" not in str(refused)
                assert state_of(there) == "new"
            finally:
                filler.unlink()
            if state_of(there) == "new":
                host = go_on(there)
            host.join(60)
            assert host.error is None and not host.alive
            assert state_of(there) == "finished"
            assert Outcome.of(there) == expected
            shutil.rmtree(there.path)


TAKEN_AWAY: dict[str, Callable[[RunDir], object]] = {
    "removed": lambda run: shutil.rmtree(run.path, ignore_errors=True),
    "moved away": lambda run: run.path.rename(run.path.with_name(f"{run.name}-elsewhere")),
    "checkpoints removed": lambda run: shutil.rmtree(run.checkpoints, ignore_errors=True),
    "run.json removed": lambda run: run.run_json.unlink(),
    "logs removed": lambda run: [path.unlink() for path in (run.metrics, run.samples, run.events)],
    "lock removed": lambda run: run.lock.unlink(),
}


class Taking:
    """A fault: `take` is done to the run once, before call `at` or the next one at which the run is whole."""

    def __init__(self, run: RunDir, take: Callable[[RunDir], object], at: int) -> None:
        self.run, self.take, self.at, self.done = run, take, at, False
        self.seen = 0

    def __call__(self, call: int, name: str, path: str) -> None:
        run = self.run
        self.seen += "status.json" not in path  # how many of those there are is a matter of time
        if self.seen > self.at and not self.done and run.exists and run.metrics.exists() and run.lock.exists():
            self.done = True
            self.take(run)


def test_a_run_that_is_taken_away(
    tmp_path: Path, campaign: Callable[..., Campaign], whole: tuple[Outcome, int]
) -> None:
    """At some call of the training its folder, or a part of it, is removed or moved."""
    expected, _ = whole
    run = start(tmp_path, "counted")
    with Shim(run.path).in_force() as shim:
        assert train(run).error is None
    calls = sum("status.json" not in path for _, path in shim.calls)
    promise = campaign(
        "a run folder that is removed or moved away while it is trained, at any moment, is made whole again at once, "
        "and the training comes to the numbers of an undisturbed one",
        quick=4,
        whole=120,
    )
    for number in promise:
        how, take = list(TAKEN_AWAY.items())[number % len(TAKEN_AWAY)]
        at = random.Random(number).randrange(10, calls - 1)  # not after its last record
        with promise.trial(f"{how} before call {at}"):
            run = start(tmp_path, f"r{number}")
            taking = Taking(run, take, at)
            with Shim(run.path, taking).in_force():
                host = train(run)
            assert taking.done and host.error is None, host.error
            assert state_of(run) == "finished"
            assert Outcome.of(run) == expected
            left = [path.name for path in run.path.parent.glob(".*")]
            assert left == [], left
            shutil.rmtree(run.path)
            shutil.rmtree(run.path.with_name(f"{run.name}-elsewhere"), ignore_errors=True)


def test_a_run_that_is_taken_away_at_its_last_record_has_its_last_checkpoint(
    tmp_path: Path, whole: tuple[Outcome, int]
) -> None:
    run, records = start(tmp_path, "last"), list[str]()

    def take(number: int, name: str, path: str) -> None:
        if name == "write" and path == str(run.events) and run.checkpoint(12).is_dir():
            records.append(path)
            if len(records) == 2:  # after that of the checkpoint: that of the end
                shutil.rmtree(run.path)

    with Shim(run.path, take).in_force():
        assert train(run).error is None
    assert len(records) >= 2 and state_of(run) == "finished"
    assert Outcome.of(run) == whole[0]


def test_a_trainer_that_waits_tells_all_who_can_still_be_told(tmp_path: Path) -> None:
    """Its socket and its own process, where not even the status can be written; and it takes commands meanwhile."""
    run = start(tmp_path, "waits", "train.max_steps=100000", "train.eval_every=1000", "train.checkpoint_every=1000")
    host = TrainingHost(run, device="cpu")
    host.start()
    wait_for(lambda: run.metrics.exists() and run.metrics.stat().st_size > 1000, host)
    client = ControlClient(run)
    assert host.untold() == {}
    with Shim(run.path, failing(range(1 << 40), errno.EROFS)).in_force():
        wait_for(lambda: client.send("pause").get("waits"), host)
        why = client.send("ping")["waits"]
        assert "read-only file system" in why
        wait_for(lambda: host.untold().get("state") == "paused", host)
        assert host.untold()["message"] == f"{why}; training waits, and goes on by itself"
    wait_for(lambda: not client.send("ping").get("waits"), host)
    wait_for(lambda: says(run, "paused") and not read_status(run)["message"], host)
    host.stop(checkpoint=False)
    host.join(60)
    assert not host.alive and host.error is None
    kinds = [json.loads(line)["kind"] for line in run.events.read_text().splitlines()]
    assert kinds.count("waited") == 1 and "paused" in kinds and kinds[-1] == "stopped", kinds


@pytest.mark.skipif(not WHOLE, reason="a process of its own that waits some seconds; make faults")
def test_a_limit_on_the_size_of_files(
    tmp_path: Path, campaign: Callable[..., Campaign], whole: tuple[Outcome, int]
) -> None:
    """As `ulimit -f` sets it, from the command line, until it is raised."""
    expected, _ = whole
    promise = campaign(
        "`tinytui train` under a limit on the size of files says in one line what it waits for, shows it in the run's "
        "status, and finishes when the limit is raised",
        quick=1,
        whole=8,
    )
    for number in promise:
        limit = 1024 + 8 * number  # the metrics grow beyond it; run.json and the like are within 4 KiB
        with promise.trial(f"{limit} bytes"):
            run = start(tmp_path, f"r{number}")
            command = [sys.executable, "-m", "tui.cli", "train", "--resume", str(run.path)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
                try:
                    wait_for(run.status_json.exists, process)
                    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                    wait_for(partial(says, run, "paused"), process)
                    assert "file too large" in read_status(run)["message"]
                    resource.prlimit(
                        process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                    )
                    said, _ = process.communicate(timeout=60)
                finally:
                    process.kill()
            assert process.returncode == 0, said
            told = [line for line in said.splitlines() if line.endswith("training waits, and goes on by itself")]
            assert len(told) == 1 and "file too large" in told[0], said
            assert Outcome.of(run) == expected


def says(run: RunDir, state: str) -> bool:
    return bool(read_status(run)["state"] == state)


def wait_for(test: Callable[[], object], trainer: subprocess.Popen[str] | TrainingHost) -> None:
    end = time.monotonic() + 60
    while not test():
        assert trainer.alive if isinstance(trainer, TrainingHost) else trainer.poll() is None, "it ended"
        assert time.monotonic() < end, "not within a minute"
        time.sleep(0.005)
