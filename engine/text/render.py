"""A source as one UTF-8 text in the cache, made once: records in their template, texts one after the other.

texts/<key>.txt     the text; the key is a hash of the source's content and of how it was rendered
      <key>.json    what ends its records, and what was left out
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from engine.errors import CorpusError
from engine.files import open_cached, write_cached
from engine.text.rows import rows_of
from engine.text.scan import Progress, remembered
from engine.text.source import Part, Source
from engine.text.tables import CHAT_END, SEPARATOR, Recipe
from engine.text.unpack import TooMuchError
from engine.text.utf8 import as_lines

RENDERING = 2  # goes up when the same source would be rendered differently, so that old renderings are not used
_PIECE = 1 << 20


@checked(frozen=True, config=ConfigDict(strict=True))
class Rendered:
    """A text in the cache, what ends its records, if anything, and in words what was left out of it."""

    path: Path
    boundary: str | None
    left_out: str = ""


def _key(source: Source, recipe: Recipe, digest: str) -> str:
    """By what the text is known that the recipe makes of a source of that digest."""
    shape = [source.format, [part.tabs for part in source.parts[:1]]]
    template = recipe.template.to_dict() if recipe.template else None
    tree = [RENDERING, digest, shape, recipe.columns, recipe.chat, template, recipe.boundary]
    return hashlib.sha256(json.dumps(tree).encode()).hexdigest()[:32]


def content_hash(source: Source, cache: Path, progress: Progress | None = None) -> str:
    """SHA-256 of the source's bytes, remembered while nothing of it changes."""
    place = source.path.resolve()
    return str(remembered("digest", place, source.state(), source.newest(), cache, lambda: source.digest(progress)))


def rendered(source: Source, recipe: Recipe, cache: Path, progress: Progress | None = None) -> Rendered:
    """The text of a source, from the cache or made now. Raises CorpusError when it cannot be, or has no text."""
    state = source.state()
    path = cache / "texts" / f"{_key(source, recipe, content_hash(source, cache, progress))}.txt"
    about = path.with_suffix(".json")
    if path.is_file():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # damaged: made again
            tree = json.loads(about.read_bytes())
            return Rendered(path, tree["boundary"], tree["left_out"])
    counted: Counter[str] = Counter()
    with open_cached(path, CorpusError) as file:
        n_bytes = texts = 0
        for piece in pieces(source, recipe, counted):
            texts += piece is None
            if piece is not None:
                n_bytes += file.write(piece)
                if progress is not None:
                    progress("rendering", source.fraction)
        if not n_bytes:
            raise source.nothing("text" if source.format == "text" else "records")
        if source.again() != state:
            raise CorpusError(f"{source.path} changed while it was read; start again")
        made = Rendered(path, _boundary(source, recipe, texts), source.left_out(counted))
        write_cached(about, json.dumps({"boundary": made.boundary, "left_out": made.left_out}).encode(), CorpusError)
    return made


def _boundary(source: Source, recipe: Recipe, texts: int) -> str | None:
    """What ends a record of the rendered text: what was given, or what rendering puts there."""
    if source.format == "text":
        return recipe.boundary or (SEPARATOR if texts > 1 else None)
    if recipe.template is not None and recipe.chat:
        return recipe.template.suffix + CHAT_END
    return recipe.ending or recipe.boundary or (recipe.template.suffix if recipe.template else "") or None


def pieces(
    source: Source, recipe: Recipe, counted: Counter[str], looked_at: int | None = None
) -> Iterator[bytes | None]:
    """The text in pieces of bytes; None after the end of each whole text. What is left out is counted.

    Of each of several texts `looked_at` blocks are read before, to judge whether it is one: by default all.
    """
    if source.format == "text":
        yield from _texts(source, looked_at)
        return
    for part in source.parts:
        for where, row in rows_of(source, part, recipe.columns):
            if record := recipe.record(row, where, counted):
                yield (record + recipe.ending).encode()


def _texts(source: Source, looked_at: int | None) -> Iterator[bytes | None]:
    """Every part that is text, line ends LF, a blank line between two; of several, those that are none are left out."""
    ended = b""  # how the text before ended; empty before the first
    for part in source.parts:
        if source.single is None and not is_text(source, part, looked_at):
            continue
        if ended:
            yield b"\n" if ended == b"\n" else b"\n\n"
        with as_lines(source.blocks(part)) as file:
            for block in lf(iter(lambda: file.read(_PIECE), "")):
                ended = block[-1:].encode() or ended
                yield block.encode()
        yield None


def is_text(source: Source, part: Part, looked_at: int | None) -> bool:
    """Whether a part can be read, to its end or so many blocks; if not, it is noted why."""
    try:
        for _ in islice(source.blocks(part), looked_at):
            pass
    except TooMuchError:
        raise
    except CorpusError as error:
        why = str(error).removeprefix(part.name).removeprefix(" is ")
        source.skipped.append((part.inner, why.partition("; ")[0].partition(", and a corpus")[0]))
        return False
    return True


def lf(blocks: Iterator[str]) -> Iterator[str]:
    """CR LF as LF; a CR alone stays."""
    held = ""  # a CR at a block's end may belong to a CR LF
    for block in blocks:
        block = held + block
        held = "\r" if block.endswith("\r") else ""
        if text := block.removesuffix("\r").replace("\r\n", "\n"):
            yield text
    if held:
        yield held
