"""The training step of one of several ranks: what it tells the others, and what it makes of what they tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.training import step as steps
from engine.training.shortage import MicroBatchTooLargeError
from engine.training.step import TrainStep, make_step, step_seed

from .conftest import tiny_config
from .told import CPU, tokens

CONFIG = ("model.n_layer=1", "train.batch_size=4", "train.grad_accum=2", "train.grad_clip=0.5")


def step_of(*sets: str) -> TrainStep:
    return make_step(tiny_config(*CONFIG, *sets), tokens(), CPU)


def test_a_step_is_the_mean_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    take_step = step_of()
    rows = [[1.0, 3.0, 0.25, 1000.0], [2.0, 4.0, 0.5, 2001.0]]
    asked: list[Any] = []
    take_step._began, take_step._backward_at = 5.0, 5.125
    take_step.ranks = SimpleNamespace(gather=lambda numbers: asked.append(numbers) or rows)  # type: ignore[assignment]
    monkeypatch.setattr(steps, "memory_now", lambda device: 7)
    assert take_step._of_all(1.5, 2.5) == (1.5, 3.0)
    assert asked == [(1.5, 2.5, 0.125, 7)]
    assert take_step.pace == [(0.25, 1000), (0.5, 2001)] and type(take_step.pace[1].memory) is int
    take_step.sharded = True
    assert take_step._of_all(1.5, 2.5) == (1.5, 5.0)


def test_gradients_are_exchanged_with_the_last_micro_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    take_step = step_of("train.batch_size=2", "train.grad_accum=4")
    quiet: list[bool] = [False]
    seen: list[bool] = []

    class Replicated:
        def __call__(self, x: Any, y: Any) -> Any:
            seen.append(quiet[0])
            return take_step.model.loss(x, y)

        def no_sync(self) -> Any:
            @contextmanager
            def silent() -> Iterator[None]:
                quiet[0] = True
                yield
                quiet[0] = False

            return silent()

    take_step.replicated = Replicated()
    take_step.forward_backward(0)
    assert seen == [True, True, True, False]
    seen.clear()
    take_step.bad_micro_batch(0)
    assert seen == [], "each is tried by its own rank alone"


@pytest.mark.parametrize("exchanged", [False, True])
def test_gradients_are_cleared_where_they_lie(exchanged: bool) -> None:
    """Those that are exchanged stay where they are exchanged from; none are there before the first step."""
    take_step = step_of()
    take_step.replicated = "many" if exchanged else None
    take_step.clear()
    assert all(each.grad is None for each in take_step.trained)
    for each in take_step.trained[1:]:
        each.grad = torch.ones_like(each)
    held = [each.grad for each in take_step.trained]
    take_step.clear()
    if exchanged:
        assert all(each.grad is was for each, was in zip(take_step.trained, held, strict=True))
        assert not any(each.any() for each in held[1:] if each is not None)
    else:
        assert all(each.grad is None for each in take_step.trained)


def test_a_micro_batch_without_room_is_no_other_error(monkeypatch: pytest.MonkeyPatch) -> None:
    take_step = step_of()
    for error, found in (
        (torch.OutOfMemoryError("out of memory"), MicroBatchTooLargeError),
        (MemoryError(), MicroBatchTooLargeError),
        (ValueError("a bug"), ValueError),
    ):

        def fails(*_: Any, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(take_step, "micro_batch", fails)
        with pytest.raises(found):
            take_step.forward_backward(0)


def test_the_loss_of_a_step_is_the_sum_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    take_step = step_of("train.batch_size=2", "train.grad_accum=4")
    losses = iter([0.5, 0.25, 2.0, 4.0])
    monkeypatch.setattr(take_step, "micro_batch", lambda *_: torch.tensor(next(losses), dtype=torch.float64))
    take_step._backward_at = 5.0
    loss = take_step.forward_backward(0)
    assert float(loss) == 6.75 and loss.dtype == torch.float32


@pytest.mark.parametrize(
    ("found", "blamed"),
    [([-1.0, -1.0], None), ([-1.0, 0.0], (1, 0)), ([2.0, 0.0], (0, 2)), ([0.0, -1.0], (0, 0))],
)
def test_the_first_rank_with_a_bad_micro_batch_is_blamed(found: list[float], blamed: tuple[int, int] | None) -> None:
    take_step = step_of()
    take_step.ranks = SimpleNamespace(rank=0, gather=lambda numbers: [[each] for each in found])  # type: ignore[assignment]
    assert take_step.bad_micro_batch(0) == blamed


@pytest.mark.parametrize(
    ("bad", "sharded", "told"),
    [((2, 3), False, 1), ((1, 3), False, 0), ((4,), False, 3), ((), False, -1), ((2,), True, -1)],
)
def test_of_a_parted_model_the_loss_alone_tells_which_it_was(bad: tuple[int, ...], sharded: bool, told: int) -> None:
    """Its gradient is that of all ranks."""
    take_step = step_of("train.batch_size=2", "train.grad_accum=4")
    asked: list[Any] = []
    take_step.ranks = SimpleNamespace(rank=0, gather=lambda numbers: asked.append(numbers) or [[-1.0]])  # type: ignore[assignment]
    take_step.sharded = sharded
    plain, made = take_step.micro_batch, []

    def one(*batch: Any) -> Any:
        loss = plain(*batch)
        made.append(loss)
        if len(made) in bad:
            take_step.trained[0].grad = torch.full_like(take_step.trained[0], torch.inf)
        return loss

    take_step.micro_batch = one  # type: ignore[method-assign]
    take_step.bad_micro_batch(0)
    assert asked == [(told,)] and len(made) == 4


def test_a_ranks_dropout_is_the_same_in_every_version() -> None:
    """A run is gone on with by later versions; rank 0 has that of a run of one."""
    seeds = [step_seed(*each) for each in ((0, 0, 1), (1337, 5, 3), (2**63 - 1, 10**6, 7))]
    assert seeds == [5014711291435376941, 3958958859482573631, 4549808001702254580]
    assert step_seed(5, 6) == step_seed(5, 6, 0) != step_seed(5, 6, 1)
