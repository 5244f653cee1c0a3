"""Writing text with a model: streamed piece by piece, or several texts in one batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from engine.errors import CheckpointError, TokenizerError, UserError
from engine.model.gpt import GPT
from engine.sampling.decode import Context
from engine.sampling.distribution import distribution
from engine.sampling.kept import KeptLogits
from engine.sampling.rules import Dice, check_drawn, fresh_seed, sample
from engine.sampling.settings import SamplingSettings
from engine.tokenizers.base import END_OF_TEXT, StreamDecoder, Tokenizer

StopReason = Literal["length", "stop", "cancelled"]
Cancelled = Callable[[], bool]

BATCH = 16  # sequences decoded side by side; bounds the memory of their caches
SEEDS = 2**63


class Alternative(NamedTuple):
    """A token that might have stood here: its label for display, its probability before and after the rules."""

    id: int
    label: str
    before: float
    after: float


@dataclass(frozen=True)
class Piece:
    """One token. `text` is what it adds to the visible text.

    That is empty while a character is incomplete or a stop string may have begun, and later comes with a later piece.
    `kept` is the number of its raw logits where they were asked for.
    """

    id: int
    text: str
    alternatives: tuple[Alternative, ...] = ()
    kept: int | None = None


@dataclass(frozen=True)
class Done:
    """The end of a text. `text` is that of all pieces, `tokens` how many there were, a stop token included.

    `seconds` is the time spent computing, not the time the reader took between two pieces.
    """

    text: str
    tokens: int
    stop_reason: StopReason
    seed: int
    seconds: float
    tokens_per_second: float


def generate(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    settings: SamplingSettings | None = None,
    *,
    cancelled: Cancelled | None = None,
    forced: Sequence[int] = (),
    alternatives: int = 0,
    keep: KeptLogits | None = None,
) -> Iterator[Piece | Done]:
    """Write on from `prompt` (text, or token ids): pieces as they are made, and Done last.

    forced: the first tokens of the output, given instead of drawn. The tokens after them are drawn as if they had been
        drawn too: with a text's own beginning as `forced` and its seed, the same text comes again; with another token
        at its end, the text goes on from that alternative.
    alternatives: how many tokens each drawn piece brings along: the first of its `distribution`.
    keep: where the raw logits of each drawn token are put, for `engine.sampling.distribution`.
    cancelled: asked at every token; after a yes one last piece comes with the text that was held back.

    An empty prompt starts from `start_token`. Past the context the window slides (see `Context`). The model's weights,
    mode and torch's global random state are left alone. Raises UserError before the first piece for settings out of
    bounds, and TokenizerError for a prompt the tokenizer refuses.
    """
    settings = settings or SamplingSettings()
    ids = encode_prompt(model, tokenizer, prompt)
    given = [_checked(token, tokenizer) for token in forced][: settings.max_tokens]

    def pieces() -> Iterator[Piece | Done]:
        began = time.perf_counter()
        row = Row(tokenizer, settings, fresh_seed() if settings.seed is None else settings.seed)
        context = Context(model, ids + given, settings.max_tokens - len(given), drawn=len(given))
        dice = Dice([row.seed], context.ids.device)
        while row.reason is None:
            table: tuple[Alternative, ...] = ()
            kept: int | None = None
            if row.tokens < len(given):
                token = given[row.tokens]
                if not settings.greedy:
                    dice.throw()
            else:
                logits = context.logits()
                drawn = sample(logits, settings, dice, context.ids)
                token = int(drawn)
                check_drawn(token, logits.size(-1))
                if alternatives:
                    before = context.ids[0].tolist()
                    told = distribution(logits[0].cpu(), settings, before, most=alternatives).candidates
                    table = tuple(Alternative(c.id, tokenizer.token_label(c.id), c.raw, c.after) for c in told)
                if keep is not None:
                    kept = keep.add(logits[0])
                context.append(drawn)
            text = row.push(token, cancelled is not None and cancelled())
            shown = time.perf_counter()
            yield Piece(token, text, table, kept)
            began += time.perf_counter() - shown
        yield row.done(time.perf_counter() - began)

    return pieces()


def generate_many(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    settings: SamplingSettings | None = None,
    num: int = 1,
) -> list[Done]:
    """`num` texts from one prompt, decoded side by side; text i is what `generate` writes with seed + i.

    That holds up to the rounding of matrix products, which may differ with the size of a batch. Raises as `generate`.
    """
    settings = settings or SamplingSettings()
    if num < 1:
        raise UserError(f"the number of samples must be 1 or more, not {num}")
    ids = encode_prompt(model, tokenizer, prompt)
    first = fresh_seed() if settings.seed is None else settings.seed
    seeds = [(first + i) % SEEDS for i in range(num)]
    texts: list[Done] = []
    for start in range(0, num, BATCH):
        began = time.perf_counter()
        rows = [Row(tokenizer, settings, seed) for seed in seeds[start : start + BATCH]]
        context = Context(model, ids, settings.max_tokens, len(rows))
        dice = Dice([row.seed for row in rows], context.ids.device)
        while any(row.reason is None for row in rows):  # one that ended is decoded on beside the others, for nothing
            logits = context.logits()
            drawn = sample(logits, settings, dice, context.ids)
            tokens: list[int] = drawn.tolist()
            check_drawn(max(tokens), logits.size(-1))
            context.append(drawn)
            for row, token in zip(rows, tokens, strict=True):
                if row.reason is None:
                    row.push(token)
        seconds = time.perf_counter() - began
        texts += [row.done(seconds) for row in rows]
    return texts


class Row:
    """One text as it grows, and why it ended."""

    def __init__(self, tokenizer: Tokenizer, settings: SamplingSettings, seed: int) -> None:
        self.seed = seed
        self.tokens = 0
        self.reason: StopReason | None = None if settings.max_tokens else "length"
        self._stop_ids = stop_tokens(tokenizer, settings)
        self._max_tokens = settings.max_tokens
        self._decoder = StreamDecoder(tokenizer)
        self._filter = StopFilter(settings.stop)
        self._texts: list[str] = []

    def push(self, token: int, cancelled: bool = False) -> str:
        """The text that becomes certain with this token; sets `reason` when it is the last."""
        self.tokens += 1
        text = ""
        if token in self._stop_ids:
            self.reason = "stop"
        else:
            text = self._filter.push(self._decoder.push(token))
            if self._filter.stopped:
                self.reason = "stop"
            elif cancelled:
                self.reason = "cancelled"
            elif self.tokens >= self._max_tokens:
                self.reason = "length"
        if self.reason is not None:
            text += self._filter.push(self._decoder.flush()) + self._filter.flush()
        self._texts.append(text)
        return text

    def done(self, seconds: float) -> Done:
        rate = self.tokens / seconds if seconds > 0 else 0.0
        return Done("".join(self._texts), self.tokens, self.reason or "cancelled", self.seed, seconds, rate)


class StopFilter:
    """Lets text through until a stop string is complete; what might be the beginning of one is held back until decided.

    The result does not depend on where the pieces are cut: the stop string that is complete first counts, and of two
    complete at once the one that began first.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self.stops = tuple(stops)
        self.stopped = False
        self._held = ""

    def push(self, text: str) -> str:
        """The text that is certain now; sets `stopped` at the end of a stop string, and then lets nothing through."""
        if self.stopped or not self.stops:
            return "" if self.stopped else text
        self._held += text
        found = [(place + len(stop), place) for stop in self.stops if (place := self._held.find(stop)) >= 0]
        self.stopped = bool(found)
        certain = min(found)[1] if found else len(self._held) - self._undecided()
        out, self._held = self._held[:certain], "" if found else self._held[certain:]
        return out

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        out, self._held = self._held, ""
        return out

    def _undecided(self) -> int:
        """Length of the longest end of the held text that is the beginning of a stop string."""
        longest = min(len(self._held), max(map(len, self.stops)) - 1)
        return next((n for n in range(longest, 0, -1) if any(s.startswith(self._held[-n:]) for s in self.stops)), 0)


