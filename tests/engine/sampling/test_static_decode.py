"""Decoding as it is on a GPU, run on the CPU: fixed shapes, recorded once, tokens read one step late."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from engine.errors import UserError
from engine.model.gpt import GPT
from engine.sampling import decode, static
from engine.sampling.decode import Context
from engine.sampling.generate import Done, Piece, generate, generate_many
from engine.sampling.settings import SamplingSettings
from engine.text.chars import CharTokenizer

MakeModel = Callable[..., GPT]
S = SamplingSettings(max_tokens=40, seed=3)


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "asynchronous", lambda device: True)


def record(function: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """What a CUDA graph does: the operations of one call, again and again on the same memory; no Python in between."""
    result = function()
    operations = make_fx(function)()

    def replay() -> Tensor:
        return result.copy_(operations())

    return replay


def logits_of(model: GPT, ids: list[int], prompt: int, batch: int) -> list[Tensor]:
    """Logits after each token of `ids` beyond the first `prompt`."""
    context = Context(model, ids[:prompt], len(ids) - prompt, batch)
    found = [context.logits()]
    for token in ids[prompt:]:
        context.append(torch.full((batch,), token))
        found.append(context.logits())
    return found


@pytest.mark.parametrize("position", ["learned", "rope", "sinusoidal", "none"])
@pytest.mark.parametrize("batch", [1, 3])
def test_recorded_steps_give_the_logits_of_ordinary_ones(
    tiny: MakeModel, monkeypatch: pytest.MonkeyPatch, position: str, batch: int
) -> None:
    model = tiny(29, position=position, n_kv_head=1, softcap=9.0, embd_window=3)
    ids = torch.randint(29, (50,), generator=torch.Generator().manual_seed(1)).tolist()  # the context of 16 slides
    expected = logits_of(model, ids, 5, batch)
    monkeypatch.setattr(decode, "asynchronous", lambda device: True)
    monkeypatch.setattr(static, "capture", record)
    found = logits_of(model, ids, 5, batch)
    assert len(static._kept[model]) == 1  # it was this path indeed
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        S,
        S.replace(temperature=0.0),
        S.replace(top_k=5, top_p=0.9, repetition_penalty=1.3),
        S.replace(stop=("e",), max_tokens=200),
        S.replace(max_tokens=1),
    ],
)
def test_the_same_text_comes_out(
    letters: GPT, chars: CharTokenizer, settings: SamplingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def texts() -> list[object]:
        streams = [
            generate(letters, chars, "ab", settings, **more) for more in ({}, {"forced": [3, 4]}, {"cache": False})
        ]  # type: ignore[arg-type]
        pieces = [[(p.id, p.text) for p in stream if isinstance(p, Piece)] for stream in streams]
        return [*pieces, [done.text for done in generate_many(letters, chars, "ab", settings, 2)]]

    expected = texts()
    monkeypatch.setattr(decode, "asynchronous", lambda device: True)
    assert texts() == expected


@pytest.mark.usefixtures("like_a_gpu")
def test_the_next_token_is_under_way_while_one_is_read(
    letters: GPT, chars: CharTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    logits, tokens = Context.logits, decode.Arriving.tokens
    monkeypatch.setattr(Context, "logits", lambda self: (log.append("launch"), logits(self))[1])
    monkeypatch.setattr(decode.Arriving, "tokens", lambda self: (log.append("read"), tokens(self))[1])
    list(generate(letters, chars, "ab", S.replace(max_tokens=3)))
    assert log == ["launch", "launch", "read", "launch", "read", "read"]  # and nothing is launched in vain


@pytest.mark.usefixtures("like_a_gpu")
def test_cancelling_ends_the_text(letters: GPT, chars: CharTokenizer) -> None:
    asked: list[int] = []
    *pieces, done = generate(letters, chars, "ab", S, cancelled=lambda: len(asked) >= 5 or bool(asked.append(1)))
    assert isinstance(done, Done) and done.stop_reason == "cancelled" and len(pieces) == done.tokens == 6


@pytest.mark.usefixtures("like_a_gpu")
def test_damaged_weights_are_said_and_leave_nothing_behind(tiny: MakeModel, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size)
    before = list(generate(model, chars, "ab", S))
    weight = model.blocks[0].attn.qkv.weight
    good = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
        with pytest.raises(UserError, match="not a number"):
            list(generate(model, chars, "ab" * 7, S))
        weight.copy_(good)
    assert [p for p in generate(model, chars, "ab", S) if isinstance(p, Piece)] == before[:-1]


def test_a_step_is_kept_for_the_next_text_and_lent_to_one_at_a_time(tiny: MakeModel) -> None:
    model = tiny(29)
    with decode.evaluating(model):
        first, second, third = (type("Borrower", (), {})() for _ in range(3))
        one, other = static.borrow_step(model, 1, first), static.borrow_step(model, 1, second)
        assert one is not None and other is not None and one is not other
        del first
        assert static.borrow_step(model, 1, third) is one
        del third
        model.wte.weight.data = model.wte.weight.data.clone()  # moved: the old step would read what is no longer there
        assert static.borrow_step(model, 1, second) is not one


@pytest.mark.usefixtures("like_a_gpu")
def test_a_kept_step_does_not_keep_its_model(tiny: MakeModel, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size)
    list(generate(model, chars, "ab", S))
    assert static._kept[model]
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.usefixtures("like_a_gpu")
def test_what_cannot_be_recorded_is_decoded_all_the_same(
    tiny: MakeModel, chars: CharTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(function: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
        raise RuntimeError("operation not permitted when stream is capturing")

    model = tiny(chars.vocab_size)
    expected = [p for p in generate(model, chars, "ab", S) if isinstance(p, Piece)]
    other = tiny(chars.vocab_size)
    monkeypatch.setattr(static, "capture", refuse)
    assert [p for p in generate(other, chars, "ab", S) if isinstance(p, Piece)] == expected
    assert other in static._refused and not static._kept[other]
