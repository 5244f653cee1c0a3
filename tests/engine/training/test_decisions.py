"""Small decisions of training, in every case that they can meet."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import TrainConfig
from engine.plan.forecast import occasions
from engine.training import state
from engine.training.saving import fresh_state
from engine.training.schedule import is_evaluated, lr_multiplier
from engine.training.step import step_seed
from engine.training.watch import Watch


@given(
    st.integers(1, 300),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(0, 60),
    st.integers(0, 4),
    st.integers(1, 3),
)
def test_evaluations_and_samples_are_counted_as_training_has_them(
    steps: int, evaluate: int, checkpoint: int, first: int, tokens: int, prompts: int
) -> None:
    train = TrainConfig(
        max_steps=steps,
        eval_every=evaluate,
        checkpoint_every=checkpoint,
        eval_first=first,
        sample_tokens=tokens,
        sample_prompts=("a", "b", "c")[:prompts],
    )
    evaluated = [step for step in range(1, steps + 1) if is_evaluated(step, train)]
    sampled = {*evaluated, *range(checkpoint, steps + 1, checkpoint)}
    assert occasions(train) == (len(evaluated), len(sampled) * prompts if tokens else 0)


@pytest.mark.parametrize("gone", [None, False, True])
@pytest.mark.parametrize("restored", [False, True])
@pytest.mark.parametrize("leaving", [False, True])
@pytest.mark.parametrize("stuck", ["", "no room"])
def test_a_checkpoint_is_made_again_where_it_is_gone_and_training_goes_on(
    tmp_path: Path, gone: bool | None, restored: bool, leaving: bool, stuck: str
) -> None:
    """`gone` is None before the first checkpoint; what is `stuck` cannot be written until training is to end."""
    made: list[bool] = []
    if gone is False:
        (tmp_path / "5").mkdir()
    writer: Any = SimpleNamespace(
        stuck=stuck,
        retry=lambda: stuck,
        restored=restored,
        taken="",
        status=lambda **_: True,
        event=lambda *_, **__: None,
        run=SimpleNamespace(checkpoint=lambda step: tmp_path / str(step)),
    )
    trainer: Any = SimpleNamespace(
        writer=writer,
        checkpoint_step=None if gone is None else 5,
        leaving=leaving or bool(stuck),
        checkpoint=lambda: made.append(True),
        step=7,
        state="running",
    )
    state.settle(trainer)
    assert bool(made) == ((bool(gone) or restored) and not leaving and not stuck)


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("steps", [[], [4, 9]])
@pytest.mark.parametrize("lost", [[], ["metrics since step 3"]])
def test_what_is_lost_is_told(saved: bool, steps: list[int], lost: list[str]) -> None:
    run = SimpleNamespace(checkpoint_steps=lambda: steps)
    writer = SimpleNamespace(unsaved=lambda: lost, run=run)
    trainer: Any = SimpleNamespace(writer=writer, saved=saved, step=12)
    told = [*lost, *([] if saved else ["the checkpoint of step 12"])] or ["the status"]
    last = "the last checkpoint is of step 9" if steps else "there is no checkpoint"
    assert str(state.unsaved(trainer, "no room")) == f"no room; stopped without saving {', '.join(told)}; {last}"


BEFORE = {"learning_rate": 1e-3, "schedule": "cosine", "warmup_steps": 10, "max_steps": 100, "min_learning_rate": 1e-4}


@pytest.mark.parametrize("step", [5, 20, 90])
@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_steps": 300},
        {"max_steps": 60},
        {"learning_rate": 2e-3},
        {"schedule": "linear"},
        {"warmup_steps": 11},
        {"min_learning_rate": 2e-4},
        {"decay_fraction": 0.5},
    ],
)
def test_a_rate_set_by_hand_holds_for_its_schedule(step: int, scale: float, changes: dict[str, Any]) -> None:
    before, train = TrainConfig(**BEFORE), TrainConfig(**{**BEFORE, **changes})
    checkpoint: Any = SimpleNamespace(state={"lr_scale": scale}, config=SimpleNamespace(train=before), step=step)
    trainer: Any = SimpleNamespace(config=SimpleNamespace(train=train))
    found = state._scale_after(trainer, checkpoint)
    if set(changes) - {"max_steps"}:
        assert found == 1.0
        return
    then, now = lr_multiplier(step, before), lr_multiplier(step, train)
    if scale <= 1.0 or now <= then:
        assert found == scale  # a rate that is lowered stays lowered
    else:
        assert found == pytest.approx(max(1.0, scale * then / now)) and found < scale
        assert found * now == pytest.approx(scale * then) or found == 1.0


@pytest.mark.parametrize(
    ("problems", "leaving", "told"),
    [
        ([""], False, []),
        (["no room", ""], False, ["paused", "waited", "running"]),
        (["no room", "quota", ""], False, ["paused", "paused", "waited", "running"]),
        (["no room"], True, []),
        ([""], True, []),
    ],
)
def test_only_what_was_waited_for_is_told(problems: list[str], leaving: bool, told: list[str]) -> None:
    found: list[str] = []
    tries = iter(problems)
    writer = SimpleNamespace(
        taken="", status=lambda state, **_: found.append(state), event=lambda kind, step, **_: found.append(kind)
    )
    commands = SimpleNamespace(wait=lambda seconds: None)
    trainer: Any = SimpleNamespace(
        writer=writer, leaving=leaving, commands=commands, between=lambda: None, step=3, state="running"
    )
    assert state.until(trainer, lambda: next(tries), 0.0) == problems[-1]
    assert found == told


def test_a_steps_dropout_is_the_same_in_every_version() -> None:
    """A run is gone on with by later versions: numbers of SplitMix64, the seed's steps 2**64 over the golden ratio."""
    seeds = [step_seed(seed, step) for seed, step in ((0, 0), (1, 0), (1337, 5), (2**63, 7))]
    assert seeds == [3119036373970289394, 5225608189600411232, 8413480198832612196, 9122085645752321999]


def test_a_run_that_has_not_begun_has_done_nothing() -> None:
    begun = fresh_state()
    watch = Watch.from_dict(begun.pop("watch"))
    assert watch == Watch()
    assert begun.pop("lr_scale") == 1.0 and begun.pop("val_loss") is None and begun.pop("environment") == {}
    assert begun == dict.fromkeys(("tokens", "train_seconds", "eval_seconds", "rollbacks"), 0)
