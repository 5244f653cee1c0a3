"""A prompt beside training: its work is done in a context of its own, which nobody else ever sees."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.errors import RunError, UserError
from engine.model import build_model
from engine.model.gpt import GPT
from engine.sampling.distribution import distribution
from engine.sampling.generate import Done, Piece, generate
from engine.sampling.kept import KeptLogits, TopLogits
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer
from engine.training import live
from engine.training.live import AT_ONCE, LivePrompter, LiveWeights, each_within

from .conftest import tiny_config


def test_the_context_is_left_while_somebody_looks_at_an_item() -> None:
    inside: list[bool] = [False]
    seen: list[bool] = []

    @contextmanager
    def context() -> Iterator[None]:
        inside[0] = True
        try:
            yield
        finally:
            inside[0] = False

    def items() -> Iterator[int]:
        for number in range(3):
            seen.append(inside[0])
            yield number
        raise ValueError("at the end")

    found = []
    with pytest.raises(ValueError, match="at the end"):
        for item in each_within(context, items()):
            found.append((item, inside[0]))
    assert found == [(number, False) for number in range(3)] and seen == [True] * 3 and inside == [False]


def test_a_prompt_is_answered_with_the_weights_of_a_step_boundary() -> None:
    config, tokenizer = tiny_config(), CharTokenizer("abc")
    given = dict(build_model(config.model, 3, torch.Generator().manual_seed(5)).named_parameters())
    live = LiveWeights()
    over = threading.Event()

    def train() -> None:
        while not over.wait(0.01):
            live.serve(7, lambda: given)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        made: list[GPT] = []
        prompter = LivePrompter(live, lambda: made.append(build_model(config.model, 3).eval()) or made[-1], tokenizer)
        request = {"prompt": "a", "settings": {"max_tokens": 5, "seed": 1}}
        said = list(prompter(request, lambda: False))
    finally:
        over.set()
        thread.join()
    assert len(said) == 6 and said[-1]["done"]["step"] == 7 and said[-1]["done"]["tokens"] == 5
    (model,) = made
    assert all(torch.equal(each, given[name]) for name, each in model.named_parameters())


def answered(request: dict[str, object]) -> tuple[list[dict[str, Any]], GPT, CharTokenizer]:
    """What a run answers, the model it answers with, and its tokenizer."""
    config, tokenizer = tiny_config(), CharTokenizer("abcdefgh")
    model = build_model(config.model, 8, torch.Generator().manual_seed(5)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(weight.numel()))
    given = dict(model.named_parameters())
    live, over = LiveWeights(), threading.Event()

    def train() -> None:
        while not over.wait(0.002):
            live.serve(3, lambda: given)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        prompter = LivePrompter(live, lambda: build_model(config.model, 8).eval(), tokenizer)
        said = list(prompter(request, lambda: False))
    finally:
        over.set()
        thread.join()
    return json.loads(json.dumps(said)), model, tokenizer


def test_logits_come_with_each_drawn_token_and_show_what_it_was_drawn_from() -> None:
    s = SamplingSettings(temperature=0.7, top_k=2, repetition_penalty=1.2, seed=1, max_tokens=9)
    for most in (8, 6):
        request = {"prompt": "ab", "settings": s.to_dict(), "top": most, "forced": [2, 3]}
        said, model, tokenizer = answered(request)
        keep = KeptLogits()
        pieces = [
            each for each in generate(model, tokenizer, "ab", s, forced=[2, 3], keep=keep) if isinstance(each, Piece)
        ]
        history = [0, 1]
        for told, piece in zip(said[:-1], pieces, strict=True):
            assert told["piece"]["id"] == piece.id
            if (row := keep.get(piece.kept)) is None:
                assert "top" not in told["piece"] and "kept" not in told["piece"]
            else:
                top = TopLogits.from_dict(told["piece"]["top"])
                assert len(top.ids) == most and top.beyond(s, history) == ()
                here, there = (
                    distribution(top, s, history, taken=piece.id),
                    distribution(row, s, history, taken=piece.id),
                )
                assert here.left == there.left and here.taken is not None and there.taken is not None
                assert here.taken.after == pytest.approx(there.taken.after, abs=1e-6)
            history.append(piece.id)
        assert [each["piece"]["id"] for each in said[:2]] == [2, 3]


def test_a_forced_token_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="no token 8"):
        answered({"prompt": "ab", "settings": {"max_tokens": 3}, "forced": [8]})


def test_two_prompts_have_a_copy_of_the_weights_at_a_time_and_one_copy_is_kept() -> None:
    """However many ask at once; each is answered, and memory that is short takes the last copy too."""
    config, tokenizer = tiny_config(), CharTokenizer("abc")
    given = dict(build_model(config.model, 3, torch.Generator().manual_seed(5)).named_parameters())
    live, over = LiveWeights(), threading.Event()
    alive = weakref.WeakSet[GPT]()
    most: list[int] = [0]

    def build() -> GPT:
        model = build_model(config.model, 3).eval()
        alive.add(model)
        return model

    def train() -> None:
        while not over.wait(0.002):
            most[0] = max(most[0], len(alive))
            live.serve(3, lambda: given)

    prompter = LivePrompter(live, build, tokenizer)
    answers: list[list[dict[str, object]]] = []

    def ask(seed: int) -> None:
        request = {"prompt": "a", "settings": {"max_tokens": 6, "seed": seed % 2}}
        answers.append(list(prompter(request, lambda: False)))

    threads = [threading.Thread(target=train), *(threading.Thread(target=ask, args=(n,)) for n in range(12))]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join(60)
    over.set()
    threads[0].join()
    assert len(answers) == 12 and all(said[-1]["done"]["step"] == 3 for said in answers)  # type: ignore[index]
    assert len({said[-1]["done"]["text"] for said in answers}) == 2, "of equal seeds equal texts"  # type: ignore[index]
    assert 1 <= most[0] <= AT_ONCE + 1, "one may be on its way out"
    assert len(alive) == 0, "no copy waits for garbage to be collected"


def test_who_waits_for_weights_is_told_when_there_are_none() -> None:
    live = LiveWeights()
    prompter = LivePrompter(live, lambda: build_model(tiny_config().model, 3), CharTokenizer("abc"))
    with pytest.raises(RunError, match="no step ended"):
        list(prompter({"prompt": "a"}, lambda: True))
    live.end()
    for _ in range(2 * AT_ONCE):  # and nobody keeps a place
        with pytest.raises(RunError, match="training has ended"):
            list(prompter({"prompt": "a"}, lambda: False))


# -- waiting for weights -----------------------------------------------------------------------------------------------


class Waits:
    """A condition that is waited for by a clock of its own; `each` is what happens meanwhile."""

    def __init__(self, weights: LiveWeights, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed, self.real = list[float](), weights._ready
        self.each: Callable[[], object] = lambda: None
        weights._ready = self  # type: ignore[assignment]
        monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: round(sum(self.passed), 6)))

    def __enter__(self) -> object:
        return self.real.__enter__()

    def __exit__(self, *rest: Any) -> None:
        self.real.__exit__(*rest)

    def wait(self, seconds: float) -> None:
        self.passed.append(seconds)
        self.each()

    def notify_all(self) -> None:
        self.real.notify_all()


def test_a_step_is_waited_for_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = LiveWeights()
    waits = Waits(weights, monkeypatch)
    model = build_model(tiny_config().model, 3)
    with pytest.raises(RunError, match=r"^no step ended while the prompt waited; try again, or prompt a checkpoint$"):
        weights.take(model, lambda: False)
    assert waits.passed == [0.2] * 601 and weights._waiting == []
    waits.passed.clear()
    with pytest.raises(RunError, match="no step ended"):
        weights.take(model, lambda: len(waits.passed) == 3)
    assert len(waits.passed) == 3 and weights._waiting == []


def test_weights_come_at_a_boundary_to_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody is asked for them where nobody waits."""
    weights = LiveWeights()
    waits = Waits(weights, monkeypatch)
    first, second = (build_model(tiny_config().model, 3) for _ in range(2))
    given = dict(build_model(tiny_config().model, 3, torch.Generator().manual_seed(5)).named_parameters())
    other = live._Waiter(second)
    weights._waiting.append(other)
    waits.each = lambda: weights.serve(9, lambda: given) if len(waits.passed) == 2 else None
    assert weights.take(first, lambda: False) == 9 == other.step and len(waits.passed) == 2
    for model in (first, second):
        assert all(torch.equal(each, given[name]) for name, each in model.named_parameters())
    weights.serve(10, lambda: pytest.fail("nobody waits"))
    weights.end()
    with pytest.raises(RunError, match=r"^training has ended; prompt one of its checkpoints$"):
        weights.take(first, lambda: False)


