"""What seldom happens to a training: each in one line, and nothing is lost by it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.control import CommandQueue
from engine.errors import CheckpointError, ConfigError, RunError, TrainingError, UserError
from engine.model import build_for, build_model
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.status import read_config, read_status
from engine.runs.writer import RunWriter
from engine.training import beside, crew, optim, saving, shortage, state, trainer
from engine.training.checkpoint import choose_checkpoint, load_checkpoint
from engine.training.crew import Crew
from engine.training.device import LossScaler, check_precision, choose_device
from engine.training.host import TrainingHost
from engine.training.live import LiveWeights
from engine.training.optim import Optimizer
from engine.training.shortage import MicroBatchTooLargeError
from engine.training.start import open_dataset
from engine.training.step import make_step
from engine.training.trainer import Trainer
from engine.training.verify import newest_tokenizer, verify_checkpoint

from .conftest import tiny_config, train

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
Start = Callable[..., RunDir]
NO_ROOM = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def failing(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    reader = RunReader(run)
    reader.poll()
    return [event for event in reader.events if event["kind"] == kind]


def trainer_of(run: RunDir, writer: RunWriter) -> Trainer:
    config, dataset = read_config(run), open_dataset(run)
    return Trainer(writer, Crew(config, dataset, CPU), CommandQueue(), LiveWeights())


# -- devices -----------------------------------------------------------------------------------------------------------


def test_a_device_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match="no CUDA device here; use --device cpu"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == choose_device("cuda") == choose_device("cuda:0") == GPU
    assert choose_device("cuda:1") == torch.device("cuda", 1) and choose_device("cpu") == CPU
    with pytest.raises(ConfigError, match=r"there is no cuda:2; this machine has 2 CUDA device\(s\)"):
        choose_device("cuda:2")
    for name in ("tpu", "cuda:x", "cuda:-1", "cpu:0"):
        with pytest.raises(ConfigError, match="use auto, cpu, cuda or cuda:0"):
            choose_device(name)


def test_bf16_is_refused_where_the_gpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        check_precision("bf16", CPU), check_precision("fp32", GPU), check_precision("fp16", GPU)
        if has:
            check_precision("bf16", GPU)
        else:
            with pytest.raises(ConfigError, match=r"no bf16; use --set train\.precision=fp16"):
                check_precision("bf16", GPU)


def test_a_scaler_that_is_off_has_no_state() -> None:
    scaler = LossScaler(False)
    scaler.update(False)
    assert scaler.scale == 1.0 and scaler.good == 0 and scaler.tensors() == {} and not scaler.may_help
    scaler.load({"scaler.scale": torch.tensor(7.0), "scaler.good": torch.tensor(7.0)})
    assert scaler.scale == 1.0


def test_a_rung_without_attention_cannot_look_tokens_up() -> None:
    config = tiny_config("model.kind=multi-head").model
    with pytest.raises(ConfigError, match="set embd_window 1"):
        build_model(config, 9)


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_is_not_there_is_said(start: Start, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "step-00000001")
    with pytest.raises(CheckpointError, match="has no checkpoint yet; press c"):
        choose_checkpoint(start("fresh"))


def test_a_checkpoint_that_cannot_be_read_or_is_damaged_is_named(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.training import verify

    run = start("run")
    train(run)
    path = run.checkpoint(12)
    with monkeypatch.context() as patch:
        patch.setattr(verify, "sha256_of", failing(OSError(errno.EIO, "Input/output error")))
        found = verify_checkpoint(path)
        assert not found.ok and found.problem == "it cannot be read: Input/output error" and found.step == 12
    for each in (4, 6, 8, 12):
        (run.checkpoint(each) / "tokenizer.json").write_bytes(b"{}")
    place, problems = newest_tokenizer(run)
    assert place is None and len(problems) == 4 and "step-00000012" in problems[0] and "tokenizer.json" in problems[0]


def test_what_stood_comes_back_when_its_successor_does_not_stand(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("run")
    train(run)
    path, rename = run.checkpoint(12), Path.rename
    before = (path / "manifest.json").read_bytes()

    def renames(self: Path, target: Path) -> Path:
        if target == path and not self.name.startswith(".old-"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", renames)
    (checkpoint := path.with_name("new")).mkdir()
    with pytest.raises(OSError, match="Input/output"):
        saving._put(checkpoint, path)
    assert (path / "manifest.json").read_bytes() == before
    assert not list(run.checkpoints.glob(".old-*"))


def test_what_is_left_of_a_replaced_checkpoint_costs_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("run")
    train(run)
    path = run.checkpoint(12)
    for name in (path.with_name(f".old-{path.name}-{os.getpid()}"), path.with_name("new")):
        name.mkdir()
    rmtree = saving.shutil.rmtree

    def stays(folder: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(errno.EBUSY, "Device or resource busy")
        if not list(folder.glob("manifest.json")):
            rmtree(folder, ignore_errors=True)

    monkeypatch.setattr(saving.shutil, "rmtree", stays)
    (path.with_name("new") / "state.json").write_text("{}")
    saving._put(path.with_name("new"), path)
    assert [each.name for each in path.iterdir()] == ["state.json"]


def test_an_optimizers_state_of_another_is_refused_by_name() -> None:
    config = tiny_config()
    optimizer = Optimizer(build_for(config, 9), config.train)
    tensors = optimizer.tensors()
    first = next(name for name in tensors if name.startswith("adamw."))
    for damaged in (
        {name: tensor for name, tensor in tensors.items() if name != first},
        tensors | {first: torch.zeros(1, 2, 3)},
        tensors | {"adamw.exp_avg.unheard": torch.zeros(1)},
    ):
        with pytest.raises(CheckpointError, match=r"\(adamw\.\S+\) is not that of train\.optimizer muon"):
            optimizer.fits(damaged)
    assert optimizer.fits({**tensors, "scaler.scale": torch.ones(())}) and not optimizer.fits({})


@pytest.mark.parametrize("error", [NO_ROOM, ValueError("no")])
def test_an_update_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """What asks for memory comes before anything is changed."""
    config = tiny_config("train.optimizer=muon", "train.ema=0.5")
    optimizer = Optimizer(build_for(config, 9), config.train)
    before = {name: each.clone() for name, each in (optimizer.weights() | optimizer.tensors()).items()}
    monkeypatch.setattr(optim, "orthogonalize", failing(error))
    with pytest.raises(type(error)):
        optimizer.step(1.0)
    after = optimizer.weights() | optimizer.tensors()
    assert all(torch.equal(after[name], each) for name, each in before.items())


# -- the step and what is around it ------------------------------------------------------------------------------------


def test_micro_batches_that_are_finite_each_by_itself_have_none_to_blame(start: Start) -> None:
    take_step = make_step(tiny_config("train.grad_accum=2"), open_dataset(start("run")), CPU)
    assert take_step.bad_micro_batch(0) is None


def test_an_update_without_room_ends_the_training_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[int] = []
    monkeypatch.setattr(shortage, "free_memory", lambda: freed.append(1))
    one: Any = SimpleNamespace(step=6)
    with pytest.raises(TrainingError, match=r"^out of memory in the update of step 7; end what else needs memory"):
        shortage.in_room(one, failing(NO_ROOM))
    assert freed == [1]
    with pytest.raises(ValueError, match="a bug"):
        shortage.in_room(one, failing(ValueError("a bug")))


def test_a_micro_batch_of_one_that_has_no_room_says_what_would_help() -> None:
    one: Any = SimpleNamespace(step=0, config=tiny_config("train.batch_size=1"))
    with pytest.raises(TrainingError, match=r"out of memory at step 1 with a micro-batch of one sequence; lower model"):
        shortage.in_room(one, failing(MicroBatchTooLargeError()))


@pytest.mark.parametrize("error", [NO_ROOM, UserError("no such character"), ValueError("a bug")])
def test_a_sample_that_fails_fails_alone(start: Start, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    run = start("run")
    monkeypatch.setattr(beside, "generate", failing(error))
    with RunWriter(run) as writer:
        one = trainer_of(run, writer)
        if isinstance(error, ValueError):
            with pytest.raises(ValueError, match="a bug"):
                one.samples.make()
            return
        one.samples.make()
    (alarm,) = events(run, "alarm")
    said = "no memory for a sample; it is left out" if error is NO_ROOM else "no such character"
    assert (alarm["alarm"], alarm["message"]) == ("sample", said)


@pytest.mark.parametrize("what", ["activations_by_part", "evaluate", "write_checkpoint"])
def test_a_bug_is_not_taken_for_a_lack_of_memory(start: Start, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    run = start("run")
    with RunWriter(run) as writer:
        one = trainer_of(run, writer)
        where, call = {
            "activations_by_part": (trainer, one._say_memory),
            "evaluate": (crew, one.evaluate),
            "write_checkpoint": (state, one.checkpoint),
        }[what]
        monkeypatch.setattr(where, what, failing(RuntimeError("a bug")))
        with pytest.raises(RuntimeError, match="a bug"):
            call()
        monkeypatch.setattr(where, what, failing(NO_ROOM))
        if what == "write_checkpoint":
            one.stop = {"do": "stop"}
            with pytest.raises(UserError, match="no memory to write the checkpoint of step 0; stopped without saving"):
                call()
        else:
            call()


def test_a_spike_before_the_first_checkpoint_is_trained_on(start: Start) -> None:
    run = start("run", "train.spike_rollback=2")
    with RunWriter(run) as writer:
        one = trainer_of(run, writer)
        one.watch.trained(1.0)
        assert one._spike(1, 1.5) is False and one._spike(1, 9.0) is False and one.rollbacks == 0


def test_a_run_of_another_that_stands_in_its_place_ends_the_waiting() -> None:
    one: Any = SimpleNamespace(writer=SimpleNamespace(taken="another run was made there"), leaving=False)
    with pytest.raises(RunError, match="another run was made there"):
        state.until(one, lambda: "gone", 1.0)


# -- the thread that trains --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NO_ROOM, "out of memory: the model and its optimizer do not fit; lower model.n_layer or model.n_embd"),
        (ValueError("a\n bug"), "ValueError: a bug"),
        (RunError("is gone"), "is gone"),
    ],
)
def test_whatever_ends_a_training_is_said_in_its_status(
    start: Start, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    run = start("run")
    monkeypatch.setattr("engine.training.trainer.Trainer.run", failing(error))
    host = train(run)
    assert (host.state, host.error) == ("failed", said)
    status = read_status(run)
    assert (status["state"], status["message"], status["problem"]) == ("failed", said, said)
    (event,) = events(run, "error")
    assert event["message"] == said and ("Traceback" in event.get("traceback", "")) is isinstance(error, ValueError)


def test_a_training_that_is_given_up_says_why_and_writes_no_more(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("run")
    host = TrainingHost(run, device="cpu")
    monkeypatch.setattr(host, "_run", lambda: None)
    host._thread = type(host._thread)(target=lambda: None)
    host.start()
    host.give_up("the checkpoint took too long")
    host.join(60)
    status = read_status(run)
    assert status["state"] == "stopped" and status["message"] == status["problem"] == "the checkpoint took too long"
    assert not run.live and status["phase"] == ""


def test_a_socket_that_cannot_be_opened_costs_the_commands_alone(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("run")
    monkeypatch.setattr("engine.control.ControlServer.start", failing(RunError("no socket here")))
    assert train(run).state == "finished"
    assert [each["message"] for each in events(run, "alarm")] == ["no socket here"]


def test_a_loss_that_is_not_finite_and_a_full_disk_are_both_said(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start("run")

    def ends(self: Trainer) -> str:
        self.step = 3
        raise TrainingError("step 4: the loss is nan")

    monkeypatch.setattr(Trainer, "run", ends)
    monkeypatch.setattr(Trainer, "checkpoint", failing(UserError("the disk is full")))
    assert train(run).error == "step 4: the loss is nan; and the disk is full"


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(start: Start) -> None:
    run = start("run")
    train(run)
    for each in run.checkpoint_steps():
        (run.checkpoint(each) / "manifest.json").unlink()
    host = train(run)
    assert host.error is not None and host.error.startswith("no checkpoint of run can be used: checkpoint ")
    assert "step-00000012" in host.error and "manifest.json is missing" in host.error


def test_a_run_is_trained_on_the_device_it_was_made_for(start: Start) -> None:
    run = start("run")
    with RunWriter(run) as writer:
        writer.describe(environment={"device": "cuda:977"})
    host = TrainingHost(run)
    host.start()
    host.join(60)
    assert host.error is not None and ("no CUDA device here" in host.error or "there is no cuda:977" in host.error)
    assert train(run).state == "finished", "but for another that is asked for"


def test_records_before_the_first_checkpoint_are_taken_back(start: Start) -> None:
    run = start("run")
    with RunWriter(run) as writer:
        writer.metric(step=1, loss=9.0)
        writer.metric(step=2, loss=9.0)
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    assert reader.series.step.tolist() == list(range(1, 13)) and 9.0 not in reader.series.loss.tolist()
