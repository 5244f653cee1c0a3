"""How much of a sample is copied: its longest passage that stands word for word in the training text.

What is much depends on the text: two notes that fill in the same form share long passages, two essays hardly a line.
So a sample is measured against held-out text, which nobody copied: pieces of the validation split, as long as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.errors import CorpusError
from engine.sampling.overlap import Overlap, longest_in_spans, size_of, spans
from engine.tokenizers.dataset import TokenDataset

MOST_BYTES = 32 << 20  # of training text that a sample is compared with: 0.2 s on one core
MOST_CHARACTERS = 8192  # of a sample that are looked at
LONG = 100  # characters, some 20 words; what is shorter is nobody's concern …
HALF = 50  # … unless it is over half of the sample, and at least this long
PIECES = 8  # of held-out text, of the sample's length
LEAST_PIECES = 4  # with fewer the corpus is too small to say what is usual
MARGIN = 1.5  # times what is usual is too much: in three corpora 1 of 60 held-out texts is, and every copied one


@dataclass(frozen=True)
class Copied:
    """`text[start : start + length]` of a sample stands in the training text; in characters.

    `checked` of `of` bytes of training text were compared. `held_out` is what held-out text of that length usually has
    in common with them; None where it was not asked (the passage is short) or too little text is held out.
    """

    length: int
    start: int
    checked: int
    of: int
    held_out: int | None = None

    @property
    def too_much(self) -> bool:
        """Whether it is far more than held-out text would have."""
        return self.held_out is not None and self.length > MARGIN * self.held_out

    @property
    def alarm(self) -> str:
        """What a copy is worth saying, in one line."""
        return (
            f"{self.length:,} characters on end of the sample are copied from the training text; "
            f"held-out text usually shares {self.held_out:,} at most"
        )

    def record(self) -> dict[str, Any]:
        """What samples.jsonl says of it."""
        told: dict[str, Any] = {"length": self.length, "start": self.start, "checked": self.checked, "of": self.of}
        return told if self.held_out is None else {**told, "held_out": self.held_out, "too_much": self.too_much}


class CopyCheck:
    """Compares samples with the training text of `dataset`. Time and memory are bounded for any corpus."""

    def __init__(self, dataset: TokenDataset) -> None:
        self.dataset = dataset
        self._usual: dict[int, int] = {}
        self._before: dict[str, bool] = {}  # of each prompt, whether its last sample was copied too much
        self._unreadable = False

    def look(self, sample: str, give_way: Callable[[], bool], prompt: str = "") -> tuple[Copied | None, str]:
        """How much of it is copied, and an alarm: once while sample after sample of that prompt is too much.

        None when `give_way` said yes, and from when on the text cannot be read; the latter is an alarm too.
        """
        if self._unreadable:
            return None, ""
        try:
            found = self.compare(sample, give_way)
        except CorpusError as error:
            self._unreadable = True
            return None, f"samples are no longer compared with the training text: {error}"
        if found is None:
            return None, ""
        fresh = found.too_much and not self._before.get(prompt, False)
        self._before[prompt] = found.too_much
        return found, found.alarm if fresh else ""

    def compare(self, sample: str, give_way: Callable[[], bool]) -> Copied | None:
        """None where there is nothing to compare, or when `give_way` said yes. Raises CorpusError."""
        text = sample[:MOST_CHARACTERS]
        if self.dataset.text is None or not text:
            return None
        found = self._longest(text, give_way)
        if found is None:
            return None
        long = found.length >= LONG or (found.length >= HALF and 2 * found.length > len(text))
        usual = self._held_out(size_of(text), give_way) if long else None
        return Copied(*found, min(self.dataset.cut, MOST_BYTES), self.dataset.cut, usual)

    def _longest(self, text: str, give_way: Callable[[], bool]) -> Overlap | None:
        assert self.dataset.text is not None
        read = spans(self.dataset.cut, size_of(text), MOST_BYTES)
        return longest_in_spans(text, self.dataset.text.path, read, give_way)  # between two of them it may give way

    def _held_out(self, n_bytes: int, give_way: Callable[[], bool]) -> int | None:
        """The longest passage that a piece of held-out text of at least `n_bytes` usually shares with training text.

        That of the second longest of PIECES, for one may be a copy itself. Looked up once for each power of two.
        """
        size = 1 << (n_bytes - 1).bit_length()
        if size not in self._usual:
            lengths = []
            for piece in self._pieces(size):
                found = self._longest(piece, give_way)
                if found is None:
                    return None
                lengths.append(found.length)
            if not lengths:
                return None
            self._usual[size] = sorted(lengths)[-2]
        return self._usual[size]

    def _pieces(self, size: int) -> Iterator[str]:
        """Texts of `size` bytes, evenly spread over the validation split; none where LEAST_PIECES do not fit it."""
        assert self.dataset.text is not None
        room = self.dataset.text.n_bytes - self.dataset.cut
        count = min(PIECES, room // size)
        if count < LEAST_PIECES:
            return
        try:
            with self.dataset.text.path.open("rb") as file:
                for piece in range(count):
                    file.seek(self.dataset.cut + piece * (room - size) // (count - 1))
                    yield file.read(size).decode("utf-8", "ignore")  # less half a character at an end
        except OSError as error:
            raise CorpusError(f"cannot read {self.dataset.text.path}: {error.strerror}") from None
