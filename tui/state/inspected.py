"""What is looked into, read beside the screen: a text in tokens, its losses, attention, the lens, one token.

All of this is for a worker's thread. `Held` keeps one model, the one looked into last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

from engine.errors import CheckpointError, UserError
from tui.state.worker import Ticket
from tui.text import clean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.inspect.layers import AttentionMaps, Lens
    from engine.inspect.losses import Losses, Passage, Worst
    from engine.inspect.subject import HeldOut, Subject
    from engine.inspect.vocabulary import Merge, Neighbour
    from engine.runs.layout import RunDir
    from engine.tokenizers.base import Tokenizer

LENGTH, LENGTHS = 1024, (256, 512, 1024, 2048, 4096, 8192, 16384)
"""Tokens of a held-out passage, and what one can choose."""
MOST_TYPED = 65_536
"""Tokens of a typed text that are looked at."""
PUBLISH_EVERY = 0.2
"""Seconds between two looks at losses that are still being computed."""
AT_ONCE = 256
"""Tokens between which attention and the lens are looked at together."""


@dataclass(frozen=True)
class Source:
    """Which text: passage `number` of `length` tokens of the held-out text; one of its worst passages; a typed one."""

    kind: Literal["held-out", "worst", "typed"] = "held-out"
    number: int = 0
    length: int = LENGTH
    passage: Passage | None = None
    typed: str = ""


@dataclass(frozen=True, eq=False)
class LookedText:
    """A text in tokens. Those before `first` are there for the model alone, those before `judged` are only context.
    `counted` (n,) are those in the figures: from there on all, or the answers where they alone were learned.

    `ids` int64 (n,); `pieces` says what each token writes, harmless, `⏎` before each newline. `passages` is how many
    passages of this length the held-out text has, and `counts` how often each token occurs, most frequent first.
    """

    source: Source
    tokenizer: Tokenizer
    ids: NDArray[np.int64]
    pieces: tuple[str, ...]
    counts: tuple[tuple[int, int], ...]
    bytes_per_token: float
    first: int
    judged: int
    counted: NDArray[np.bool_]
    passages: int = 0

    @property
    def in_part(self) -> bool:
        """Whether answers alone count."""
        return not self.counted[self.judged :].all()

    def label(self, id: int) -> str:
        """A token for display, in one line."""
        return clean(self.tokenizer.token_label(id), keep_newlines=False)


@dataclass(frozen=True, eq=False)
class Read:
    """A text and what the weights of `step` make of it, as far as it is known. `why` there are no losses, if so."""

    text: LookedText
    step: int | None = None
    losses: Losses | None = None
    whole: bool = False
    why: str = ""
    told: tuple[str, ...] = ()

    def loss_of(self, place: int) -> float | None:
        """Of the token at `place`, in nats; None where it has none, or it is not known yet."""
        at = place - self.losses.start if self.losses is not None else -1
        return float(self.losses.loss[at]) if self.losses is not None and 0 <= at < len(self.losses) else None

    @cached_property
    def judged(self) -> Losses | None:
        """The losses that count."""
        losses = self.losses
        if losses is None:
            return None
        counted = self.text.counted[losses.start : losses.start + len(losses)]
        return replace(losses, ids=losses.ids[counted], loss=losses.loss[counted])

    @cached_property
    def figures(self) -> tuple[int, float, float] | None:
        """(tokens, mean loss in nats, bits a byte) of those that count; None while there are none."""
        judged = self.judged
        if judged is None or not len(judged):
            return None
        return len(judged), judged.mean, judged.bits_per_byte(self.text.tokenizer)


@dataclass(frozen=True, eq=False)
class Part:
    """Attention or the lens of the tokens `start` to `end` of a text, at its weights of `step`."""

    text: LookedText
    step: int | None
    start: int
    end: int
    maps: AttentionMaps | None = None
    lens: Lens | None = None

    def covers(self, text: LookedText, step: int | None, place: int) -> bool:
        return self.text is text and self.step == step and self.start <= place < self.end


@dataclass(frozen=True)
class TokenFacts:
    """A token's nearest neighbours, where there are weights, and the merges that make it."""

    id: int
    step: int | None
    neighbours: tuple[Neighbour, ...]
    merges: tuple[Merge, ...]


