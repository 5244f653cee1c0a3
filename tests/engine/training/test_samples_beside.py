"""A sample and what is recorded of it; samples that are made in a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.errors import UserError
from engine.sampling.generate import Done
from engine.training import beside
from engine.training.beside import Sample, SamplesBeside, make_sample
from engine.training.copied import Copied
from engine.training.crew import Crew

from .conftest import flat, tiny_config
from .told import CPU, tokens

NO_ROOM = torch.OutOfMemoryError("out of memory")
PROMPTS = 'train.sample_prompts=["a cat", "the dog", "one bird"]'


def never() -> bool:
    return False


def written(monkeypatch: pytest.MonkeyPatch, *pieces: Any) -> list[Any]:
    """What is asked for, where a model writes these pieces, or fails with the error among them."""
    asked: list[Any] = []

    def generate(model: Any, tokenizer: Any, prompt: str, settings: Any, *, cancelled: Any) -> Iterator[Any]:
        asked.append((prompt, settings, cancelled))
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    monkeypatch.setattr(beside, "generate", generate)
    return asked


def sampled(copies: Any, *sets: str, number: int = 0) -> Sample:
    return make_sample(None, None, tiny_config(PROMPTS, *sets).train, number, never, copies)  # type: ignore[arg-type]


DONE = Done("it sees a fish", 7, "length", 3, 0.5, 14.04)


@pytest.mark.parametrize(
    ("seed", "number", "stop", "found"), [(5, 0, "", 5), (5, 2, "<END>", 7), (2**31 - 1, 1, "", 0), (2**31, 0, "", 0)]
)
def test_a_sample_is_told_with_all_it_was_made_of(
    monkeypatch: pytest.MonkeyPatch, seed: int, number: int, stop: str, found: int
) -> None:
    asked, looked = written(monkeypatch, SimpleNamespace(), DONE), list[Any]()
    part = Copied(4, 2, 90, 90)
    copies = SimpleNamespace(look=lambda *what: looked.append(what) or (part, "it is copied"))
    made = sampled(copies, f"train.seed={seed}", f"train.sample_stop={stop}", number=number)
    prompt = ("a cat", "the dog", "one bird")[number]
    ((said, settings, cancelled),) = asked
    assert (said, cancelled, settings.max_tokens, settings.seed) == (prompt, never, 2, found)
    assert settings.stop == ((stop,) if stop else ())
    record = {"prompt": prompt, "text": DONE.text, "settings": settings.to_dict(), "seed": found, "tokens_per_s": 14.0}
    assert made == Sample({**record, "copied": part.record()}, (("copied", "it is copied"),))
    assert looked == [(DONE.text, never, prompt)]
    made = sampled(SimpleNamespace(look=lambda *_: (None, "")), f"train.seed={seed}", number=number)
    assert made.record is not None and "copied" not in made.record and made.alarms == ()


@pytest.mark.parametrize(
    ("pieces", "alarms"),
    [
        ((), ()),
        ((SimpleNamespace(),), ()),
        ((Done("it", 1, "cancelled", 3, 0.5, 2.0),), ()),
        ((UserError("no such token"),), (("sample", "no such token"),)),
        ((NO_ROOM,), (("sample", "no memory for a sample; it is left out"),)),
        ((RuntimeError("can't allocate memory"),), (("sample", "no memory for a sample; it is left out"),)),
    ],
)
def test_what_gave_way_or_failed_leaves_no_record(
    monkeypatch: pytest.MonkeyPatch, pieces: tuple[Any, ...], alarms: tuple[Any, ...]
) -> None:
    written(monkeypatch, *pieces)
    copies = SimpleNamespace(look=lambda *_: pytest.fail("there is nothing to compare"))
    assert sampled(copies) == Sample(None, alarms)


def test_a_text_that_cannot_be_compared_is_recorded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    written(monkeypatch, DONE)

    def fails(*_: Any) -> Any:
        raise NO_ROOM

    made = sampled(SimpleNamespace(look=fails))
    assert made.record is not None and "copied" not in made.record
    assert made.alarms == (("sample", "no memory for a sample; it is left out"),)
    written(monkeypatch, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        sampled(SimpleNamespace(look=fails))


# -- beside training ---------------------------------------------------------------------------------------------------


def making(monkeypatch: pytest.MonkeyPatch, each: Callable[[Any, int, Any], Sample]) -> SamplesBeside:
    monkeypatch.setattr(
        beside, "make_sample", lambda model, _, train, number, give_way, copies: each(model, number, give_way)
    )
    crew = Crew(tiny_config("model.n_layer=1", "train.ema=0.5", PROMPTS), tokens(), CPU)
    return SamplesBeside(crew, None)  # type: ignore[arg-type]


def test_each_prompt_is_answered_with_the_weights_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The averaged ones, as they were at the beginning; whatever training does meanwhile."""
    begun, go_on = threading.Event(), threading.Event()

    def each(model: Any, number: int, give_way: Any) -> Sample:
        begun.set()
        assert go_on.wait(60)
        return Sample({"number": number, "weights": flat(model).unique().tolist(), "gives way": give_way()})

    made = making(monkeypatch, each)
    averaged = made.crew.optimizer.averaged
    assert averaged is not None and not made.busy and made.told() == []
    for tensor in averaged.values():
        tensor.fill_(0.25)
    made.begin(7)
    assert begun.wait(60) and made.busy and made.told() == []
    for tensor in averaged.values():
        tensor.fill_(0.75)
    go_on.set()
    assert made._thread is not None
    made._thread.join(60)
    expected = [(7, Sample({"number": number, "weights": [0.25], "gives way": False})) for number in range(3)]
    assert not made.busy and made.told() == expected and made.told() == []


def test_what_is_given_up_ends_with_the_prompt_it_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def each(model: Any, number: int, give_way: Any) -> Sample:
        begun.set()
        while not give_way():
            pass
        return Sample(None)

    made = making(monkeypatch, each)
    made.give_up()
    for step in (7, 8):  # and is begun again
        begun.clear()
        made.begin(step)
        assert begun.wait(60)
        made.give_up()
        assert not made.busy and made.told() == [(step, Sample(None))]


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("error", [NO_ROOM, ValueError("a bug")])
def test_without_room_for_a_copy_there_are_no_samples(
    monkeypatch: pytest.MonkeyPatch, sharded: bool, error: Exception
) -> None:
    """Of a model in parts the other ranks are in the midst of giving theirs: nothing can be passed over."""
    freed: list[int] = []
    made = making(monkeypatch, lambda *_: pytest.fail("there is no model"))
    made.crew.sharded = sharded

    def build() -> Any:
        raise error

    monkeypatch.setattr(made.crew, "build", build)
    monkeypatch.setattr(beside, "free_memory", lambda: freed.append(1))
    if sharded or error is not NO_ROOM:
        with pytest.raises(type(error)):
            made.begin(7)
        assert made.told() == [] and freed == []
    else:
        made.begin(7)
        assert made.told() == [
            (7, Sample(None, (("sample", "no memory for a sample; it is left out"),)))
        ] and freed == [1]
    assert not made.busy
