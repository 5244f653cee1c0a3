"""Interrupted and uninterrupted training are the same training, bit for bit."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from engine.control import CommandQueue
from engine.errors import CheckpointError
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.writer import RunWriter
from engine.training import state
from engine.training.checkpoint import load_checkpoint
from engine.training.host import TrainingHost
from engine.training.start import resume_run
from engine.training.trainer import Trainer
from engine.training.verify import verify_checkpoint

from .conftest import train

VARIANTS = {
    "nano": ("nano", ()),
    "dropout": ("nanogpt-char-cpu", ("model.dropout=0.2", "train.grad_accum=2")),
    "ema": ("nano", ("train.ema=0.9", "model.dropout=0.1")),
    "bf16": ("nano", ("train.precision=bf16",)),
}


def hashes(run: RunDir) -> dict[int, tuple[str, str]]:
    """SHA-256 of weights and optimizer state by step."""
    import hashlib

    return {
        step: tuple(  # type: ignore[misc]
            hashlib.sha256((run.checkpoint(step) / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "optimizer.safetensors")
        )
        for step in run.checkpoint_steps()
    }


def stop_at(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Whoever trains is told to stop after each of these steps, as by a person."""
    left = list(steps)
    plain = Trainer._one_step

    def one_step(self: Trainer) -> None:
        plain(self)
        if left and self.step == left[0]:
            left.pop(0)
            self.commands.put({"do": "stop"})

    monkeypatch.setattr(Trainer, "_one_step", one_step)


