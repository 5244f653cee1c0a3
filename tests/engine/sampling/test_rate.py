"""How fast a text was written: tokens over the seconds that writing it took, no more and no less."""

from __future__ import annotations

from typing import Any

import pytest

from engine.model.gpt import GPT
from engine.sampling import generate
from engine.sampling.generate import Done, Piece, generate_many
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.char import CharTokenizer

SETTINGS = SamplingSettings(max_tokens=7, seed=3)


def test_a_rate_is_tokens_over_the_seconds_that_they_took(
    letters: GPT, chars: CharTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second for a token, and nine for a reader to read it, which do not count."""
    now, forward = [100.0], letters.forward

    def computes(*given: Any, **named: Any) -> Any:
        now[0] += 0.5
        return forward(*given, **named)

    monkeypatch.setattr(generate.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(letters, "forward", computes)
    for piece in generate.generate(letters, chars, "ab", SETTINGS):
        now[0] += 9.0 * isinstance(piece, Piece)
    assert isinstance(piece, Done) and (piece.tokens, piece.seconds, piece.tokens_per_second) == (7, 3.5, 2.0)
    for done in generate_many(letters, chars, "ab", SETTINGS, 2):
        assert (done.tokens, done.seconds, done.tokens_per_second) == (7, 3.5, 2.0)
    monkeypatch.setattr(letters, "forward", forward)
    for done in generate_many(letters, chars, "ab", SETTINGS, 2):
        assert done.seconds == done.tokens_per_second == 0.0
