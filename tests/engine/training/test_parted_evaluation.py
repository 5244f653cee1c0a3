"""An evaluation of which each rank does a part: the same number for all, and for any number of them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from engine.errors import TrainingError
from engine.model import build_model
from engine.training import evaluate as module
from engine.training.evaluate import Evaluation, Interrupted, evaluate
from engine.training.ranks import Ranks

from .conftest import tiny_config
from .hands import Hands
from .told import CPU, tokens

MOST = 16 * 37
NO_ROOM = torch.OutOfMemoryError("out of memory")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Batches of two sequences, of which each rank does three until it hears of the others."""
    vocab_size = tokens().tokenizer.vocab_size  # made once, by the bounds as they are
    monkeypatch.setitem(module.TOKENS_PER_BATCH, "cpu", 32)
    monkeypatch.setattr(module, "ROUND", 3)
    config = tiny_config("model.n_layer=1").model
    return build_model(config, vocab_size, torch.Generator().manual_seed(1)).train()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models whose losses were computed, one for each batch."""
    plain, made = module._sums, list[Any]()
    monkeypatch.setattr(module, "_sums", lambda model, *rest: made.append(model) or plain(model, *rest))
    return made


def evaluated(model: Any, ranks: Ranks, between: Any = None) -> Evaluation:
    model = deepcopy(model)
    try:
        return evaluate(model, tokens(), 16, CPU, between=between, most=MOST, ranks=ranks)
    finally:
        assert model.training, "as it was before"


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_all_have_the_loss_of_one_alone(monkeypatch: pytest.MonkeyPatch, small: Any, size: int) -> None:
    """Nineteen batches; the last round, or the only one, has not one for everybody."""
    alone = evaluated(small, Ranks())
    assert alone.tokens == MOST
    counted: list[int] = [0] * size

    def do(ranks: Ranks) -> Evaluation:
        def between() -> bool:
            counted[ranks.rank] += 1
            return False

        return evaluated(small, ranks, between)

    found = Hands(size, monkeypatch).run(do)
    assert {each.loss for each in found} == {found[0].loss} and {each.tokens for each in found} == {MOST}
    assert found[0].loss == pytest.approx(alone.loss, rel=1e-7)
    assert counted == [len(range(rank, 19, size)) for rank in range(size)]


@pytest.mark.parametrize("at", [1, 2, 5])
def test_a_stop_interrupts_all(monkeypatch: pytest.MonkeyPatch, small: Any, at: int) -> None:
    """And who was told of it computes nothing more."""
    batches = counted(monkeypatch)
    with pytest.raises(Interrupted):
        asked_alone = iter(range(1, 99))
        evaluated(small, Ranks(), lambda: next(asked_alone) == at)
    assert len(batches) == at - 1

    def do(ranks: Ranks) -> str:
        asked = 0

        def between() -> bool:
            nonlocal asked
            asked += 1
            return ranks.leads and asked == at

        with pytest.raises(Interrupted):
            evaluated(small, ranks, between)
        return str(asked) if ranks.leads else ""

    assert Hands(3, monkeypatch).run(do) == [str(at), "", ""]


def test_a_rank_without_room_is_told_by_its_own_words_and_to_the_others(
    monkeypatch: pytest.MonkeyPatch, small: Any
) -> None:
    plain, here = module._Share._batch, {1: NO_ROOM}

    def batch(self: Any, *rest: Any) -> bool:
        if (error := here.get(self.ranks.rank)) is not None:
            raise error
        return plain(self, *rest)

    monkeypatch.setattr(module._Share, "_batch", batch)

    def do(ranks: Ranks) -> Exception:
        with pytest.raises((TrainingError, torch.OutOfMemoryError)) as error:
            evaluated(small, ranks)
        return error.value

    found = Hands(3, monkeypatch).run(do)
    assert found[1] is NO_ROOM
    assert [str(found[rank]) for rank in (0, 2)] == ["a rank had no memory for its part of an evaluation"] * 2
    here[0] = ValueError("a bug")  # type: ignore[assignment]
    with pytest.raises(ValueError, match="a bug"):
        evaluated(small, Ranks())


def test_parts_of_a_model_are_asked_of_all_for_every_batch(monkeypatch: pytest.MonkeyPatch, small: Any) -> None:
    """Who has no batch left goes along with another's, and does not count it; also after a stop, to the round's end."""
    monkeypatch.setattr(module, "is_sharded", lambda tensor: True)
    made: list[int] = [0] * 2

    def do(ranks: Ranks) -> Evaluation:
        def between() -> bool:
            made[ranks.rank] += 1
            return False

        return evaluated(small, ranks, between)

    found = Hands(2, monkeypatch).run(do)
    assert made == [10, 10] and {each.tokens for each in found} == {MOST}
    made = [0, 0]
    batches = counted(monkeypatch)

    def stopped(ranks: Ranks) -> None:
        def between() -> bool:
            made[ranks.rank] += 1
            return ranks.leads and made[0] == 2

        with pytest.raises(Interrupted):
            evaluated(small, ranks, between)

    Hands(2, monkeypatch).run(stopped)
    assert made == [3, 3] and len(batches) == 6, "a round of three, that is computed by both"

    def fails(self: Any, *rest: Any) -> bool:
        raise NO_ROOM

    monkeypatch.setattr(module._Share, "_batch", fails)
    with pytest.raises(torch.OutOfMemoryError):
        evaluated(small, Ranks())
