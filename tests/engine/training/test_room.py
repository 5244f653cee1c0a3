"""Who has room for what: parts of a step, parts of a model, micro-batches, and what is done when there is none."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.errors import ConfigError, TrainingError
from engine.training import memory, shortage
from engine.training.memory import check_memory, check_shares, choose_parallel, memory_estimate, micro_batch, part_of
from engine.training.shortage import MicroBatchTooLargeError, free_memory, in_room, smaller_batch

from .conftest import tiny_config

NO_ROOM = torch.OutOfMemoryError("out of memory")
NO_MICRO = MicroBatchTooLargeError()


@pytest.mark.parametrize(
    ("size", "share", "found"), [(4, 12, 4), (5, 12, 4), (7, 12, 6), (1, 5, 1), (9, 5, 5), (4, 7, 1), (12, 12, 12)]
)
def test_a_micro_batch_parts_a_share_evenly(size: int, share: int, found: int) -> None:
    assert micro_batch(size, share) == found


@pytest.mark.parametrize(
    ("size", "micros", "ranks", "try_size"),
    [(2, 1, 5, 1), (12, 1, 5, 2), (4, 3, 5, 2), (7, 2, 4, 4), (9, 1, 2, 4), (11, 1, 2, 6), (3, 7, 4, 5)],
)
def test_the_nearest_number_of_sequences_is_proposed(size: int, micros: int, ranks: int, try_size: int) -> None:
    config = tiny_config(f"train.batch_size={size}", f"train.grad_accum={micros}")
    with pytest.raises(ConfigError) as told:
        check_shares(config, ranks)
    assert str(told.value) == (
        f"{size * micros} sequences a step (train.batch_size {size} x train.grad_accum {micros}) cannot be parted "
        f"evenly among {ranks} processes; try --set train.batch_size={try_size} --set train.grad_accum={ranks}"
    )
    check_shares(tiny_config(f"train.batch_size={try_size}", f"train.grad_accum={ranks}"), ranks)
    check_shares(config, 1)


@pytest.mark.parametrize("gpu", [False, True])
def test_a_model_is_parted_when_it_takes_over_seven_tenths(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    """Of each GPU, or of a rank's share of the machine."""
    monkeypatch.setattr(memory, "whole_memory", lambda device: pytest.fail("that is known"))
    config = tiny_config("train.batch_size=64")
    need = memory_estimate(config, 65, gpu)
    edge = math.ceil((sum(need.values()) - need["activations"]) / 0.7)
    for each, found in ((edge + 1, "ddp"), (edge - 2, "fsdp")):
        whole = (each if gpu else 3 * each, gpu)
        assert choose_parallel(config, 65, "auto", 3, whole) == found
        assert choose_parallel(config, 65, "auto", 1, whole) == ""
    fsdp = config.replace({"train.parallel": "fsdp"})
    assert choose_parallel(fsdp, 65, "auto", 3, (10**15, gpu)) == "fsdp"
    assert choose_parallel(config, 65, "auto", 3, (None, gpu)) == "ddp"


@pytest.mark.parametrize(
    ("gpu", "ranks", "batch", "parts", "of"),
    [(False, 1, 64, 1, 64), (True, 1, 64, 1, 1), (True, 4, 64, 4, 1), (False, 4, 64, 1, 64)],
)
def test_what_cannot_be_squeezed_in_is_refused(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, ranks: int, batch: int, parts: int, of: int
) -> None:
    """More than twice the whole memory: on a GPU with single sequences, and with a rank's part of the model."""
    config = tiny_config(f"train.batch_size={batch}", "model.block_size=1024", "train.parallel=fsdp")
    total = sum(memory_estimate(config.replace({"train.batch_size": of}), 65, gpu, parts).values())
    for whole, fits in ((-(-total // 2), True), (total // 2 - 1, False), (None, True)):
        monkeypatch.setattr(memory, "whole_memory", lambda device, whole=whole: (whole, gpu))
        if fits:
            check_memory(config, 65, "auto", ranks)
        else:
            where = "the GPU" if gpu else "this machine"
            with pytest.raises(ConfigError, match=rf"{where} has .*; lower train\.batch_size \(and raise"):
                check_memory(config, 65, "auto", ranks)
    monkeypatch.setattr(memory, "whole_memory", lambda device: (1000, gpu))
    with pytest.raises(ConfigError, match=r"; lower model\.n_embd, model\.n_layer or the vocabulary$"):
        check_memory(config, 65, "auto", ranks)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("blocks.0.attn.qkv.weight", "attention"),
        ("blocks.11.mlp.fc.weight", "mlp"),
        ("blocks.0.norm1.weight", "norms"),
        ("norm_f", "norms"),
        ("wte.weight", "embedding"),
        ("wpe.weight", "embedding"),
        ("before.weight", "embedding"),
        ("head.weight", "head"),
        ("blocks.0", "other"),
        ("blocks.0.head", "other"),
        ("", "other"),
    ],
)
def test_a_part_is_known_by_its_name(name: str, part: str) -> None:
    assert part_of(name) == part


# -- when there is none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "micros", "found"),
    [(1, 1, None), (1, 4, None), (2, 1, (1, 2)), (3, 1, (1, 3)), (9, 2, (3, 6)), (6, 1, (3, 2)), (7, 3, (1, 21))],
)
def test_a_smaller_micro_batch_is_the_largest_that_parts_it(
    size: int, micros: int, found: tuple[int, int] | None
) -> None:
    made = smaller_batch(tiny_config(f"train.batch_size={size}", f"train.grad_accum={micros}"))
    assert (None if made is None else (made.train.batch_size, made.train.grad_accum)) == found


