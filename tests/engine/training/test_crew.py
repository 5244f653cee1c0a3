"""What a crew does, in one process: as rank 0 of many that are told, and as one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.config import Config
from engine.errors import CheckpointError, ConfigError, TrainingError, UserError
from engine.runs.layout import RunDir
from engine.training import crew as module
from engine.training import step as steps
from engine.training.compile import Compiled
from engine.training.crew import Crew
from engine.training.ranks import LostRankError, Ranks
from engine.training.sharded import Writing, _told_of

from .conftest import flat, tiny_config
from .told import CPU, tokens

NO_ROOM = torch.OutOfMemoryError("out of memory")
CONFIG = ("model.n_layer=1", "train.batch_size=4", "train.grad_accum=2", "train.grad_clip=0.5")


def crew(*sets: str, **how: Any) -> Crew:
    return Crew(tiny_config(*CONFIG, *sets), tokens(), CPU, **how)


class Told(Ranks):
    """A rank of a group in which the others do what they are told, at once and well."""

    def __init__(self, rank: int = 0, size: int = 2) -> None:
        super().__init__(rank, size)
        self.orders: list[Any] = []
        self.others: list[Any] = []
        self.fails: Exception | None = None

    def tell(self, what: str, *numbers: float) -> None:
        self.orders.append((what, *numbers))
        if self.fails is not None:
            raise self.fails

    def broadcast(self, tensor: torch.Tensor) -> None:
        self.orders.append(tuple(tensor.shape))

    def share(self, thing: Any = None) -> Any:
        self.orders.append("share")
        return thing

    def collect(self, thing: Any) -> list[Any]:
        return [thing, *self.others]


def leading(*sets: str, rank: int = 0) -> tuple[Crew, Told]:
    """A crew of one that takes itself for a rank of two."""
    made = crew(*sets)
    told = Told(rank)
    made.ranks = told
    return made, told


def failing(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


# -- orders ------------------------------------------------------------------------------------------------------------


def test_who_leads_tells_the_others_and_who_follows_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in (0, 1):
        made, told = leading(rank=rank)
        made.batches.salt = 3
        did: list[Any] = []
        monkeypatch.setattr(made, "take_step", lambda step, multiplier, did=did: did.append((step, multiplier)))
        made.idle(), made.step(7.0, 0.5, 9.0), made.end()
        assert did == [(7, 0.5)] and type(did[0][0]) is int
        assert told.orders == ([] if rank else [("idle",), ("step", 7.0, 0.5, 3), ("end",)])
        assert made.batches.salt == (9 if rank else 3) and type(made.batches.salt) is int
    alone = crew()
    monkeypatch.setattr(Ranks, "tell", failing(AssertionError("there is nobody")))
    alone.idle(), alone.end(), alone.step(0, 1.0)


def test_all_that_is_told_is_done_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = leading(rank=1)
    orders = iter([("idle", []), ("step", [4.0, 1.0, 2.0]), ("which", [5.0]), ("end", []), ("step", [])])
    did: list[Any] = []
    monkeypatch.setattr(told, "hear", lambda: next(orders), raising=False)
    for name in ("idle", "step", "which"):
        monkeypatch.setattr(made, name, lambda *numbers, name=name: did.append((name, *numbers)))
    made.follow()
    assert did == [("idle",), ("step", 4.0, 1.0, 2.0), ("which", 5.0)]


def test_a_rank_that_is_gone_is_remembered_and_not_told_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = leading()
    told.fails = LostRankError("rank 1 has died")
    assert not made.lost
    with pytest.raises(LostRankError):
        made.idle()
    assert made.lost and told.orders == [("idle",)]
    made.end()
    assert told.orders == [("idle",)]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_without_room_says_so_and_what_would_help(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    made, _ = leading(rank=rank)
    monkeypatch.setattr(made, "take_step", failing(NO_ROOM))
    with pytest.raises(TrainingError) as told:
        made.step(7.0, 1.0)
    assert str(told.value) == (
        f"out of memory at step 8 on rank {rank}; lower train.batch_size and raise train.grad_accum as much, or use "
        "--set train.parallel=fsdp or more processes"
    )
    monkeypatch.setattr(made, "take_step", failing(ValueError("a bug")))
    with pytest.raises(ValueError, match="a bug"):
        made.step(7.0, 1.0)
    alone = crew()
    monkeypatch.setattr(alone, "take_step", failing(NO_ROOM))
    with pytest.raises(torch.OutOfMemoryError):
        alone.step(7.0, 1.0)  # which smaller micro-batches may help


def test_all_are_told_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = leading()
    asked: list[Any] = []
    monkeypatch.setattr(module, "compile_step", lambda *of: asked.append(of) or Compiled(True))
    assert made.compile(3.0) == Compiled(True)
    assert asked == [(made.take_step, 3)] and told.orders == [("compile", 3.0)]


def test_which_batch_it_was_is_asked_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = leading()
    monkeypatch.setattr(made.take_step, "bad_micro_batch", lambda step: (step, 1))
    assert made.which(5.0) == (5, 1) and told.orders == [("which", 5.0)]


@pytest.mark.parametrize("fails", [False, True])
def test_an_evaluation_is_of_the_averaged_weights_and_told_while_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    made, told = leading("train.ema=0.5", "data.val_tokens=64", "train.precision=bf16")
    assert made.optimizer.averaged is not None and not made.evaluating
    for tensor in made.optimizer.averaged.values():
        tensor.fill_(0.25)
    between = bool

    def evaluates(model: Any, *rest: Any) -> str:
        assert made.evaluating and (flat(model) == 0.25).all()
        assert rest == (made.dataset, 16, CPU, "bf16", between, 64, told)
        if fails:
            raise NO_ROOM
        return "found"

    monkeypatch.setattr(module, "evaluate", evaluates)
    if fails:
        with pytest.raises(torch.OutOfMemoryError):
            made.evaluate(between)
    else:
        assert made.evaluate(between) == "found"  # type: ignore[comparison-overlap]
    assert not made.evaluating and told.orders == [("evaluate",)] and not (flat(made.model) == 0.25).all()


# -- weights and state -------------------------------------------------------------------------------------------------


def test_weights_of_a_whole_model_are_asked_of_nobody() -> None:
    made, told = leading("train.ema=0.5")
    weights = made.weights()
    assert told.orders == [] and weights.keys() == dict(made.model.named_parameters()).keys()
    assert weights["wte.weight"] is (made.optimizer.averaged or {})["wte.weight"]
    kinds = {name.partition(".")[0] for name in made.state()}
    assert kinds == {"model", "optimizer", "averaged"}
    assert {name.partition(".")[0] for name in crew().state()} == {"model", "optimizer"}


@pytest.mark.parametrize("rank", [None, 0, 1])
def test_what_was_saved_is_put_into_every_rank(rank: int | None) -> None:
    """Alone it is copied; rank 0 sends it to the others, who have nothing to give."""
    made, told = (crew("train.ema=0.5"), None) if rank is None else leading("train.ema=0.5", rank=rank)
    given = {name: torch.full_like(each, 0.5) for name, each in made.state().items()}
    before = {name: each.clone() for name, each in made.state().items()}
    made.take_step.scaler.scale, made.take_step.scaler.good = 8.0, 3
    made.put(None if rank == 1 else given)
    if rank != 1:
        assert all(torch.equal(each, given[name]) for name, each in made.state().items())
        assert not all(torch.equal(each, before[name]) for name, each in made.state().items())
    if told is not None:
        shapes = [tuple(each.shape) for each in given.values()]
        assert told.orders == [*([] if rank else [("put",)]), *shapes, "share"]
    assert (made.take_step.scaler.scale, made.take_step.scaler.good) == (8.0, 3)


def test_a_model_like_it_is_whole_and_at_rest() -> None:
    made = crew("model.dropout=0.5")
    other = made.build()
    assert not other.training and made.model.training and other.config == made.config.model
    assert {name: each.shape for name, each in other.named_parameters()} == {
        name: each.shape for name, each in made.model.named_parameters()
    }


def test_weights_are_drawn_from_the_seed_however_large() -> None:
    one, again, other, huge = (crew(f"train.seed={seed}") for seed in (5, 5, 6, 2**63 - 1))
    assert torch.equal(flat(one.model), flat(again.model)) and not torch.equal(flat(one.model), flat(other.model))
    assert not torch.equal(flat(one.model), flat(huge.model))
    with pytest.raises(ConfigError, match="8 sequences a step"):
        Crew(tiny_config(*CONFIG), tokens(), CPU, Ranks(0, 3))


def test_a_run_of_one_is_never_parted() -> None:
    made = crew(parallel="fsdp")
    assert (made.parallel, made.sharded, made._group, made.writing, made.lost) == ("fsdp", False, None, None, False)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_model_is_parted_where_that_was_chosen(monkeypatch: pytest.MonkeyPatch, parallel: str, drawn: bool) -> None:
    """Then nobody draws the whole of it, and who saves it has a group of its own."""
    did: list[str] = []
    monkeypatch.setattr(steps, "_replicated", lambda take_step: did.append("replicated"))
    monkeypatch.setattr(module, "shard", lambda model, device, ranks, precision: did.append("parted"))
    monkeypatch.setattr(module, "draw_weights", lambda model, generator: did.append("drawn"))
    monkeypatch.setattr(module, "_group_for_saving", lambda: "a group")
    told = Told()
    made = crew(ranks=told, parallel=parallel, drawn=drawn)
    assert made.model.training and (made.parallel, made.sharded) == (parallel, parallel == "fsdp")
    if parallel == "ddp":
        assert did == ["replicated"] and made._group is None
        assert not drawn or torch.equal(flat(made.model), flat(crew().model))
        return
    assert did == ["parted", *(["drawn"] if drawn else []), "replicated"] and made._group == "a group"
    named = dict(made.model.named_parameters())
    for weight in named.values():  # nobody has drawn them: what lay there may be NaN, which is equal to nothing
        torch.nn.init.ones_(weight)
    for told.rank in (0, 1):  # whole, and in the memory of the host, with rank 0 alone
        told.orders.clear()
        weights = made.weights()
        assert told.orders == ([] if told.rank else [("weights",)])
        assert weights.keys() == (set() if told.rank else named.keys())
        assert all(torch.equal(each, named[name]) for name, each in weights.items())


# -- parts of a checkpoint ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "problem"),
    [
        ([({"b": "2"}, "")], ""),
        ([({}, "no room"), ({"c": "3"}, "quota")], "no room"),
    ],
)
def test_what_all_wrote_is_told_by_name(others: list[Any], problem: str) -> None:
    made, told = leading()
    told.others = others
    waited: list[bool] = []
    made.writing = SimpleNamespace(sums={"a": "1"}, problem="", wait=lambda: waited.append(True))  # type: ignore[assignment]
    sums, why = made.settle()
    assert sums == {"a": "1"} | {name: each for part, _ in others for name, each in part.items()}
    assert why == problem and waited == [True] and made.writing is None and told.orders == [("settle",)]


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("how", ["well", "a rank has no room", "rank 0 has no room"])
def test_a_checkpoint_in_parts_stands_when_all_its_parts_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, gone: bool
) -> None:
    made, run = crew(), RunDir(tmp_path)
    folder = tmp_path / "begun"
    contents: Any = SimpleNamespace(step=4)
    monkeypatch.setattr(module, "begin_checkpoint", lambda run, step: folder if step == 4 else None)
    monkeypatch.setattr(made, "save", lambda where: where.mkdir())
    made.begin_checkpoint(run, contents)
    assert folder.is_dir()
    finished: list[Any] = []

    def finish(*what: Any) -> None:
        if how == "rank 0 has no room":
            raise UserError("no room here")
        finished.append(what)

    monkeypatch.setattr(module, "finish_checkpoint", finish)
    monkeypatch.setattr(made, "settle", lambda: ({"a": "1"}, "no room there" if how == "a rank has no room" else ""))
    if gone:
        folder.rmdir()
    found, why = made.end_checkpoint(run)
    said = {
        "a rank has no room": f"cannot write {run.checkpoint(4)}: no room there",
        "rank 0 has no room": "no room here",
    }
    assert found is contents and why == said.get(how, "") and made._under_way is None
    assert finished == ([(run, folder, contents, {"a": "1"})] if how == "well" else [])
    assert folder.is_dir() is (how != "a rank has no room" and not gone)


class Future:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def result(self) -> None:
        if self.error is not None:
            raise self.error


def caused(by: Exception) -> Exception:
    error = RuntimeError("of many layers")
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (caused(OSError(28, "No space left on device")), "[Errno 28] No space left on device"),
        (ValueError("one\n  two \n\n"), "two"),
        (ValueError(" \n "), "ValueError"),
        (caused(KeyError()), "KeyError"),
        (ValueError("x" * 201), "x" * 200),
    ],
)
def test_why_a_part_is_not_written_is_told_in_one_line(tmp_path: Path, error: Exception, problem: str) -> None:
    writing = Writing.__new__(Writing)
    writing.folder, writing.file, writing.sums, writing.problem = tmp_path, tmp_path / "part", {}, ""
    writing._future = Future(error)
    writing._finish()
    assert (writing.problem, writing.sums) == (problem, {})
    writing.problem, writing._future = "", Future()
    writing._finish()
    assert (writing.problem, writing.sums) == ("", {}), "a rank without a part writes none"
    writing.file.write_bytes(b"abc")
    writing._finish()
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (writing.problem, writing.sums) == ("", {"part": abc})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (caused(OSError(5, "Input/output\n error")), "[Errno 5] Input/output error"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 201), "x" * 200),
    ],
)
def test_why_parts_cannot_be_read_is_told_in_one_line(tmp_path: Path, error: Exception, said: str) -> None:
    with pytest.raises(CheckpointError) as told, _told_of(tmp_path):
        raise error
    assert str(told.value) == f"checkpoint {tmp_path} cannot be used: {said}"


# -- what the other ranks do from beginning to end ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, None),
        (UserError("the corpus has changed"), "the corpus has changed"),
        (ValueError("a bug"), "ValueError: a bug"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
    ],
)
def test_a_rank_leaves_word_of_why_it_ends(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, said: str | None
) -> None:
    ended: list[Any] = []
    job: Any = SimpleNamespace(
        device="auto", config=tiny_config(), run=Path("run"), corpora_dir=None, tokenizer={}, drawn=True, parallel="ddp"
    )
    fake = SimpleNamespace(
        share=lambda: job,
        device_name=lambda name: "cpu" if name == "auto" else name,
        introduce=lambda device: ended.append(("introduced", device)),
        say_the_end=lambda line: ended.append(("end", line)),
        leave=lambda: ended.append("left"),
    )

    class Follows:
        def __init__(self, config: Config, dataset: Any, device: Any, ranks: Any, drawn: bool, parallel: str) -> None:
            assert (config, dataset, str(device), ranks, drawn, parallel) == (
                job.config,
                "text",
                "cpu",
                fake,
                True,
                "ddp",
            )

        def follow(self) -> None:
            if error is not None:
                raise error

    monkeypatch.setattr(Ranks, "join", lambda: fake)
    monkeypatch.setattr(module, "tokenizer_from_dict", lambda tree: "tokenizer")
    monkeypatch.setattr(
        module, "open_dataset", lambda run, corpora, tokenizer: "text" if tokenizer == "tokenizer" else None
    )
    monkeypatch.setattr(module, "Crew", Follows)
    if error is None:
        module.follow()
        assert ended == [("introduced", "cpu"), "left"]
        return
    with pytest.raises(type(error)):
        module.follow()
    assert ended == [("introduced", "cpu"), ("end", said)]