def encode_prompt(model: GPT, tokenizer: Tokenizer, prompt: str | Sequence[int]) -> list[int]:
    """The prompt's token ids, at least one.

    Raises CheckpointError when model and tokenizer do not belong together, TokenizerError for what cannot be encoded.
    """
    if model.vocab_size != tokenizer.vocab_size:
        raise CheckpointError(
            f"the model knows {model.vocab_size} tokens and the tokenizer {tokenizer.vocab_size}; "
            "they do not belong together, use the tokenizer saved with the checkpoint"
        )
    if isinstance(prompt, str):
        ids = [int(token) for token in tokenizer.encode(prompt)] if prompt else []
    else:
        ids = [_checked(token, tokenizer) for token in prompt]
    return ids or [start_token(tokenizer)]


def stop_tokens(tokenizer: Tokenizer, settings: SamplingSettings) -> frozenset[int]:
    """The tokens that end a text: the settings' own, and special tokens named by a stop string."""
    named = (tokenizer.special[text] for text in settings.stop if text in tokenizer.special)
    return frozenset(settings.stop_ids).union(named)


def start_token(tokenizer: Tokenizer) -> int:
    """What an empty prompt stands for: the token that parts documents if there is one, else a newline, else token 0."""
    if END_OF_TEXT in tokenizer.special:
        return tokenizer.special[END_OF_TEXT]
    try:
        newline = tokenizer.encode("\n")
    except TokenizerError:
        return 0
    return int(newline[0]) if len(newline) else 0


def _checked(token: int, tokenizer: Tokenizer) -> int:
    if not 0 <= token < tokenizer.vocab_size:
        raise TokenizerError(f"no token {token}; the vocabulary has 0 to {tokenizer.vocab_size - 1}")
    return int(token)