class Short:
    """A trainer of which `ends` tells how its tries at a step end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ends: Any, compiled: bool = False) -> None:
        self.ends, self.did = list(ends), list[Any]()
        monkeypatch.setattr(shortage, "free_memory", lambda: self.did.append("freed"))
        self.trainer: Any = SimpleNamespace(
            step=7,
            config=tiny_config("train.batch_size=4", "train.grad_accum=3"),
            model=SimpleNamespace(loss="plain"),
            take_step=SimpleNamespace(loss_function="compiled" if compiled else "plain", shrink=self.shrink),
            writer=SimpleNamespace(
                event=lambda kind, step, **fields: self.did.append((kind, step, fields)),
                describe=lambda config: self.did.append(config["train"]["batch_size"]),
            ),
        )

    def shrink(self, config: Any) -> None:
        assert self.trainer.config is config
        self.did.append("shrunk")

    def take(self) -> Any:
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end


def told(size: int, micros: int, more: str = "") -> list[Any]:
    message = f"out of memory: micro-batch {size} x {micros} instead, the global batch is the same{more}"
    return ["shrunk", ("alarm", 7, {"alarm": "memory", "message": message}), size]


FREED = ["freed"]


@pytest.mark.parametrize(
    ("ends", "did"),
    [
        (("done",), []),
        ((NO_MICRO, "done"), FREED),
        ((NO_ROOM, "done"), FREED),
        ((NO_MICRO, NO_MICRO, "done"), [*FREED, *told(2, 6), *FREED]),
        ((NO_ROOM, NO_MICRO, "done"), [*FREED, *FREED]),
        ((NO_MICRO, NO_ROOM, NO_MICRO, "done"), [*FREED, *FREED, *told(2, 6), *FREED]),
        ((NO_MICRO, NO_MICRO, NO_MICRO, "done"), [*FREED, *told(2, 6), *FREED, *told(1, 12), *FREED]),
    ],
)
def test_first_what_nobody_needs_is_given_back_then_the_micro_batch_is_parted(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[Any, ...], did: list[Any]
) -> None:
    short = Short(monkeypatch, *ends)
    assert in_room(short.trainer, short.take) == "done" and short.did == did  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((NO_ROOM, NO_ROOM), "out of memory in the update of step 8; end what else needs memory, resume"),
        ((NO_ROOM, NO_MICRO, NO_ROOM), "out of memory in the update of step 8; end what else needs memory, resume"),
        (
            (NO_MICRO,) * 4,
            "out of memory at step 8 with a micro-batch of one sequence; "
            "lower model.block_size, model.n_embd or model.n_layer in a new run",
        ),
    ],
)
def test_when_nothing_helps_it_is_told(monkeypatch: pytest.MonkeyPatch, ends: tuple[Any, ...], said: str) -> None:
    short = Short(monkeypatch, *ends)
    with pytest.raises(TrainingError) as error:
        in_room(short.trainer, short.take)
    assert str(error.value) == said and short.ends == []
    short = Short(monkeypatch, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        in_room(short.trainer, short.take)
    assert short.did == []


def test_what_was_compiled_is_compiled_again_by_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    short = Short(monkeypatch, NO_MICRO, NO_MICRO, "done", compiled=True)
    in_room(short.trainer, short.take)
    assert short.did == [*FREED, *told(2, 6, "; not compiled for it, a resume compiles again"), *FREED]


@pytest.mark.parametrize("gpu", [False, True])
def test_what_nobody_uses_is_given_back(monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    did: list[str] = []
    monkeypatch.setattr(shortage.gc, "collect", lambda: did.append("collected"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: did.append("emptied"))
    free_memory()
    assert did == ["collected", "emptied"][: 1 + gpu]
