"""What is watched for, against the same told in lists."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.training.watch import Watch


class Told:
    """All losses there were, and what follows from them, reckoned anew each time."""

    def __init__(self) -> None:
        self.running: float | None = None
        self.since: list[float] = []
        self.evaluations: list[tuple[float, float | None, float | None]] = []
        self.best: int | None = None

    def trained(self, loss: float) -> None:
        self.since.append(loss)
        self.running = loss if self.running is None else 0.98 * self.running + (1.0 - 0.98) * loss

    def evaluated(self, loss: float) -> None:
        self.evaluations.append((loss, sum(self.since) / len(self.since) if self.since else None, self.running))
        self.since = []
        if math.isfinite(loss) and (self.best is None or loss < self.evaluations[self.best][0]):
            self.best = len(self.evaluations) - 1

    def overfits(self, tokens: int) -> bool:
        """By the last evaluation."""
        loss, mean, running = self.evaluations[-1]
        if self.best is None or self.best == len(self.evaluations) - 1 or not math.isfinite(loss):
            return False
        best, best_mean, best_running = self.evaluations[self.best]
        if mean is None or best_mean is None or running is None or best_running is None:
            return False
        noise = max(4 * loss / math.sqrt(tokens), 0.02 * best)
        return mean < best_mean and running < best_running and loss - best > noise


LOSSES = st.one_of(st.sampled_from([0.5, 1.0, 1.0, 1.01, 1.03, 1.2, 2.0]), st.floats(0.25, 4))
VALIDATED = st.one_of(LOSSES, st.sampled_from([math.nan, math.inf]))


@given(st.lists(st.tuples(st.lists(LOSSES, max_size=4), VALIDATED), max_size=12), st.sampled_from([25, 10**4, 10**8]))
def test_a_watch_knows_what_a_list_of_all_would_tell(parts: list[tuple[list[float], float]], tokens: int) -> None:
    watch, told = Watch(), Told()
    for number, (losses, validated) in enumerate(parts):
        for loss in losses:
            watch.trained(loss)
            told.trained(loss)
        assert watch.running == (None if told.running is None else pytest.approx(told.running))
        was = told.best
        better = watch.evaluated(number, validated, tokens)
        told.evaluated(validated)
        assert better == (told.best != was) and watch.best_step == told.best
        assert watch.since_best == (number + 1 if told.best is None else number - told.best)
        if told.best is not None:
            best, mean, running = told.evaluations[told.best]
            assert watch.best_loss == best and watch.running_at_best == (running and pytest.approx(running))
            assert watch.train_at_best == (mean and pytest.approx(mean))
        assert watch.overfits == told.overfits(tokens)
        watch = Watch.from_dict(watch.to_dict())


def test_an_alarm_is_raised_once_until_it_is_better_than_ever() -> None:
    watch = Watch(overfits=True)
    assert watch.alarm() and watch.alarmed and not watch.alarm()
    assert not Watch(overfits=False).alarm() and not Watch(overfits=True, alarmed=True).alarm()
    watch.evaluated(1, 1.0, 100)
    assert watch.to_dict().items() >= {"alarmed": False, "overfits": False}.items()
    assert Watch.from_dict(watch.to_dict() | {"overfits": True}).alarm()


@pytest.mark.parametrize(
    ("since", "patience", "stops"),
    [(0, 0, False), (9, 0, False), (2, 3, False), (3, 3, True), (4, 3, True), (1000, 3, True), (1000, 1000, True)],
)
def test_patience_ends_where_it_was_to_end(since: int, patience: int, stops: bool) -> None:
    assert Watch(since_best=since).should_stop(patience) is stops


@pytest.mark.parametrize(
    ("loss", "running", "factor", "spike"),
    [
        (4.1, 2.0, 2.0, True),
        (4.0, 2.0, 2.0, False),
        (9.0, None, 2.0, False),
        (9.0, 2.0, 0.0, False),
        (1.1, 2.0, 0.5, True),
    ],
)
def test_a_spike_is_above_so_many_times_the_usual(
    loss: float, running: float | None, factor: float, spike: bool
) -> None:
    assert Watch(running=running).is_spike(loss, factor) is spike


@pytest.mark.parametrize("best", [math.nan, math.inf])
def test_a_best_that_is_no_number_was_never_one(best: float) -> None:
    saved = Watch(best_loss=best, best_step=3, since_best=7, running=1.0).to_dict() | {"of_another_version": 1}
    watch = Watch.from_dict(saved)
    assert (watch.best_loss, watch.best_step, watch.since_best, watch.running) == (None, None, 0, 1.0)
    good = Watch.from_dict(saved | {"best_loss": 1.0})
    assert (good.best_loss, good.best_step, good.since_best) == (1.0, 3, 7)
