"""A corpus as tokens: two memory-mapped arrays, batches that are a pure function of (seed, step), and exact validation.

Tokens are made once for a corpus, a tokenizer and a split, and kept in the cache:

    tokens/<corpus>-<tokenizer>-<split>/train.bin, val.bin    ids, uint16 or uint32, little-endian
                                        meta.json             what they are made from, their lengths and checksums

The corpus is split first, by bytes; then the tokenizer is trained on the training split alone; then both are encoded.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import CorpusError
from engine.text.mapped import Mapped
from engine.text.places import cache_dir
from engine.text.tokenizer import Ids, Tokenizer

if TYPE_CHECKING:
    from engine.config import DataConfig
    from engine.text.check import Progress
    from engine.text.corpus import Text

_BATCHES = 0x7469_6E79  # second word of the Philox key: what else is ever drawn from a seed uses another
_drawing = threading.local()


@dataclass(frozen=True)
class TokenDataset:
    """The training and validation tokens of a corpus.

    `train` and `val` are 1-D arrays of ids (memory-mapped, read-only). `train_bytes` and `val_bytes` are the UTF-8
    bytes that the *targets* of the split stand for, that is all its tokens but the first, which nothing predicts.
    """

    train: Ids
    val: Ids
    tokenizer: Tokenizer
    train_bytes: int
    val_bytes: int
    corpus_fingerprint: str
    _maps: tuple[Mapped, Mapped] | None = None
    text: Text | None = None
    """What the tokens were made from: training has its first `cut` bytes, validation the others."""
    cut: int = 0

    @classmethod
    def open(
        cls,
        text: Text,
        data: DataConfig,
        cache: Path | None = None,
        progress: Progress | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> TokenDataset:
        """The tokens of `text` from the cache, made first when they are not there or damaged.

        `tokenizer` is one to use instead of training the one `data` asks for (fine-tuning); a character tokenizer then
        follows `data.unknown` where its vocabulary allows. Processes that make the same tokens at the same time do
        not disturb each other. Raises TokenizerError, or CorpusError when the cache cannot be written.
        """
        from engine.text.cache import cached_tokenizer, cached_tokens
        from engine.text.chars import CharTokenizer

        cache = cache_dir() if cache is None else cache
        cut = text.split(data.val_fraction)
        if tokenizer is None:
            tokenizer = cached_tokenizer(text, data, cut, cache, progress)
        elif isinstance(tokenizer, CharTokenizer):
            tokenizer = tokenizer.with_unknown(data.unknown)
        train, val = cached_tokens(text, tokenizer, cut, cache, progress)
        return cls(train.ids, val.ids, tokenizer, train.n_bytes, val.n_bytes, text.sha256, (train, val), text, cut)

    def check(self, block_size: int) -> None:
        """Raises CorpusError unless both splits have a whole window of `block_size` tokens and the target after it."""
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

    def offsets(self, seed: int, step: int, micro: int, batch_size: int, block_size: int) -> NDArray[np.int64]:
        """(batch_size,) where the windows of a micro-batch start in `train`, uniform over all possible starts.

        Philox 4x64 (Salmon et al. 2011) with key (seed, a constant) and counter (0, micro, step, 0). The raw words are
        used, whose sequence NumPy guarantees, so a run can be resumed under another NumPy. The bias of taking the
        remainder is below starts / 2^64.
        """
        starts = len(self.train) - block_size
        if starts < 1:
            self.check(block_size)
        return (_philox(seed, step, micro, batch_size) % np.uint64(starts)).astype(np.int64)

    def batch(
        self, seed: int, step: int, micro: int, batch_size: int, block_size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs x and targets y, both (batch_size, block_size) int64, y being x moved on by one token.

        A pure function of its arguments: there is no loader whose state a resumed run could lose.
        """
        starts = self.offsets(seed, step, micro, batch_size, block_size)
        rows = np.lib.stride_tricks.as_strided(
            self.train,
            (len(self.train) - block_size, block_size + 1),
            (self.train.itemsize, self.train.itemsize),
            writeable=False,
        )[starts]
        if self._maps is not None:
            self._maps[0].touched(batch_size, block_size + 1)
        return rows[:, :-1].astype(np.int64), rows[:, 1:].astype(np.int64)

    def val_windows(self, block_size: int) -> Iterator[tuple[int, int]]:
        """(start, length) of consecutive windows: inputs val[start : start + length], targets one further.

        All have `block_size` tokens but the last, which may be shorter. Every token of `val` except the first is the
        target of exactly one window.
        """
        targets = len(self.val) - 1
        for start in range(0, targets, block_size):
            yield start, min(block_size, targets - start)

    def val_batches(self, block_size: int, batch_size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """The windows of `val_windows` in batches: x, y (at most batch_size, block_size); a shorter last one alone."""
        targets = max(0, len(self.val) - 1)
        whole = targets // block_size * block_size
        for start in range(0, whole, batch_size * block_size):
            yield self._val_batch(start, min(whole, start + batch_size * block_size), block_size)
        if whole < targets:
            yield self._val_batch(whole, targets, targets - whole)

    def _val_batch(self, start: int, end: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids = self.val[start : end + 1].astype(np.int64)
        if self._maps is not None:
            self._maps[1].touched(1, end - start)
        return ids[:-1].reshape(-1, width), ids[1:].reshape(-1, width).copy()

    def bits_per_byte(self, loss: float) -> float:
        """The mean validation loss in nats a token as bits a byte of text: loss / ln 2 * (len(val) - 1) / val_bytes.

        Exact, as both counts are of the targets. Comparable between tokenizers, which the loss is not. nan without
        targets.
        """
        return loss / math.log(2) * (len(self.val) - 1) / self.val_bytes if self.val_bytes else math.nan


def _philox(seed: int, step: int, micro: int, n: int) -> NDArray[np.uint64]:
    """`n` words of Philox at (seed, step, micro). Making a generator costs 20 us, setting one's state 5."""
    state: dict[str, Any] | None = getattr(_drawing, "state", None)
    if state is None:
        _drawing.generator = np.random.Philox(key=0)
        _drawing.state = state = _drawing.generator.state
    state["state"]["key"][:] = (seed, _BATCHES)
    state["state"]["counter"][:] = (0, micro, step, 0)
    state["buffer_pos"] = 4  # nothing left over from the state before
    _drawing.generator.state = state
    words: NDArray[np.uint64] = _drawing.generator.random_raw(n)
    return words
