"""A rank over NCCL that takes itself for many, on one GPU; over gloo on a CPU: `python -m tests.cuda.group ddp cpu`."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
import torch.distributed as dist

from engine.training.crew import Crew
from engine.training.device import ready_device
from engine.training.evaluate import evaluate

from ..engine.training.group_of_one import Group, crew, trained

SETS = ("train.ema=0.9", "train.grad_accum=2")


def main(parallel: str, name: str) -> None:
    """It trains, evaluates and saves as one alone does, and says what its part of a step took on the device."""
    device = ready_device(name, "fp32")
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    one = crew(*SETS, device=device)
    made = crew(*SETS, device=device, ranks=Group(), parallel=parallel)
    (expected, weights), (found, same) = trained(one), trained(made)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-3)
    torch.testing.assert_close(same.cpu(), weights.cpu(), atol=2e-3, rtol=0)
    (pace,) = made.take_step.pace
    assert 0 < pace.seconds < 60 and pace.memory > 0
    assert made.evaluate().loss == pytest.approx(one.evaluate().loss, rel=1e-4)
    if parallel == "fsdp":
        saved_and_read(made, device)
    made.ranks.leave()


def saved_and_read(made: Crew, device: torch.device) -> None:
    """Written while training goes on, it is of the step at which that began."""
    before = {name: each.detach().clone() for name, each in made.state().items()}
    loss = evaluate(made.model, made.dataset, 16, device, ranks=made.ranks).loss
    with TemporaryDirectory() as folder:
        made.save(Path(folder))
        made.step(3, 1.0)
        sums, problem = made.settle()
        assert sums and not problem
        made.load(Path(folder))
    for name, each in made.state().items():
        torch.testing.assert_close(each, before[name], rtol=0, atol=0)
    assert evaluate(made.model, made.dataset, 16, device, ranks=made.ranks).loss == loss


if __name__ == "__main__":
    main(*sys.argv[1:])