class Places:
    """Stands for the places of prompts, all of which are taken until `free` have been asked for."""

    def __init__(self, waits: list[float], free: float) -> None:
        self.waits, self.free = waits, free

    def acquire(self, timeout: float) -> bool:
        self.waits.append(timeout)
        return len(self.waits) >= self.free


@pytest.mark.parametrize(("free", "cancelled", "tries"), [(3, 99, 3), (9e9, 4, 4), (9e9, 9e9, 601)])
def test_a_place_is_waited_for_two_minutes(
    monkeypatch: pytest.MonkeyPatch, free: float, cancelled: float, tries: int
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: round(sum(waits), 6)))
    prompter = LivePrompter(LiveWeights(), lambda: pytest.fail("no place"), CharTokenizer("abc"))
    prompter._places = Places(waits, free)  # type: ignore[assignment]
    if free == 3:
        prompter._sit_down(lambda: len(waits) >= cancelled)
    else:
        with pytest.raises(RunError, match=r"^2 prompts are being answered; try again when one has ended$"):
            prompter._sit_down(lambda: len(waits) >= cancelled)
    assert waits == [0.2] * tries
    prompter.live.end()
    waits.clear()
    prompter._places = Places(waits, 9e9)  # type: ignore[assignment]
    with pytest.raises(RunError, match="training has ended"):
        prompter._sit_down(lambda: False)
    assert waits == [0.2]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, ("", (), 0, None)),
        ({"prompt": "ab", "forced": [1], "alternatives": 3}, ("ab", [1], 3, None)),
        ({"top": 1}, ("", (), 0, KeptLogits)),
    ],
)
def test_what_a_request_leaves_out_is_nothing(
    monkeypatch: pytest.MonkeyPatch, request_: dict[str, Any], expected: Any
) -> None:
    asked: list[Any] = []

    def writes(model: Any, tokenizer: Any, prompt: str, settings: Any, **how: Any) -> Iterator[Any]:
        keep = how["keep"]
        asked.append((prompt, how["forced"], how["alternatives"], None if keep is None else type(keep)))
        yield Done("text", 2, "length", 3, 0.5, 4.0)

    weights = LiveWeights()
    monkeypatch.setattr(weights, "take", lambda target, cancelled: 7)
    monkeypatch.setattr(live, "generate", writes)
    prompter = LivePrompter(weights, lambda: build_model(tiny_config().model, 3), CharTokenizer("abc"))
    (said,) = prompter(request_, lambda: False)
    assert asked == [expected] and said["done"]["step"] == 7 and said["done"]["text"] == "text"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("out of memory"), ValueError("a bug")])
def test_a_prompt_without_room_gives_back_what_it_can(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """And its place, whatever went wrong."""
    freed: list[int] = []
    monkeypatch.setattr(live, "free_memory", lambda: freed.append(1))

    def build() -> Any:
        raise error

    prompter = LivePrompter(LiveWeights(), build, CharTokenizer("abc"))
    out = isinstance(error, RuntimeError)
    for _ in range(AT_ONCE + 1):
        with pytest.raises(RunError if out else ValueError, match="no memory for this prompt" if out else "a bug"):
            list(prompter({"prompt": "a"}, lambda: False))
    assert len(freed) == (AT_ONCE + 1 if out else 0)
