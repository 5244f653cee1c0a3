"""Downloads: known corpora, Project Gutenberg's books, any text on the web."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from engine.errors import CorpusError
from engine.files import open_atomic
from engine.text.corpus import Corpus
from engine.text.scan import Progress, scan
from engine.text.web import download

GUTENBERG_URL = "https://www.gutenberg.org/cache/epub/{id}/pg{id}.txt"
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
HEAD = 100  # lines: a Gutenberg file's licence header is shorter


def fetch_into(folder: Path, what: str, known: Corpus | None, progress: Progress | None) -> Corpus:
    """Downloads a known corpus' file, the book `gutenberg:ID` or a URL into `folder`: the file, and whence it is.

    Raises CorpusError when it cannot be had, or a book is not text.
    """
    if known is not None:
        path = folder / known.path.name
        own = f"; with a copy of your own: tinytui corpora add FILE --name {known.name}"
        download(str(known.url), path, progress, own)
        return replace(known, path=path)
    if what.startswith("gutenberg:"):
        return _fetch_book(folder, what.removeprefix("gutenberg:"), progress)
    name = unquote(PurePosixPath(urlsplit(what).path).name)
    path = folder / (name if FILE_NAME.fullmatch(name) else "text.txt")
    download(what, path, progress)
    return Corpus("", title=name or what, source=what, url=what, path=path)


def _fetch_book(folder: Path, number: str, progress: Progress | None) -> Corpus:
    url = GUTENBERG_URL.format(id=number)
    whole, path = folder / "whole.txt", folder / "book.txt"
    download(url, whole, progress)
    try:
        scan(whole)
    except CorpusError as error:
        raise CorpusError(str(error).replace(str(whole), url)) from None
    title = cut_gutenberg(whole, path)
    return Corpus(
        "",
        title=title or f"Project Gutenberg {number}",
        source=f"Project Gutenberg, https://www.gutenberg.org/ebooks/{number}",
        license="public domain in the USA; elsewhere see the laws of your country",
        url=url,
        path=path,
    )


def cut_gutenberg(source: Path, target: Path) -> str:
    """Writes the book in `source` to `target` without Project Gutenberg's header and licence, and returns its title.

    The book lies between the lines that begin with `*** START OF` and `*** END OF`; without them all of it is kept.
    """
    title = ""
    with source.open(encoding="utf-8-sig") as file:
        head = list(islice(file, HEAD * 10))
    starts = [number for number, line in enumerate(head) if _marks(line, "START")]
    for line in head[: starts[0] if starts else HEAD]:
        if line.lower().startswith("title:") and not title:
            title = line.partition(":")[2].strip()
    with source.open(encoding="utf-8-sig") as file, open_atomic(target, kind=CorpusError) as out:
        out.writelines(line.encode() for line in _book(islice(file, starts[0] + 1 if starts else 0, None)))
    return title


def _marks(line: str, edge: str) -> bool:
    words = line.lstrip("* ").upper()
    return line.startswith("***") and words.startswith(f"{edge} OF ") and "GUTENBERG" in words


def _book(lines: Iterator[str]) -> Iterator[str]:
    """All to the end mark, without blank lines at either edge."""
    blank, begun = 0, False
    for line in lines:
        if _marks(line, "END"):
            return
        if not line.strip():
            blank += begun
            continue
        yield "\n" * blank + line
        blank, begun = 0, True
