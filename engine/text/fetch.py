"""Downloads: known corpora, Project Gutenberg's books, any text on the web. The only place that touches the network."""

from __future__ import annotations

import codecs
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.errors import CorpusError
from engine.files import open_atomic
from engine.text.check import Progress, Scan, scan
from engine.text.corpus import Corpus

GUTENBERG_URL = "https://www.gutenberg.org/cache/epub/{id}/pg{id}.txt"
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 16
HEAD = 100  # lines: a Gutenberg file's licence header is shorter


def fetch_into(folder: Path, what: str, known: Corpus | None, progress: Progress | None) -> Corpus:
    """Downloads a known corpus' file, the book `gutenberg:ID` or a URL into `folder`; the card for what came.

    Raises CorpusError when it cannot be had, is not text, or differs from the known SHA-256.
    """
    if known is not None:
        path = folder / known.path.name
        found = _download(str(known.url), path, progress, known.name)
        if known.sha256 not in (None, found.sha256):
            raise CorpusError(
                f"what {known.url} sent is not {known.name} (SHA-256 {found.sha256[:12]}..., {found.n_bytes:,} bytes); "
                f"try again, or tinytui corpora add FILE --name {known.name}"
            )
        return replace(known, path=path)
    if what.startswith("gutenberg:"):
        return _fetch_book(folder, what.removeprefix("gutenberg:"), progress)
    path = folder / "text.txt"
    found = _download(what, path, progress)
    return Corpus("", title=what.rstrip("/").rsplit("/", 1)[-1], source=what, url=what, path=path, sha256=found.sha256)


def _fetch_book(folder: Path, number: str, progress: Progress | None) -> Corpus:
    url = GUTENBERG_URL.format(id=number)
    whole, path = folder / "whole.txt", folder / "book.txt"
    _download(url, whole, progress)
    title = cut_gutenberg(whole, path)
    whole.unlink()
    return Corpus(
        "",
        title=title or f"Project Gutenberg {number}",
        source=f"Project Gutenberg, https://www.gutenberg.org/ebooks/{number}",
        license="public domain in the USA; elsewhere see the laws of your country",
        url=url,
        path=path,
        sha256=scan(path).sha256,
    )


def cut_gutenberg(source: Path, target: Path) -> str:
    """Writes the book in `source` to `target` without Project Gutenberg's header and licence, and returns its title.

    The book lies between the lines that begin with `*** START OF` and `*** END OF`; without them all of it is kept.
    """
    title = ""
    with source.open(encoding="utf-8-sig") as file:
        head = [line for _, line in zip(range(HEAD * 10), file, strict=False)]
    starts = [number for number, line in enumerate(head) if _marks(line, "START")]
    for line in head[: starts[0] if starts else HEAD]:
        if line.lower().startswith("title:") and not title:
            title = line.partition(":")[2].strip()
    with source.open(encoding="utf-8-sig") as file, open_atomic(target, kind=CorpusError) as out:
        out.writelines(line.encode() for line in _book(file, starts[0] + 1 if starts else 0))
    return title


def _marks(line: str, edge: str) -> bool:
    words = line.lstrip("* ").upper()
    return line.startswith("***") and words.startswith(f"{edge} OF ") and "GUTENBERG" in words


def _book(lines: Iterator[str], first: int) -> Iterator[str]:
    """From line `first` to the end mark, without blank lines at either edge."""
    blank, begun = 0, False
    for number, line in enumerate(lines):
        if number < first:
            continue
        if _marks(line, "END"):
            return
        if not line.strip():
            blank += begun
            continue
        yield "\n" * blank + line
        blank, begun = 0, True


def _download(url: str, path: Path, progress: Progress | None, name: str = "") -> Scan:
    """The text at `url` as UTF-8 in `path`, streamed and checked; what the check found.

    Raises CorpusError in one line for anything that goes wrong; `name` is of the known corpus, if it is one.
    """
    local = f"; with a copy of your own: tinytui corpora add FILE --name {name}" if name else ""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "tinytui", "Accept": "text/plain, */*;q=0.5"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            if not answer.url.startswith(("http://", "https://")):
                raise CorpusError(f"{url} leads away from http; fetch it another way")
            decoder = _decoder(answer.headers.get_content_charset("utf-8"))
            with open_atomic(path, kind=CorpusError) as file:
                for block in _blocks(answer, url, progress):
                    file.write(block if decoder is None else decoder.decode(block).encode())
                if decoder is not None:
                    file.write(decoder.decode(b"", True).encode())
    except CorpusError:
        raise
    except urllib.error.HTTPError as error:
        raise CorpusError(f"cannot fetch {url}: the server says {error.code} {error.reason}{local}") from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{url} is not the text it says it is: {error.reason}{local}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        raise CorpusError(f"cannot fetch {url}: {cause}; is this machine online?{local}") from None
    try:
        return scan(path)
    except CorpusError as error:
        raise CorpusError(str(error).replace(str(path), url)) from None


def _blocks(answer: http.client.HTTPResponse, url: str, progress: Progress | None) -> Iterator[bytes]:
    """The answer's bytes. Raises CorpusError when the connection ends before all of them have come."""
    size, done = int(answer.headers.get("Content-Length") or 0), 0
    try:
        while block := answer.read(BLOCK):
            done += len(block)
            yield block
            if progress is not None:
                progress("fetching", min(1.0, done / size) if size else 0.0)
    except (OSError, http.client.HTTPException) as error:
        raise CorpusError(f"the connection to {url} broke after {done:,} bytes ({error}); try again") from None
    if done < size:
        raise CorpusError(f"the connection to {url} ended after {done:,} of {size:,} bytes; try again")


def _decoder(charset: str) -> codecs.IncrementalDecoder | None:
    """What turns the server's bytes into text, or None when they are UTF-8 already (checked after the download)."""
    try:
        "".encode(charset)  # refuses codecs that are not of text, such as hex
        name = codecs.lookup(charset).name
        return None if name in ("utf-8", "ascii") else codecs.getincrementaldecoder(charset)()
    except LookupError:
        return None
