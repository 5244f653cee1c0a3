"""Which tokens a tokenizer makes most of a text: learned from its beginning, and counted there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.state.corpuswork import StoppedError, stops

if TYPE_CHECKING:
    from engine.text.corpus import Text
    from tui.state.worker import Ticket

SAMPLE = 4 << 20
"""Bytes of a text's beginning that are looked at."""
NAMED = 24
"""Tokens that are named."""
KINDS = (("bpe", 512), ("bpe", 1024), ("bpe", 4096), ("word", 2560), ("char", 0), ("byte", 0), ("gpt2", 0))
"""What one can choose: a kind, and the vocabulary of those that learn one."""


@dataclass(frozen=True)
class TokenCounts:
    """`top` are the most frequent tokens, named, with how often they come in the `n_bytes` that were looked at."""

    name: str
    vocab_size: int
    tokens: int
    distinct: int
    n_bytes: int
    top: tuple[tuple[str, int], ...]


def kind_name(kind: str, vocab: int) -> str:
    """A kind as a person reads it."""
    return f"{kind}, {vocab:,} tokens" if vocab else kind


def count_tokens(text: Text, kind: str, vocab: int, ticket: Ticket) -> TokenCounts | None:
    """The tokens of the text's beginning; None when they are wanted no more. Raises TokenizerError."""
    from engine.config import Config
    from engine.tokenizers.table import train_tokenizer

    progress = stops(ticket)
    data = Config().replace({"data.tokenizer": kind, **({"data.vocab_size": vocab} if vocab else {})}).data
    end = text.character_start(min(SAMPLE, text.n_bytes))
    counts: Counter[int] = Counter()
    try:
        tokenizer = train_tokenizer(data, text, end, progress)
        for chunk in text.chunks(0, end, 1 << 18):
            progress("", 0.0)
            counts.update(tokenizer.encode(chunk).tolist())
    except StoppedError:
        return None
    top = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:NAMED]
    named = tuple((tokenizer.token_label(id), count) for id, count in top)
    return TokenCounts(kind_name(kind, vocab), tokenizer.vocab_size, counts.total(), len(counts), end, named)