class Held:
    """One run's weights and held-out text; read again when the checkpoint is another one."""

    def __init__(self, corpora_dir: Path | None) -> None:
        self._corpora_dir = corpora_dir
        self._model: tuple[Path, object, Subject] | None = None
        self._text: tuple[object, HeldOut] | None = None

    def subject(self, run: RunDir, which: str | int, say: Callable[[str], None]) -> Subject:
        """The model at a checkpoint; read once for each manifest."""
        from engine.inspect.subject import open_subject
        from engine.training.checkpoint import choose_checkpoint

        path = choose_checkpoint(run, which)
        mark = which, path, _stamp(path / "manifest.json")
        held = self._model
        if held is None or held[1] != mark:
            held = self._model = None  # before the next one is read: two may not fit
            held = self._model = run.path, mark, open_subject(run, which, say=say)
        return held[2]

    def shown(self, run: RunDir, step: int) -> Subject:
        """The model whose step is on the screen, as it was read, also when its files have gone since."""
        held = self._model
        if held is not None and held[0] == run.path and held[2].step == step:
            return held[2]
        return self.subject(run, step, lambda _: None)

    def tokenizer(self, run: RunDir) -> Tokenizer:
        """Also before the first checkpoint."""
        from engine.inspect.subject import run_tokenizer

        return run_tokenizer(run, self._corpora_dir)

    def held_out(self, run: RunDir, tokenizer: Tokenizer) -> HeldOut:
        """The validation split; raises CorpusError where its corpus is gone."""
        from engine.inspect.subject import open_held_out

        key, held = (run.path, tokenizer.fingerprint), self._text
        if held is None or held[0] != key:
            held = self._text = key, open_held_out(run, tokenizer, self._corpora_dir)
        return held[1]


def _stamp(path: Path) -> object:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


@contextmanager
def alone(beside: bool) -> Iterator[None]:
    """Beside a training of this process, in one thread: see `engine.machine`."""
    from engine.machine import one_thread

    with one_thread() if beside else nullcontext():
        yield


def read_text(held: Held, run: RunDir, which: str | int, source: Source, ticket: Ticket) -> Read:
    """The text in tokens, published as soon as it is known, then its losses, as they are computed.

    Before the first checkpoint there are tokens alone. Raises UserError for a text that cannot be read.
    """
    from engine.inspect.losses import joined, text_losses

    told: list[str] = []
    subject, why = None, ""
    try:
        subject = held.subject(run, which, told.append)
    except CheckpointError as error:
        why = str(error)
    tokenizer = subject.tokenizer if subject is not None else held.tokenizer(run)
    text = looked_text(held, run, tokenizer, source)
    read = Read(text, subject.step if subject is not None else None, why=why, told=tuple(told))
    if subject is None or len(text.ids) < 2:
        return replace(read, whole=True)
    ticket.publish(read)
    parts: list[Losses] = []
    said = monotonic()
    for part in text_losses(subject.model, text.ids, cancelled=lambda: ticket.cancelled):
        parts.append(part)
        if monotonic() - said > PUBLISH_EVERY:
            said = monotonic()
            parts = [joined(parts)]
            ticket.publish(replace(read, losses=parts[0]))
    return replace(read, losses=joined(parts) if parts else None, whole=True)


def looked_text(held: Held, run: RunDir, tokenizer: Tokenizer, source: Source) -> LookedText:
    """The tokens of `source`. A typed text begins as one that the model writes without a prompt does."""
    import numpy as np

    from engine.inspect.vocabulary import cut
    from engine.sampling.generate import start_token

    first, judged, passages, learned = 1, 1, 0, None
    if source.kind == "typed":
        own = tokenizer.encode(source.typed).astype(np.int64)[:MOST_TYPED]
        if not len(own):
            raise UserError("no text was typed; i types one, g goes to a held-out passage")
        ids = np.append(start_token(tokenizer), own)
    else:
        try:
            split = held.held_out(run, tokenizer)
        except UserError as error:
            raise UserError(f"{error}; i looks at a text that you type") from None
        passages = split.passages(source.length)
        if source.passage is not None:
            passage = source.passage
            ids = split.ids[passage.window : passage.start + passage.length].astype(np.int64)
            first, judged, place = 0, passage.start - passage.window, passage.window
        else:
            number = min(source.number, max(0, passages - 1))
            ids, first, place = split.passage(number, source.length), min(1, number), number * source.length
        learned = split.counted(place, len(ids) - 1)
    facts, counted = cut(tokenizer, ids[first:]), np.arange(len(ids)) >= judged
    if learned is not None:
        counted[1:] &= learned
    return LookedText(
        source, tokenizer, ids, pieces_of(tokenizer, ids), tuple(facts.counts), facts.bytes_per_token,
        first, judged, counted, passages,
    )  # fmt: skip


