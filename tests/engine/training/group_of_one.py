"""A group of one, that does all it would with more: run in a process that has loaded what it takes; see `group.py`."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import torch.distributed as dist

from engine.errors import CheckpointError
from engine.model.gpt import GPT
from engine.runs.layout import RunDir
from engine.training import compile as compiling
from engine.training.crew import Crew
from engine.training.ranks import Ranks
from engine.training.saving import Contents, fresh_state
from engine.training.sharded import is_sharded, local, read_sharded, whole
from engine.training.step import LossFunction
from engine.training.verify import verify_checkpoint

from .conftest import flat, tiny_config
from .told import CPU, tokens

CONFIG = ("model.n_layer=1", "train.batch_size=4", "train.grad_accum=2", "train.grad_clip=0.5")


class Group(Ranks):
    """One rank that takes itself for many."""

    alone = False  # type: ignore[assignment]


def joined() -> Group:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return Group()


def crew(*sets: str, device: torch.device = CPU, **how: Any) -> Crew:
    return Crew(tiny_config(*CONFIG, *sets), tokens(), device, **how)


def trained(made: Crew) -> tuple[list[Any], torch.Tensor]:
    found = [made.step(number, 1.0) for number in range(3)]
    return found, torch.cat([each.flatten() for each in made.weights().values()])


def trains_as_one_alone() -> None:
    group = joined()
    expected, weights = trained(crew())
    made = crew(ranks=group, parallel="ddp")
    found, same = trained(made)
    assert found == expected and torch.equal(same, weights)
    (pace,) = made.take_step.pace
    assert 0 < pace.seconds < 60 and pace.memory > 1 << 20 and crew().take_step.pace == []
    replicated = made.take_step.replicated
    assert not replicated.will_sync_module_buffers()
    gradients = [each.grad for each in made.take_step.trained if each.grad is not None]
    assert len({each.untyped_storage().data_ptr() for each in gradients}) < len(gradients), "where they are sent from"
    made.take_step.clear()
    assert all(each.grad is not None and not each.grad.any() for each in made.take_step.trained)
    alone = crew()
    alone.step(0, 1.0)
    alone.take_step.clear()
    assert all(each.grad is None for each in alone.take_step.trained)


def traced(model: GPT, *_: Any) -> LossFunction:
    """Traced and differentiated as for the compiler, in one piece, but run by PyTorch."""
    function: LossFunction = torch.compile(model.loss, backend="aot_eager", fullgraph=True)
    return function


def traced_as_plain() -> None:
    """Alone, where what a compiler needs is loaded."""
    compiling.compile_loss, compiling.WORTH, compiling.TRIAL_SECONDS = traced, 0.0, 0.0
    alone, made = crew(), crew()
    with TemporaryDirectory() as os.environ["TINYTUI_CACHE"]:
        assert made.compile(0.0).on and made.take_step.loss_function != made.model.loss
    for ours, theirs in zip(trained(made)[0], trained(alone)[0], strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-3)


def compiled_by_all_or_none() -> None:
    """Two ranks of a parted model, of which the second has a compiler that fails at its fourth piece."""
    with TemporaryDirectory() as os.environ["TINYTUI_CACHE"]:
        store = dist.FileStore(os.environ["TINYTUI_CACHE"] + "/store", 2)
        rank = 1 if (pid := os.fork()) == 0 else 0
        made: list[int] = []

        def make(self: compiling.Compiler, graph: torch.fx.GraphModule, inputs: Any) -> Any:
            made.append(rank)
            if made == [1] * 4:
                raise RuntimeError("no compiler")
            return graph.forward

        compiling.Compiler.make = make  # type: ignore[method-assign]
        code = 1
        try:
            dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
            parted = crew(ranks=Ranks(rank, 2, rank, store), parallel="fsdp")
            found = compiling.compile_step(parted.take_step, 0)
            assert found == (False, "no compiler") and parted.take_step.loss_function == parted.model.loss
            assert len(made) == 4 if rank else len(made) > 4
            assert math.isfinite(parted.take_step(0, 1.0).loss)
            code = 0
        finally:
            if rank:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0


def parted_as_whole() -> None:
    """Its first weights, its steps, its loss on held-out text; and what it saved it goes on from."""
    with TemporaryDirectory() as folder:
        _parted_as_whole(joined(), Path(folder))


def _half_is_sent_for_the_same_numbers(group: Group) -> None:
    """In bf16 what multiplies in a block is put together as that, and all comes out as with autocast, bit by bit."""
    sets = ("model.norm_weight=true", "model.bias=true", "train.recompute=true", "train.precision=bf16")
    alone, made = crew(*sets), crew(*sets, ranks=group, parallel="fsdp")
    seen: dict[str, set[torch.dtype]] = {}
    for name, module in made.model.named_modules():

        def look(module: torch.nn.Module, _: Any, name: str = name) -> None:
            seen.setdefault(name, set()).update(each.dtype for each in module.parameters(recurse=False))

        module.register_forward_pre_hook(look)
    (expected, weights), (found, same) = trained(alone), trained(made)
    assert [each.loss for each in found] == [each.loss for each in expected]
    torch.testing.assert_close(same, weights, atol=1e-6, rtol=0)
    halves = {name for name, kinds in seen.items() if torch.bfloat16 in kinds}
    assert halves == {f"blocks.0.{each}" for each in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")}
    assert all(kinds <= {torch.float32} or kinds == {torch.bfloat16} for kinds in seen.values())
    assert {each.dtype for each in made.state().values()} == {torch.float32}


def _parted_as_whole(group: Group, folder: Path) -> None:
    sets = ("train.ema=0.5", "data.val_tokens=256")
    alone, made = crew(*sets), crew(*sets, ranks=group, parallel="fsdp")
    assert made.sharded and is_sharded(made.take_step.trained[0]) and not alone.sharded
    first = torch.cat([whole(each).flatten() for each in made.model.parameters()])
    assert torch.equal(first, flat(alone.model))
    expected, weights = trained(alone)
    found, same = trained(made)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5) and ours.grad_norm == pytest.approx(
            theirs.grad_norm, rel=1e-4
        )
    torch.testing.assert_close(same, weights, atol=1e-4, rtol=0)
    assert made.evaluate().loss == pytest.approx(alone.evaluate().loss, rel=1e-5)
    _half_is_sent_for_the_same_numbers(group)
    assert made.model.training and made.which(2.0) is None
    given = {name: torch.full(each.shape, 0.5) for name, each in made.state().items()}
    kept = {name: whole(each).clone() for name, each in made.state().items()}
    run = RunDir(folder)
    run.checkpoints.mkdir()
    contents = Contents(3, made.config, {}, {}, fresh_state(), made.dataset.tokenizer)
    made.begin_checkpoint(run, contents)
    assert made.writing is not None and not run.checkpoint(3).exists()
    assert made.end_checkpoint(run) == (contents, "") and made.writing is None
    assert verify_checkpoint(run.checkpoint(3)).ok
    read = read_sharded(run.checkpoint(3), lambda name: not name.startswith("averaged."))
    assert read.keys() == {name for name in kept if not name.startswith("averaged.")}
    assert all(torch.equal(each, kept[name]) for name, each in read.items())
    made.put(given)
    assert all((local(each) == 0.5).all() for each in made.state().values())
    made.load(run.checkpoint(3))
    assert all(torch.equal(whole(each), kept[name]) for name, each in made.state().items())
    with pytest.raises(CheckpointError, match="cannot be used"):
        made.load(folder / "nowhere")
