"""A corpus is text with a card: where it comes from, how its records look, how to prompt a model trained on it.

`Corpus` is the card; `Corpus.prepare` gives `Text`, a UTF-8 file ready to be split and streamed. A plain text file is
used where it lies. Everything else (tables, conversations, folders, archives, compressed files, files with a byte order
mark or CR LF line ends, generated corpora) is rendered once into the cache, line ends as LF (`render.py`).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.errors import CorpusError
from engine.folders import cache_dir
from engine.text.prepared import Prepared, no_text
from engine.text.render import Rendered, content_hash, rendered
from engine.text.scan import Progress, opened, remembered_scan
from engine.text.source import Format, Source
from engine.text.tables import Recipe
from engine.text.template import CHAT_TEMPLATE, Template

REACH = 1 << 26  # bytes searched for a record boundary to either side of the split
STEP = 1 << 16  # bytes of it at a time


@dataclass(frozen=True)
class Text:
    """A UTF-8 file (no byte order mark, LF line ends), its size and hash, and what ends its records, if anything.

    `left_out` says in words what of the source is not in it, `template` how prompts and answers stand in it.
    """

    path: Path
    n_bytes: int
    sha256: str
    boundary: str | None = None
    left_out: str = ""
    template: Template | None = None

    def split(self, val_fraction: float) -> int:
        """The byte offset where validation begins: int((1 - val_fraction) * n_bytes), moved to where a text may be cut.

        With records, that is right after the last boundary at or before it (or, when none is before it, after the next
        one); without, or when none is within 64 MiB, back to the start of a character. For ASCII without records,
        the 90/10 split of nanoGPT. Raises CorpusError when the file cannot be read.
        """
        target = int((1.0 - val_fraction) * self.n_bytes)
        if self.boundary:
            with opened(self.path) as file:
                cut = _end_near(file, self.boundary.encode(), target, self.n_bytes)
            if cut is not None:
                return cut
        return self.character_start(target)

    def character_start(self, offset: int) -> int:
        """`offset`, at most the text's end, or where the character that it lies inside begins. Raises CorpusError."""
        offset = min(offset, self.n_bytes)
        low = max(0, offset - 3)
        with opened(self.path) as file:
            file.seek(low)
            before, following = file.read(offset - low), file.read(1)
        while before and following and 0x80 <= following[0] <= 0xBF:
            before, following = before[:-1], before[-1:]
        return low + len(before)

    def chunks(self, start: int = 0, end: int | None = None, size: int = 1 << 22) -> Iterator[str]:
        """The bytes [start, end) as text, in pieces of about `size` bytes that never cut a character.

        `start` and `end` must lie between characters, as 0, `n_bytes` and `split` do. Raises CorpusError when the file
        has changed under the reader.
        """
        left = (self.n_bytes if end is None else end) - start
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            with opened(self.path) as file:
                file.seek(start)
                while left > 0:
                    data = file.read(min(size, left))
                    if not data:
                        raise CorpusError(f"{self.path} became shorter while it was read; start again")
                    left -= len(data)
                    if piece := decoder.decode(data, left == 0):
                        yield piece
        except UnicodeDecodeError:
            raise CorpusError(f"{self.path} changed while it was read, or was cut inside a character") from None


def _end_near(file: BinaryIO, mark: bytes, target: int, n_bytes: int) -> int | None:
    """Where the last `mark` ends that ends at or before `target`, else the first one after it.

    None when there is none within reach, or that is the end of the file.
    """
    for high in range(target, max(0, target - REACH), -STEP):
        low = max(0, high - STEP)
        file.seek(low)
        place = file.read(min(high + len(mark) - 1, target) - low).rfind(mark)
        if place >= 0:
            return low + place + len(mark)
    for low in range(max(0, target - len(mark) + 1), min(n_bytes, target + REACH), STEP):
        file.seek(low)
        place = file.read(STEP + len(mark) - 1).find(mark)
        if place >= 0:
            end = low + place + len(mark)
            return end if end < n_bytes else None
    return None


@dataclass(frozen=True)
class Corpus:
    """The card of a corpus. `path` is its file, which for a corpus with a `url` or a `builder` need not be there yet.

    Without a card `path` may also be a folder. `columns` are the (prompt, response) or (text,) columns of a table, or
    with `chat` the one that holds conversations; `boundary` ends a record; `sha256` is what the file must hash to;
    `problem` says in one line why a broken card cannot be used; `prepared` are the tokens of one that has no text.
    """

    name: str
    title: str = ""
    about: str = ""
    source: str = ""
    license: str = ""
    format: Format = "text"
    path: Path = Path()
    template: Template | None = None
    examples: tuple[str, ...] = ()
    shipped: bool = False
    columns: tuple[str, ...] = ()
    boundary: str | None = None
    sha256: str | None = None
    url: str | None = None
    builder: str | None = None
    problem: str | None = None
    chat: bool = False
    prepared: Prepared | None = None

    def __post_init__(self) -> None:
        answers = self.chat or len(self.columns) == 2
        if self.format != "text" and answers != (self.template is not None):
            object.__setattr__(self, "template", CHAT_TEMPLATE if answers else None)

    @property
    def recipe(self) -> Recipe:
        """How its file becomes text."""
        return Recipe(self.columns, self.chat, self.template, self.boundary)

    @property
    def available(self) -> bool:
        """Whether `prepare` needs no network: the file is here, or is built from what is here."""
        return self.problem is None and (self.builder is not None or self.path.exists())

    def check(self) -> None:
        """Raises CorpusError for one that is damaged, has no text, or is still to be fetched."""
        if self.problem is not None:
            raise CorpusError(self.problem)
        if self.prepared is not None:
            raise CorpusError(no_text(self.path))
        if self.url is not None and not self.path.is_file():
            raise CorpusError(
                f"{self.name} is not on this machine yet: tinytui corpora fetch {self.name}, "
                f"or with a copy of your own: tinytui corpora add FILE --name {self.name}"
            )

    def prepare(self, cache: Path | None = None, progress: Progress | None = None) -> Text:
        """The corpus as one UTF-8 file, checked; built or rendered into `cache` (default: the user's) when needed.

        Raises CorpusError for a file that is missing, empty, not text, not what its card says, or has a damaged record.
        """
        cache = cache_dir() if cache is None else cache
        self.check()
        if self.builder is not None:
            from engine.text.stdlib import build_stdlib

            made = Rendered(build_stdlib(cache, progress), self.boundary)
        else:
            with Source(self.path, self.format) as source:
                found = remembered_scan(self.path, cache, progress) if source.plain and self.format == "text" else None
                if self.sha256 not in (None, found.sha256 if found else content_hash(source, cache, progress)):
                    again = "install tinytui" if self.shipped else f"tinytui corpora rm {self.name}, then add it"
                    raise CorpusError(
                        f"{self.path} is not the file that corpus {self.name} was made with (its SHA-256 differs); "
                        f"{again} again"
                    )
                if found and not (found.bom or found.crlf):
                    return Text(self.path.resolve(), found.n_bytes, found.sha256, self.boundary, template=self.template)
                made = rendered(source, self.recipe, cache, progress)
        found = remembered_scan(made.path, cache, progress, ours=True)
        return Text(made.path.resolve(), found.n_bytes, found.sha256, made.boundary, made.left_out, self.template)