def pieces_of(tokenizer: Tokenizer, ids: NDArray[np.int64]) -> tuple[str, ...]:
    """What each token writes, harmless; of a character in several tokens all but the last say which byte they are."""
    from engine.tokenizers.base import StreamDecoder

    decoder = StreamDecoder(tokenizer)
    pieces = []
    for id in ids.tolist():
        written = decoder.push(id)
        shown = clean(written).replace("\n", "⏎\n") if written else clean(tokenizer.token_label(id))
        pieces.append(shown or "·")
    return tuple(pieces)


def read_attention(held: Held, run: RunDir, step: int, text: LookedText, place: int, ticket: Ticket) -> Part:
    """Who looks at whom around `place`. Raises UserError for a model that attends to nothing."""
    from engine.inspect.layers import attention_maps

    subject = held.shown(run, step)
    start, end = around(place, len(text.ids), subject.model.config.block_size)
    maps = attention_maps(subject.model, text.ids[start:end])
    if start + maps.start > place:  # a model of many heads shows fewer tokens at once
        end = place + 1
        maps = attention_maps(subject.model, text.ids[start:end])
    return Part(text, subject.step, start + maps.start, end, maps=maps)


def read_lens(held: Held, run: RunDir, step: int, text: LookedText, place: int, ticket: Ticket) -> Part | None:
    """What each layer would say around `place`."""
    from engine.inspect.layers import logit_lens

    subject = held.shown(run, step)
    start, end = around(place, len(text.ids), subject.model.config.block_size)
    lens = logit_lens(subject.model, text.ids[start:end], cancelled=lambda: ticket.cancelled)
    return Part(text, subject.step, start + lens.start, end, lens=lens) if lens is not None else None


def around(place: int, tokens: int, block_size: int) -> tuple[int, int]:
    """The stretch of a text that holds `place`: consecutive ones of the context, or of AT_ONCE."""
    size = min(AT_ONCE, block_size)
    start = place // size * size
    return start, min(tokens, start + size)


def read_token(held: Held, run: RunDir, step: int | None, text: LookedText, id: int) -> TokenFacts:
    """What the weights of `step`, if any, and the vocabulary know of a token."""
    from engine.inspect.vocabulary import merges_of, neighbours

    merges = merges_of(text.tokenizer, id)
    if step is None:
        return TokenFacts(id, None, (), merges)
    return TokenFacts(id, step, tuple(neighbours(held.shown(run, step).model, id, 12)), merges)


def read_worst(held: Held, run: RunDir, step: int, ticket: Ticket) -> tuple[Worst, tuple[str, ...], int] | None:
    """The worst passages, published as they are found, each with its text in one line, and the step of the weights."""
    from engine.inspect.losses import worst_passages

    subject = held.shown(run, step)
    split = held.held_out(run, subject.tokenizer)
    found: tuple[Worst, tuple[str, ...], int] | None = None
    known: dict[Passage, str] = {}
    said = 0.0
    for worst in worst_passages(subject.model, split.ids, answers=split.answers, cancelled=lambda: ticket.cancelled):
        done = worst.looked_at == worst.wanted
        if not done and monotonic() - said < PUBLISH_EVERY:
            continue
        said = monotonic()
        for each in worst.passages:
            if each not in known:
                ids = split.ids[each.start : each.start + each.length]
                known[each] = clean(subject.tokenizer.decode(ids)).replace("\n", "⏎")
        found = worst, tuple(known[each] for each in worst.passages), subject.step
        ticket.publish(found)
    return found
