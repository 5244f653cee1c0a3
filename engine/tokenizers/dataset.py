"""A corpus as tokens: two memory-mapped arrays, batches that are a function of seed and step, exact validation.

Tokens are made once for a corpus, a tokenizer and a split, and kept in the cache:

    tokens/<corpus>-<tokenizer>-<split>/train.bin, val.bin    ids, uint16 or uint32, little-endian
                                        meta.json             what they are made from, their lengths and checksums
                                        records-*, answers-*  where those lie in them, once they were wanted

The corpus is split first, by bytes; then the tokenizer is trained on the training split alone; then both are encoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorpusError
from engine.folders import cache_dir
from engine.text.prepared import TOKENIZER, Prepared
from engine.tokenizers.answers import LEFT_OUT, Answers, edges_of, find_answers, tokens_of
from engine.tokenizers.base import Ids, Tokenizer
from engine.tokenizers.cache import cached_places, cached_tokenizer, cached_tokens
from engine.tokenizers.shards import Mapped, open_shards
from engine.tokenizers.table import load_tokenizer

if TYPE_CHECKING:
    from engine.config import DataConfig
    from engine.text.corpus import Corpus, Text
    from engine.text.scan import Progress

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, odd


@dataclass(frozen=True)
class TokenDataset:
    """The training and validation tokens of a corpus.

    `train` and `val` are 1-D arrays of ids (memory-mapped, read-only). `val_bytes` are the UTF-8 bytes that the
    *targets* of validation stand for: all its tokens but the first, which nothing predicts. With `answers` those of the
    answers alone.
    """

    train: Ids
    val: Ids
    tokenizer: Tokenizer
    val_bytes: int
    _maps: tuple[Mapped, Mapped] | None = None
    text: Text | None = None
    """What the tokens were made from: training has its first `cut` bytes, validation the others."""
    cut: int = 0
    records: NDArray[np.int64] | None = None
    """Where in `train` sequences may begin, rising from 0; None: anywhere."""
    answers: tuple[Answers, Answers] | None = None
    """Of training and of validation, the tokens that alone are learned and evaluated; None: all."""

    @classmethod
    def open(
        cls,
        text: Text | Prepared,
        data: DataConfig,
        cache: Path | None = None,
        progress: Progress | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> TokenDataset:
        """The tokens of `text` from the cache, made first when they are not there or damaged.

        `tokenizer` is one to use instead of training the one `data` asks for (fine-tuning); a character tokenizer then
        follows `data.unknown` where its vocabulary allows. Processes that make the same tokens at the same time do
        not disturb each other. Tokens that were made ahead are used where they lie. Raises TokenizerError, or
        CorpusError when the cache cannot be written.
        """
        if isinstance(text, Prepared):
            return cls._ahead(text, data, tokenizer)
        cache = cache_dir() if cache is None else cache
        cut = text.split(data.val_fraction)
        if tokenizer is None:
            tokenizer = cached_tokenizer(text, data, cut, cache, progress)
        else:
            tokenizer = tokenizer.with_unknown(data.unknown)
        if data.record_starts and not text.boundary:
            raise CorpusError(
                "this text has no records to begin at; use --set data.record_starts=false, or a table of records"
            )
        train, val = cached_tokens(text, tokenizer, cut, cache, progress)
        starts, answers, val_bytes = None, None, val.n_bytes
        if data.record_starts and (mark := text.boundary):
            (starts,) = cached_places(
                text, tokenizer, cut, cache, ["records", mark], lambda: [record_starts(train.ids, tokenizer, mark)]
            )
        if data.loss == "answers":
            marks = _marks(text)
            *edges, count = cached_places(
                text, tokenizer, cut, cache, ["answers", *marks], lambda: _edges(train.ids, val.ids, tokenizer, marks)
            )
            answers, val_bytes = (Answers(*edges[:2]), Answers(*edges[2:])), int(count.item())
        return cls(train.ids, val.ids, tokenizer, val_bytes, (train, val), text, cut, starts, answers)

    @classmethod
    def _ahead(cls, tokens: Prepared, data: DataConfig, tokenizer: Tokenizer | None) -> TokenDataset:
        """The tokens of a folder, by its own tokenizer, which must be the one that is wanted."""
        folder = tokens.path
        own = load_tokenizer(folder / TOKENIZER)
        if own.fingerprint != tokens.tokenizer.get("fingerprint"):
            raise CorpusError(f"{folder / TOKENIZER} is not what the tokens in {folder} were made with; restore it")
        if tokenizer is not None and tokenizer != own:
            raise CorpusError(
                f"the tokens in {folder} were made with another tokenizer than that of the model; "
                "prepare them again with --tokenizer RUN"
            )
        for wanted, what, name in (
            (data.record_starts, "where records begin", "record_starts=false"),
            (data.loss == "answers", "which of them are answers", "loss=all"),
        ):
            if wanted:
                raise CorpusError(f"the tokens in {folder} do not say {what}; use --set data.{name}")
        train, val = open_shards(tokens)
        return cls(train.ids, val.ids, own, val.n_bytes, (train, val))

    def check(self, block_size: int, most: int | None = None) -> None:
        """Raises CorpusError unless both splits have a whole window of `block_size` tokens and the target after it.

        With `answers` some must be in reach of the sequences, and of an evaluation of `most` tokens.
        """
        least = block_size + 1
        for name, ids, mend in (
            ("training", self.train, "a longer text"),
            ("validation", self.val, "a longer text, a larger --set data.val_fraction"),
        ):
            if len(ids) < least:
                shorter = f", or --set model.block_size={len(ids) - 1} or less" if len(ids) > 2 else ""
                raise CorpusError(
                    f"the {name} split has {len(ids):,} tokens, and a context of {block_size:,} needs {least:,}; "
                    f"use {mend}{shorter}"
                )
        if self.answers is None:
            return
        if self.records is not None and not self.answers[0].targets(self.records, block_size).any():
            raise CorpusError(
                f"no answer begins in the first {block_size:,} tokens of its record; use a larger "
                "--set model.block_size, or --set data.record_starts=false"
            )
        if not self.val_targets(block_size, most):
            raise CorpusError("no answer is in the tokens that are evaluated; use a larger --set data.val_tokens")

    def offsets(self, seed: int, first: int, count: int, block_size: int) -> NDArray[np.int64]:
        """(count,) where in `train` the sequences number `first`, `first` + 1, … of a run with this seed start.

        From a place that hangs on the seed each goes on by the golden section of the text, around its end: so many
        sequences, at any time, lie as evenly over the text as points can (Weyl 1916; Knuth, vol. 3, 6.4). Drawn at
        random some parts would be read often and others seldom, and how good a short run gets would hang on which.
        In integers, so that a run can be resumed anywhere. With `records` each goes back to where its record begins.
        """
        starts = len(self.train) - block_size
        if starts < 1:
            self.check(block_size)
        numbers = np.arange(count, dtype=np.uint64) + np.uint64(first)
        turns = numbers * np.uint64(GOLDEN) + np.uint64(_phase(seed))  # of 2**64, which is once around
        places = ((turns >> np.uint64(11)).astype(np.float64) * (starts * 2.0**-53)).astype(np.int64)
        places = np.minimum(places, starts - 1)  # the product may round up
        if self.records is None:
            return places
        return self.records[np.searchsorted(self.records, places, side="right") - 1]

    def batch(self, seed: int, first: int, count: int, block_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs x and targets y of those sequences, both (count, block_size) int64, y being x moved on by one token.

        Targets that do not count are LEFT_OUT. A pure function of its arguments: there is no loader whose state a
        resumed run could lose.
        """
        starts = self.offsets(seed, first, count, block_size)
        rows = np.lib.stride_tricks.as_strided(
            self.train,
            (len(self.train) - block_size, block_size + 1),
            (self.train.itemsize, self.train.itemsize),
            writeable=False,
        )[starts]
        if self._maps is not None:
            self._maps[0].touched(count, block_size + 1)
        return self._parted(rows, starts, 0)

    def _parted(
        self, rows: NDArray[Any], starts: NDArray[np.int64], split: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs and targets of windows with the target after them, which start there in training (0), validation."""
        x, y = rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)
        if self.answers is not None:
            y[~self.answers[split].mask(starts, y.shape[1])] = LEFT_OUT
        return x, y

    def ahead(self, seed: int, first: int, count: int, block_size: int) -> None:
        """Says that `batch` will be asked for those sequences next: their pages are fetched meanwhile, if need be."""
        if self._maps is not None:
            self._maps[0].ahead(self.offsets(seed, first, count, block_size), block_size + 1)

    def val_targets(self, block_size: int, most: int | None = None) -> int:
        """How many tokens of `val` are targets in `val_batches`: all but the first, or about `most` if fewer.

        With `answers` those of them that count.
        """
        if self.answers is None:
            return self._val_read(block_size, most)
        return sum(int(self.answers[1].targets(*part).sum()) for part in self._val_windows(block_size, most))

    def _val_read(self, block_size: int, most: int | None) -> int:
        """How many tokens an evaluation goes through."""
        targets = max(0, len(self.val) - 1)
        if most is None or most >= targets or targets < block_size:
            return targets
        return max(1, most // block_size) * block_size

    def _val_windows(self, block_size: int, most: int | None) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Where the windows of `val_batches` start, and how wide they are: the whole ones, then a shorter last one."""
        targets, chosen = max(0, len(self.val) - 1), self._val_read(block_size, most)
        windows, whole = targets // block_size, chosen // block_size
        if whole:
            yield np.arange(whole, dtype=np.int64) * windows // whole * block_size, block_size
        if chosen == targets and whole * block_size < targets:
            yield np.array([whole * block_size]), targets - whole * block_size

    def val_batches(
        self, block_size: int, batch_size: int, most: int | None = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Consecutive windows of `val` in batches x, y (at most batch_size, block_size), y being x moved on by one.

        Every token but the first is the target of exactly one; a shorter last window comes alone. With `most` fewer,
        as many whole windows as that holds, spread evenly over `val`, the same ones every time.
        """
        for starts, width in self._val_windows(block_size, most):
            for first in range(0, len(starts), batch_size):
                some = starts[first : first + batch_size]
                rows = self.val[some[:, None] + np.arange(width + 1)]
                if self._maps is not None:
                    self._maps[1].touched(1, rows.size)
                yield self._parted(rows, some, 1)

    def bits_per_byte(self, loss: float) -> float:
        """The mean validation loss in nats a token as bits a byte of text: loss / ln 2 * targets / val_bytes.

        Exact where all targets were evaluated, as both counts are of them. Comparable between tokenizers, which the
        loss is not. nan without targets.
        """
        return loss / math.log(2) * self.val_targets(len(self.val) - 1) / self.val_bytes if self.val_bytes else math.nan


def material(corpus: Corpus, progress: Progress | None = None) -> Text | Prepared:
    """What a corpus is trained on: its text (see `Corpus.prepare`), or the tokens that were made of it. CorpusError."""
    return corpus.prepared if corpus.prepared is not None else corpus.prepare(progress=progress)


def _marks(text: Text) -> tuple[str, str, str]:
    """By what answers are found in a text. Raises CorpusError where it has none."""
    marks = text.template.marks if text.template is not None else None
    if marks is None:
        raise CorpusError("this text has no prompts with answers; use --set data.loss=all, or a table that has both")
    return marks


def _edges(train: Ids, val: Ids, tokenizer: Tokenizer, marks: tuple[str, str, str]) -> list[NDArray[np.int64]]:
    """Where the answers of both splits begin and end, and the bytes of the targets in those of validation.

    Raises CorpusError for a split without any.
    """
    learned, held_out = find_answers(train, tokenizer, marks), find_answers(val, tokenizer, marks)
    for name, found in (("training", learned), ("validation", held_out)):
        if not len(found):
            raise CorpusError(f"no answer, as the corpus' template has them, is in the {name} split; use a longer text")
    count = np.array([held_out.n_bytes(val, tokenizer)])
    return [learned.begins, learned.ends, held_out.begins, held_out.ends, count]


def _phase(seed: int) -> int:
    """Where around the text the sequences of a seed begin, in 2**64 parts."""
    return int.from_bytes(blake2b(b"batches %d" % seed, digest_size=8).digest(), "little")


def record_starts(ids: Ids, tokenizer: Tokenizer, boundary: str, block: int = 1 << 20) -> NDArray[np.int64]:
    """(records,) the places in `ids` where a record begins: 0, and the first token wholly after each `boundary`."""
    mark = boundary.encode()
    last = tokens_of(ids, tokenizer, edges_of(ids, tokenizer, [(mark, len(mark))], block) - 1, block)
    places = np.unique(np.append(0, last + 1))
    return places[places < len(ids)]
