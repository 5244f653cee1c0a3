from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.config import ModelConfig
from engine.errors import CheckpointError, TokenizerError, UserError
from engine.model.gpt import GPT
from engine.sampling.decode import Context, for_decoding
from engine.sampling.generate import Done, Piece, generate, generate_many, start_token
from engine.sampling.kept import KeptLogits
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.word import WordTokenizer

MakeModel = Callable[..., GPT]
S = SamplingSettings(temperature=1, seed=1, max_tokens=12)


@pytest.fixture(scope="module")
def octets() -> ByteTokenizer:
    return ByteTokenizer()


class Scripted(nn.Module):
    """Says the given tokens one after the other, whatever it is given: logits that leave no other choice."""

    supports_cache = False

    def __init__(self, tokens: list[int], vocab_size: int, block_size: int = 64) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))
        self.config = ModelConfig(block_size=block_size)
        self.vocab_size = vocab_size
        self.tokens: Iterator[int] = iter(tokens)
        self.seen: list[list[int]] = []

    def forward(self, ids: Tensor, cache: None = None, last: bool = False) -> Tensor:
        self.seen.append(ids[0].tolist())
        logits = torch.full((len(ids), 1, self.vocab_size), -torch.inf)
        logits[..., next(self.tokens)] = 0
        return logits


def run(model: nn.Module, tokenizer: Tokenizer, prompt: str | list[int] = "ab", s: SamplingSettings = S, **more):  # type: ignore[no-untyped-def]
    """(pieces, done), after checking what holds of every output."""
    items = list(generate(model, tokenizer, prompt, s, **more))  # type: ignore[arg-type]
    pieces, done = items[:-1], items[-1]
    assert isinstance(done, Done) and all(isinstance(piece, Piece) for piece in pieces)
    assert "".join(piece.text for piece in pieces) == done.text
    assert len(pieces) == done.tokens <= s.max_tokens
    assert done.seconds >= 0 and done.tokens_per_second >= 0
    return pieces, done


def ids_of(pieces: list[Piece]) -> list[int]:
    return [piece.id for piece in pieces]


def say(text: str, stop: tuple[str, ...] = (), n: int = 50) -> Done:
    """What is shown when a model says the UTF-8 bytes of `text`."""
    octets = ByteTokenizer()
    tokens = octets.encode(text).tolist()
    s = SamplingSettings(max_tokens=min(n, len(tokens)), stop=stop, seed=0)
    done: Done = run(Scripted(tokens, octets.vocab_size), octets, "x", s)[1]
    return done


# reproducible, and leaving everything else alone


def test_the_same_seed_writes_the_same(letters: GPT, chars: CharTokenizer) -> None:
    first, again, other = (run(letters, chars, s=S.replace(seed=seed))[1].text for seed in (3, 3, 4))
    assert first == again != other
    assert len(first) == 12


def test_a_fresh_seed_is_told_and_writes_the_same_again(letters: GPT, chars: CharTokenizer) -> None:
    one, two = (run(letters, chars, s=S.replace(seed=None))[1] for _ in range(2))
    assert one.seed != two.seed
    assert run(letters, chars, s=S.replace(seed=one.seed))[1].text == one.text


def test_global_random_state_weights_and_mode_are_left_alone(tiny: MakeModel, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size, dropout=0.5).train()
    model.blocks[1].eval()  # modes need not be all alike
    modes = [module.training for module in model.modules()]
    weights = [p.detach().clone() for p in model.parameters()]
    state = torch.get_rng_state()
    for _ in generate(model, chars, "ab", S):
        assert [module.training for module in model.modules()] == modes  # also between two pieces
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert run(model, chars)[1].text == run(model.eval(), chars)[1].text  # no dropout while writing
    model.loss(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64)).backward()


def test_training_may_go_on_between_two_pieces(tiny: MakeModel, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size).train()
    x = torch.zeros(1, 4, dtype=torch.int64)
    for _ in generate(model, chars, "ab", S):
        loss = model.loss(x, x)
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(0.1 * p.grad)
    assert model.training