@pytest.mark.parametrize("variant", VARIANTS)
def test_chained_resumes_equal_one_run(
    variant: str, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    preset, sets = VARIANTS[variant]
    whole, parts = start("whole", *sets, preset=preset), start("parts", *sets, preset=preset)
    assert train(whole).state == "finished"
    stop_at(monkeypatch, 3, 7)
    assert train(parts).state == "stopped"
    torch.manual_seed(999)  # another process would have another global state
    assert train(resume_run(parts)).state == "stopped"
    assert train(resume_run(parts)).state == "finished"

    expected, found = hashes(whole), hashes(parts)
    assert {3, 7} <= found.keys()
    for step in expected:
        assert found[step] == expected[step], f"step {step} differs"
    a, b = RunReader(whole), RunReader(parts)
    a.poll(), b.poll()
    np.testing.assert_array_equal(a.series.loss, b.series.loss)
    np.testing.assert_array_equal(a.series.val_loss, b.series.val_loss)


def test_every_step_has_the_same_weights(start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    every = ("train.checkpoint_every=1", "model.dropout=0.1", "train.sample_tokens=0")
    whole, parts = start("whole", *every), start("parts", *every)
    train(whole)
    stop_at(monkeypatch, *range(1, 12))
    for _ in range(12):
        train(resume_run(parts))
    assert hashes(whole) == hashes(parts)
    assert sorted(hashes(whole)) == list(range(1, 13))


def test_a_killed_run_goes_on_from_its_last_checkpoint(start: Callable[..., RunDir]) -> None:
    whole, killed = start("whole"), start("killed")
    train(whole)
    train(killed)
    for step in (12, 8):  # as if the process had died after step 4
        for file in killed.checkpoint(step).iterdir():
            file.unlink()
        killed.checkpoint(step).rmdir()
    killed.status_json.unlink()
    assert train(resume_run(killed)).state == "finished"
    assert hashes(killed)[12] == hashes(whole)[12]
    reader = RunReader(killed)
    reader.poll()
    assert reader.series.step.tolist() == list(range(1, 13))


def test_a_damaged_checkpoint_is_passed_over(start: Callable[..., RunDir]) -> None:
    whole, hurt = start("whole"), start("hurt")
    train(whole)
    train(hurt)
    weights = hurt.checkpoint(12) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 4  # one flipped bit: safetensors alone would load it
    weights.write_bytes(data)
    found = verify_checkpoint(hurt.checkpoint(12))
    assert not found.ok and "model.safetensors is damaged" in found.problem
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_checkpoint(hurt.checkpoint(12))
    hurt.status_json.unlink()
    assert train(resume_run(hurt)).state == "finished"
    assert hashes(hurt)[12] == hashes(whole)[12]
    reader = RunReader(hurt)
    reader.poll()
    alarms = [event for event in reader.events if event["kind"] == "alarm"]
    assert any("damaged" in event["message"] for event in alarms)


def test_longer_than_first_planned(start: Callable[..., RunDir]) -> None:
    run = start("longer", "train.schedule=constant", "train.warmup_steps=0")
    whole = start("whole", "train.schedule=constant", "train.warmup_steps=0", "train.max_steps=16")
    train(run)
    train(whole)
    assert train(resume_run(run, max_steps=16)).state == "finished"
    assert hashes(run)[16] == hashes(whole)[16]


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_after_a_roll_back_a_stop_and_a_resume_the_batches_are_those_of_one_run(
    stop: int, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped right at the checkpoint it went back to, or so many steps after it."""
    from engine.training.step import Result, TrainStep

    sets = ("train.spike_rollback=2.0", "train.checkpoint_every=100", "train.eval_every=100", "model.dropout=0.1")
    whole, parts = start("whole", *sets), start("parts", *sets)
    plain, once = TrainStep.__call__, Trainer._one_step
    spiked: list[Trainer] = []

    def call(self: TrainStep, step: int, multiplier: float) -> Result:
        result = plain(self, step, multiplier)
        return result._replace(loss=50 * result.loss) if step == 9 and not spiked else result

    def one_step(self: Trainer) -> None:
        rollbacks = self.rollbacks
        once(self)
        if self.step == 7:
            self.commands.put({"do": "checkpoint"})  # of a step at which nothing else is due
        if self.rollbacks > rollbacks:
            spiked.append(self)
        if self.writer.run.name == "parts" and spiked == [self] and self.step == 7 + stop:
            assert self.rollbacks == 1 and rollbacks <= 1
            self.commands.put({"do": "stop"})

    monkeypatch.setattr(TrainStep, "__call__", call)
    monkeypatch.setattr(Trainer, "_one_step", one_step)
    assert train(whole).state == "finished"
    spiked.clear()
    assert train(parts).state == "stopped"
    assert parts.checkpoint_steps()[-1] == 7 + stop
    assert train(resume_run(parts)).state == "finished"
    assert hashes(parts)[12] == hashes(whole)[12]
    a, b = RunReader(whole), RunReader(parts)
    a.poll(), b.poll()
    np.testing.assert_array_equal(a.series.loss, b.series.loss)
    assert load_checkpoint(parts.checkpoint(12)).state["rollbacks"] == 1


def test_a_rate_set_right_before_a_stop_is_kept(start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the checkpoint of that step stands already, with the rate before."""
    whole, parts = start("whole", "train.schedule=constant"), start("parts", "train.schedule=constant")
    plain = Trainer._keep_up

    def keep_up(self: Trainer) -> None:
        plain(self)
        if self.step == 8:
            assert self.checkpoint_step == 8
            self.commands.put({"do": "learning_rate", "value": 0.001})
            if self.writer.run.name == "parts":
                self.commands.put({"do": "stop"})

    monkeypatch.setattr(Trainer, "_keep_up", keep_up)
    assert train(whole).state == "finished"
    assert train(parts).state == "stopped"
    assert train(resume_run(parts)).state == "finished"
    assert hashes(parts)[12] == hashes(whole)[12]


def test_what_differs_on_resume_is_named(start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("moved")
    stop_at(monkeypatch, 5)
    train(run)
    real = state.environment
    monkeypatch.setattr(state, "environment", lambda trainer: {**real(trainer), "threads": 64})
    train(resume_run(run))
    reader = RunReader(run)
    reader.poll()
    warnings = next(event["warnings"] for event in reader.events if event["kind"] == "resumed")
    assert len(warnings) == 1 and "threads" in warnings[0] and "64" in warnings[0]


def test_prompting_live_weights_changes_nothing(start: Callable[..., RunDir]) -> None:
    from engine.control import ControlClient

    sets = ("model.dropout=0.1", "train.max_steps=60", "train.checkpoint_every=30", "train.eval_every=60")
    quiet, prompted = start("quiet", *sets), start("prompted", *sets)
    train(quiet)
    host = TrainingHost(prompted, device="cpu")
    host.commands.put({"do": "pause"})  # so that training cannot be over before the first prompt comes
    host.start()
    client = ControlClient(prompted)
    answers = []
    for attempt in range(4):
        while True:
            try:
                lines = list(client.prompt("a cat ", {"max_tokens": 20, "seed": 5}))
                break
            except Exception:
                assert host.alive, host.error
        answers.append(lines)
        if attempt == 0:
            host.commands.put({"do": "resume"})
        if not host.alive:
            break
    host.join(60)
    assert host.state == "finished"
    done = answers[0][-1]["done"]
    assert done["tokens"] == 20 and done["step"] == 0 and done["seed"] == 5
    assert hashes(quiet) == hashes(prompted)


def test_commands_are_carried_out_and_recorded(start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("commanded", "train.schedule=constant")
    plain = Trainer._one_step
    queue: list[tuple[int, dict[str, object]]] = [
        (2, {"do": "learning_rate", "value": 0.004}),
        (5, {"do": "checkpoint"}),
        (7, {"do": "sample"}),
    ]

    def one_step(self: Trainer) -> None:
        plain(self)
        while queue and queue[0][0] == self.step:
            self.commands.put(queue.pop(0)[1])

    monkeypatch.setattr(Trainer, "_one_step", one_step)
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    assert reader.series.lr.tolist() == pytest.approx([0.015] * 2 + [0.004] * 10)
    kinds = [(event["step"], event["kind"]) for event in reader.events]
    assert (2, "learning_rate") in kinds and (5, "checkpoint") in kinds
    assert 7 in [sample["step"] for sample in reader.samples]


def test_queue_is_not_lost_between_runs() -> None:
    queue = CommandQueue()
    queue.put({"do": "pause"})
    queue.put({"do": "resume"})
    assert [command["do"] for command in queue.drain()] == ["pause", "resume"]
    assert queue.drain() == []


def test_a_full_disk_pauses_training_until_there_is_room(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, crowded = start("whole"), start("crowded")
    train(whole)
    real, refusals, states = state.write_checkpoint, [3], []
    say, said = RunWriter.status, []

    def status(self: RunWriter, **fields: Any) -> bool:
        said.extend([(fields["state"], fields["message"])] if "state" in fields and "message" in fields else [])
        return say(self, **fields)

    def write(run: RunDir, contents: object) -> object:
        if refusals[0]:
            refusals[0] -= 1
            states.append(run)
            raise CheckpointError("cannot write runs/crowded: no space left on device")
        return real(run, contents)  # type: ignore[arg-type]

    monkeypatch.setattr(state, "write_checkpoint", write)
    monkeypatch.setattr(RunWriter, "status", status)
    monkeypatch.setattr(state, "DISK_RETRY_SECONDS", 0.05)
    assert train(crowded).state == "finished"
    assert len(states) == 3
    waits = "cannot write runs/crowded: no space left on device; training waits, and goes on by itself"
    assert said == [*[("paused", waits)] * 3, ("running", "")]
    events = [json.loads(line) for line in crowded.events.read_text().splitlines()]
    assert [event["message"] for event in events if event["kind"] == "waited"] == [
        "cannot write runs/crowded: no space left on device"
    ]
    assert hashes(crowded) == hashes(whole)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_checkpoint_that_cannot_be_written_is_one_clean_line(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    from engine.training import saving

    run = start("crowded", "train.max_steps=4")
    train(run)
    loaded = load_checkpoint(run.checkpoint(4))
    contents = saving.Contents(5, loaded.config, loaded.weights, loaded.optimizer, {}, loaded.tokenizer)

    def write_tensors(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(saving, "write_tensors", write_tensors)
    with pytest.raises(CheckpointError) as caught:
        saving.write_checkpoint(run, contents)
    words = f"cannot write {run.checkpoint(5)}: {os.strerror(number).lower()}"
    assert str(caught.value).lower().startswith(words.lower()) and "\n" not in str(caught.value)
    assert run.checkpoint_steps()[-1] == 4 and not list(run.checkpoints.glob(".*"))


def test_time_is_what_steps_and_evaluations_took_and_goes_on_in_a_resume(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("timed", "train.eval_every=4", "train.sample_tokens=0")
    spent = dict.fromkeys(("_one_step", "evaluate"), 0.0)

    def timed(name: str) -> None:
        plain = getattr(Trainer, name)

        def method(self: Trainer) -> Any:
            began = time.perf_counter()
            try:
                return plain(self)
            finally:
                spent[name] += time.perf_counter() - began

        monkeypatch.setattr(Trainer, name, method)

    for name in spent:
        timed(name)
    assert train(run).state == "finished"
    assert train(resume_run(run, max_steps=16)).state == "finished"
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    steps = [line["time_s"] for line in lines if "loss" in line]
    assert len(steps) == 16 and steps == sorted(steps) and steps[0] > 0
    assert 0.5 * spent["_one_step"] <= steps[-1] <= spent["_one_step"] + 0.01
    status = json.loads(run.status_json.read_text())
    assert status["train_seconds"] == pytest.approx(steps[-1], abs=0.002)
    assert status["eval_seconds"] == pytest.approx(sum(line.get("eval_s", 0) for line in lines), abs=0.002)
    assert 0 < status["eval_seconds"] <= spent["evaluate"]
