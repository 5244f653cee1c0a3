"""How fast a text was written: tokens over the seconds that writing it took, no more and no less."""

from __future__ import annotations

import pytest

from engine.model.gpt import GPT
from engine.sampling import generate
from engine.sampling.generate import Done, Stopwatch, generate_many
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer

SETTINGS = SamplingSettings(max_tokens=7, seed=3)


def ticks(monkeypatch: pytest.MonkeyPatch, each: float) -> None:
    """A clock that is `each` later whenever it is looked at."""
    now = [100.0]

    def tell() -> float:
        now[0] += each
        return now[0]

    monkeypatch.setattr(generate.time, "perf_counter", tell)


def test_a_rate_is_tokens_over_seconds(letters: GPT, chars: CharTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks(monkeypatch, 0.37)
    done = [piece for piece in generate.generate(letters, chars, "ab", SETTINGS) if isinstance(piece, Done)]
    for each in [*done, *generate_many(letters, chars, "ab", SETTINGS, 2)]:
        assert each.tokens == 7 and each.seconds > 0
        assert each.tokens_per_second == pytest.approx(each.tokens / each.seconds)
    ticks(monkeypatch, 0.0)
    for each in generate_many(letters, chars, "ab", SETTINGS, 2):
        assert each.seconds == each.tokens_per_second == 0.0


def test_what_is_stopped_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks(monkeypatch, 1.0)
    watch = Stopwatch()
    assert watch.seconds() == 1.0
    with watch.stopped():
        pass
    assert watch.seconds() == 3.0  # each look at the clock is a second; the one while it stood is not