def test_an_error_in_the_model_restores_its_mode(tiny: MakeModel, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size).train()
    model.blocks[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(generate(model, chars, "ab", S))
    assert all(module.training for module in model.modules())


# the cache, and beyond the context


@pytest.mark.parametrize("position", ["learned", "rope", "sinusoidal", "none"])
@pytest.mark.parametrize("more", [{}, {"n_kv_head": 1, "qk_norm": True}])
def test_with_and_without_cache_is_the_same_within_the_context(
    tiny: MakeModel, chars: CharTokenizer, position: str, more: dict[str, object]
) -> None:
    model = tiny(chars.vocab_size, position=position, block_size=32, **more)
    for prompt in ("a", "the quick"):
        s, found = S.replace(max_tokens=33 - len(prompt)), list[list[int]]()
        for model.supports_cache in (True, False):
            found.append(ids_of(run(model, chars, prompt, s)[0]))
        assert found[0] == found[1]


def test_past_the_context_the_window_slides(
    letters: GPT, chars: CharTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cache in (True, False):
        monkeypatch.setattr(letters, "supports_cache", cache)
        pieces, done = run(letters, chars, "abc", S.replace(max_tokens=100))
        assert done.tokens == 100 and done.stop_reason == "length"
        assert len(set(ids_of(pieces)[50:])) > 3


def test_without_cache_the_model_sees_exactly_the_last_of_the_history() -> None:
    model = Scripted(list(range(20)), 30, block_size=8)
    run(model, ByteTokenizerOf(30), [25, 26], S.replace(max_tokens=20))
    history = [25, 26, *range(20)]
    assert model.seen == [history[max(0, n - 8) : n] for n in range(2, 22)]


def test_a_sliding_cache_sees_at_least_three_quarters_of_the_context(tiny: MakeModel, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size)
    read: list[tuple[int, int]] = []  # tokens read, and tokens held before
    forward = model.forward

    def spy(ids: Tensor, cache=None, last=False):  # type: ignore[no-untyped-def]
        read.append((ids.size(1), cache.length))
        return forward(ids, cache=cache, last=last)

    model.forward = spy  # type: ignore[method-assign]
    run(model, chars, "ab" * 20, S.replace(max_tokens=12))  # context 16: the prompt's end fills it
    assert read == [(16, 0)] + [(12, 0), (1, 12), (1, 13), (1, 14), (1, 15)] * 2 + [(12, 0)]


def test_a_model_laid_out_for_decoding_is_the_same_model(tiny: MakeModel, chars: CharTokenizer) -> None:
    model, laid_out = tiny(chars.vocab_size, bias=True), for_decoding(tiny(chars.vocab_size, bias=True).train())
    assert not any(module.training for module in laid_out.modules())
    assert laid_out.blocks[0].mlp.fc.weight.stride() == (1, 64)  # column by column
    for (name, ours), (other, theirs) in zip(laid_out.named_parameters(), model.named_parameters(), strict=True):
        assert name == other and torch.equal(ours, theirs) and ours.requires_grad == theirs.requires_grad
    ids = chars.encode("the quick").astype("int64")
    for x in (ids, ids[:1]):
        assert torch.allclose(laid_out(torch.from_numpy(x)[None]), model(torch.from_numpy(x)[None]), atol=1e-4)
    s = S.replace(max_tokens=40)
    assert ids_of(run(laid_out, chars, "ab", s)[0]) == ids_of(run(model, chars, "ab", s)[0])


def test_a_prompt_longer_than_the_context_counts_by_its_end(letters: GPT, chars: CharTokenizer) -> None:
    end = "this is the end " * 2
    one = S.replace(max_tokens=1, temperature=0)
    assert ids_of(run(letters, chars, "zzz" + end, one)[0]) == ids_of(run(letters, chars, end[-16:], one)[0])


@pytest.mark.parametrize("kind", ["bigram", "single-head", "multi-head", "blocks", "decoder"])
def test_every_rung_of_the_ladder_writes(tiny: MakeModel, kind: str, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size, kind=kind, position="learned")
    done = run(model, chars, "ab", S.replace(max_tokens=40))[1]
    assert done.tokens == 40
    assert [text.text for text in generate_many(model, chars, "ab", S.replace(max_tokens=40), 1)] == [done.text]


# where a text ends


@given(
    text=st.text("ab#é\n", max_size=20),
    stops=st.lists(st.text("ab#é\n", min_size=1, max_size=4), min_size=1, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_stop_strings_end_the_text_over_token_borders(text: str, stops: list[str]) -> None:
    done = say(text, tuple(stops))
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    if not ends:
        assert done.text == text and done.stop_reason == "length"
        return
    longest = max(len(stop) for stop in stops if text[: ends[0]].endswith(stop))
    assert done.text == text[: ends[0] - longest] and done.stop_reason == "stop"
    assert done.tokens == len(text[: ends[0]].encode())  # and nothing is computed after


def test_what_may_begin_a_stop_string_is_not_shown_before_it_is_decided(octets: ByteTokenizer) -> None:
    tokens = octets.encode("a##b###c").tolist()
    s = SamplingSettings(max_tokens=len(tokens), stop=("###",), seed=0)
    pieces, done = run(Scripted(tokens, octets.vocab_size), octets, "x", s)
    assert [piece.text for piece in pieces] == ["a", "", "", "##b", "", "", ""]
    assert done.stop_reason == "stop"


def test_an_incomplete_character_waits_and_is_marked_at_the_end() -> None:
    assert say("é🙂").text == "é🙂"
    assert say("aé", n=2).text == "a\ufffd"


def test_a_stop_token_ends_the_text_and_is_not_in_it(octets: ByteTokenizer) -> None:
    tokens = octets.encode("ab").tolist()
    pieces, done = run(Scripted([*tokens, 3, 4], 256), octets, "x", S.replace(stop_ids=[3]))
    assert done.text == "ab" and done.stop_reason == "stop" and ids_of(pieces) == [*tokens, 3]


def test_a_stop_string_that_names_a_special_token_stops_at_it() -> None:
    words = WordTokenizer("", [" hello"], ["<END>"])
    done = run(Scripted([256, words.special["<END>"], 256], words.vocab_size), words, "x", S.replace(stop=["<END>"]))[1]
    assert done.text == " hello" and done.stop_reason == "stop" and done.tokens == 2


def test_no_tokens_asked_for_is_an_empty_text(letters: GPT, chars: CharTokenizer) -> None:
    pieces, done = run(letters, chars, s=S.replace(max_tokens=0))
    assert pieces == [] and done.text == "" and done.stop_reason == "length"


def test_cancel_ends_within_one_token_and_shows_what_was_held_back(octets: ByteTokenizer) -> None:
    shown: list[str] = []
    items = generate(
        Scripted(octets.encode("a##b").tolist(), 256),  # type: ignore[arg-type]
        octets,
        "x",
        S.replace(stop=["###"]),
        cancelled=lambda: len(shown) == 2,
    )
    for item in items:
        shown.append(item.text)
    assert shown == ["a", "", "##", "a##"]
    assert isinstance(item, Done) and item.stop_reason == "cancelled" and item.tokens == 3


# prompts


def test_an_empty_prompt_starts_from_a_newline_or_the_first_token(
    tiny: MakeModel, letters: GPT, chars: CharTokenizer
) -> None:
    assert run(letters, chars, "")[1].text == run(letters, chars, "\n")[1].text
    assert start_token(CharTokenizer("xyz")) == 0
    assert start_token(WordTokenizer("", [], ["<|endoftext|>"])) == 256
    assert len(run(tiny(3), CharTokenizer("xyz"), "")[1].text) == 12


def test_a_character_the_tokenizer_does_not_know_follows_its_policy(letters: GPT, chars: CharTokenizer) -> None:
    with pytest.raises(TokenizerError, match="é"):
        generate(letters, chars, "é", S)  # before anything is computed
    skipping = CharTokenizer(chars.chars, "skip")
    assert run(letters, skipping, "aéb")[1].text == run(letters, chars, "ab")[1].text
    assert run(letters, skipping, "é")[1].text == run(letters, chars, "")[1].text


def test_token_ids_are_a_prompt_too(letters: GPT, chars: CharTokenizer) -> None:
    assert run(letters, chars, chars.encode("ab").tolist())[1].text == run(letters, chars, "ab")[1].text
    with pytest.raises(TokenizerError, match="no token 30"):
        generate(letters, chars, [30], S)


def test_a_tokenizer_of_another_model_is_refused_naming_both_sides(letters: GPT) -> None:
    with pytest.raises(CheckpointError, match=r"30.*256"):
        generate(letters, ByteTokenizer(), "ab", S)


def test_damaged_weights_are_a_clear_error(tiny: MakeModel, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size)
    with torch.no_grad():
        model.wte.weight.fill_(float("nan"))
    for s in (S, S.replace(temperature=0), S.replace(top_k=5, top_p=0.5, min_p=0.1, repetition_penalty=1.5)):
        with pytest.raises(UserError, match="not a number"):
            list(generate(model, chars, "ab", s))
        with pytest.raises(UserError, match="not a number"):
            generate_many(model, chars, "ab", s, 2)


# choosing another token, and going on from there


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_forced_tokens_are_gone_on_from_as_if_they_had_been_drawn(
    letters: GPT, chars: CharTokenizer, temperature: float
) -> None:
    s = S.replace(temperature=temperature, max_tokens=14)
    drawn, done = run(letters, chars, "ab", s)
    again, same = run(letters, chars, "ab", s, forced=ids_of(drawn)[:6])
    assert ids_of(again) == ids_of(drawn) and same.text == done.text
    other = (drawn[6].id + 1) % chars.vocab_size
    changed, _ = run(letters, chars, "ab", s, forced=[*ids_of(drawn)[:6], other])
    assert ids_of(changed)[:7] == [*ids_of(drawn)[:6], other] and len(changed) == 14
    assert len(run(letters, chars, "ab", s, forced=[1] * 20)[0]) == 14


def test_alternatives_come_with_each_drawn_piece(letters: GPT, chars: CharTokenizer) -> None:
    s = S.replace(top_k=2, temperature=0.5)
    plain, _ = run(letters, chars, "ab", s)
    pieces, _ = run(letters, chars, "ab", s, alternatives=5, forced=ids_of(plain)[:1])
    assert ids_of(pieces) == ids_of(plain)  # looking changes nothing
    assert pieces[0].alternatives == ()
    for piece in pieces[1:]:
        table = piece.alternatives
        assert len(table) == 5 and sum(row.after > 0 for row in table) == 2
        assert piece.id in [row.id for row in table if row.after > 0]
        assert sum(row.after for row in table) == pytest.approx(1)
        assert [row.before for row in table] == sorted((row.before for row in table), reverse=True)
        assert all(row.label == chars.token_label(row.id) for row in table)


def test_the_repetition_penalty_counts_prompt_and_output(tiny: MakeModel, chars: CharTokenizer) -> None:
    model = tiny(chars.vocab_size, sharp=0.01)
    s = S.replace(temperature=0, repetition_penalty=100, max_tokens=20)
    ids = ids_of(run(model, chars, "abc", s)[0])
    seen = {*ids, *chars.encode("abc").tolist()}
    assert len(seen) == 20 + 3  # nothing came twice while there was something new and positive


# several at once


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("change", [{}, {"temperature": 0}, {"top_k": 5, "repetition_penalty": 1.3}])
def test_many_are_what_each_would_be_alone(
    letters: GPT, chars: CharTokenizer, cache: bool, change: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "supports_cache", cache)
    s = S.replace(max_tokens=30, seed=40, **change)
    many = generate_many(letters, chars, "the", s, 20)
    assert [text.seed for text in many] == list(range(40, 60))
    for text in many[::7]:
        alone = run(letters, chars, "the", s.replace(seed=text.seed))[1]
        assert (text.text, text.tokens, text.stop_reason) == (alone.text, alone.tokens, alone.stop_reason)


def test_many_end_each_at_its_own_stop(letters: GPT, chars: CharTokenizer) -> None:
    s = S.replace(max_tokens=40, stop=["e", "qu"], seed=7)
    many = generate_many(letters, chars, "ab", s, 6)
    alone = [run(letters, chars, "ab", s.replace(seed=7 + i))[1] for i in range(6)]
    assert [(m.text, m.tokens, m.stop_reason) for m in many] == [(a.text, a.tokens, a.stop_reason) for a in alone]
    assert len({m.tokens for m in many}) > 1


def test_many_are_some_and_may_be_empty(letters: GPT, chars: CharTokenizer) -> None:
    assert [text.text for text in generate_many(letters, chars, "ab", S.replace(max_tokens=0), 2)] == ["", ""]
    with pytest.raises(UserError, match="1 or more"):
        generate_many(letters, chars, "ab", S, 0)


class ByteTokenizerOf(ByteTokenizer):
    """The first so many bytes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.vocab_size = size


def test_a_text_longer_than_the_context_is_gone_on_from_where_its_window_was(
    tiny: MakeModel, chars: CharTokenizer
) -> None:
    """The window slides by a quarter of the context: where it stands hangs on how many tokens were drawn."""
    model = tiny(chars.vocab_size, position="learned")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4)  # or attention hardly matters
    s = S.replace(max_tokens=45)
    for prompt in ("ab", "the quick brown fox jumps over"):
        keep, again = KeptLogits(), KeptLogits()
        drawn, _ = run(model, chars, prompt, s, keep=keep)
        for n in (1, 14, 15, 33, 44):
            pieces, _ = run(model, chars, prompt, s, forced=ids_of(drawn)[:n], keep=again)
            assert ids_of(pieces) == ids_of(drawn)
            for one, other in zip(drawn[n:], pieces[n:], strict=True):
                torch.testing.assert_close(again.get(other.kept), keep.get(one.kept), atol=1e-4, rtol=1e-4)
            ids = [*chars.encode(prompt).tolist(), *ids_of(drawn)[:n]]
            torch.testing.assert_close(
                Context(model, ids, 0, drawn=n).logits()[0], keep.get(drawn[n].kept), atol=1e-4, rtol=1e-4
            )


def test_forced_tokens_are_read_in_one_pass(
    letters: GPT, chars: CharTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    forward = letters.forward
    monkeypatch.setattr(
        letters, "forward", lambda ids, *args, **kw: read.append(ids.size(1)) or forward(ids, *args, **kw)
    )
    run(letters, chars, "ab", S.replace(max_tokens=8), forced=[3, 4, 5, 6, 7])
    assert read == [7, 1, 1]


def test_what_ends_a_text_may_lie_in_its_forced_beginning(letters: GPT, chars: CharTokenizer) -> None:
    ab, c = chars.encode("ab").tolist(), int(chars.encode("c")[0])
    pieces, done = run(letters, chars, "x", S.replace(stop=["abc"]), forced=[*ab, c, c])
    assert (len(pieces), done.text, done.stop_reason) == (3, "", "stop")
    pieces, done = run(letters, chars, "x", S.replace(stop_ids=[c]), forced=[*ab, c, c])
    assert (len(pieces), done.text, done.stop_reason) == (3, "ab", "stop")
    # begun in it, completed by what is drawn: as if all had been drawn
    whole, _ = run(letters, chars, "x", S.replace(max_tokens=20))
    stop = chars.decode(ids_of(whole)[5:9])
    expected, ended = run(letters, chars, "x", S.replace(max_tokens=20, stop=[stop]))
    again, same = run(letters, chars, "x", S.replace(max_tokens=20, stop=[stop]), forced=ids_of(whole)[:7])
    assert ids_of(again) == ids_of(expected) and same.text == ended.text and same.stop_reason == "stop"


def test_a_character_begun_by_a_forced_token_is_completed_by_the_next(tiny: MakeModel) -> None:
    tokens = ByteTokenizer()
    model = tiny(tokens.vocab_size)
    with torch.no_grad():
        model.head.weight.zero_()  # all alike: the likeliest is the first byte
    begun = tokens.encode("é").tolist()
    pieces, _ = run(model, tokens, "a", S.replace(temperature=0, max_tokens=3), forced=begun)
    assert [piece.text for piece in pieces] == ["", "é", "\x00"]
    cut, _ = run(model, tokens, "a", S.replace(temperature=0, max_tokens=2), forced=begun[:1])
    assert [piece.text for piece in cut] == ["", "�\x00"]
