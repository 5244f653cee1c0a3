"""One file from the web, from servers that may be slow, broken or hostile: in bounded time, of bounded size.

The only place that touches the network. What came of a download that broke off is kept, so that the next one goes on:

    downloads/<address>.part in the cache: a line of JSON (address, the server's mark of this version), then the bytes
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import http.client
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from engine.errors import CorpusError
from engine.files import FORGOTTEN, open_atomic, open_cached, reason, sweep
from engine.folders import cache_dir
from engine.text.scan import Progress

SILENCE = 30.0  # seconds without a byte
ANSWER = 60.0  # seconds until the answer begins, redirections and all
WATCHED = 60.0  # seconds over which a server must keep up
SLOWEST = 256  # bytes a second
MOST = 1 << 34  # bytes; more is for other tools
BLOCK = 1 << 16
LEAST = 1 << 20  # bytes of a download that are worth keeping
_HEAD = 1 << 12  # of the line before them
_PAGES = (".html", ".htm", ".xhtml")


class _Before(BaseModel):
    """The line before what came of a download."""

    model_config = ConfigDict(strict=True)

    url: str
    mark: Annotated[str, Field(pattern=r"^[ -~]+$")]
    size: int


class Partial:
    """The beginning of what lies at `url`; `size` bytes of it, 0 for none, of the version `mark`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = cache_dir() / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.part"
        self.size, self.mark, self._start = 0, "", 0
        with contextlib.suppress(OSError, ValueError), self.path.open("rb") as file:
            line = file.readline(_HEAD)
            said = _Before.model_validate_json(line)
            if line.endswith(b"\n") and said.url == url and said.size == self.path.stat().st_size - len(line):
                self.size, self.mark, self._start = said.size, said.mark, len(line)

    @property
    def asks(self) -> dict[str, str]:
        """The headers of a request for the rest: for all of it where that has changed meanwhile."""
        return {"Range": f"bytes={self.size}-", "If-Range": self.mark} if self.size else {}

    def begin(self, file: BinaryIO) -> None:
        """Put what came before into `file`. Raises OSError."""
        with self.path.open("rb") as before:
            before.seek(self._start)
            shutil.copyfileobj(before, file, 1 << 20)

    def keep(self, file: BinaryIO, mark: str) -> None:
        """Keep what came by now, as it is; where that cannot be done the next download begins anew."""
        with contextlib.suppress(OSError, CorpusError, ValueError):
            size = file.tell()
            if size < LEAST or not mark:
                return
            file.flush()
            sweep(self.path.parent, "*.part", older_than=FORGOTTEN)
            head = _Before(url=self.url, mark=mark, size=size).model_dump_json().encode() + b"\n"
            if len(head) > _HEAD:
                return
            with Path(str(file.name)).open("rb") as came, open_cached(self.path, CorpusError) as part:
                part.write(head)
                shutil.copyfileobj(came, part, 1 << 20)

    def drop(self) -> None:
        """It is not needed any more, or of no use."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def download(url: str, path: Path, progress: Progress | None = None, local: str = "") -> None:
    """The answer to `url` as the file `path`, whole or not at all; text becomes UTF-8 where it is said to be none.

    Of one that broke off what came is kept in the cache, and the next goes on there if the server can and has the same.
    Raises CorpusError in one line for anything that goes wrong; `local` is the advice to end it with.
    """
    connections: list[http.client.HTTPConnection] = []
    part = Partial(url)
    gave_up = threading.Event()

    def give_up() -> None:
        gave_up.set()
        for connection in connections:
            with contextlib.suppress(OSError, AttributeError):
                # the plain socket's own: a TLS socket must not be unwrapped under the thread that reads it
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    patience = threading.Timer(ANSWER, give_up)
    patience.daemon = True
    patience.start()
    try:
        headers = {"User-Agent": "tinytui", "Accept": "text/plain, */*;q=0.5", **part.asks}
        request = urllib.request.Request(url, headers=headers)
        with _opener(connections).open(request, timeout=SILENCE) as answer:
            patience.cancel()
            if gave_up.is_set():
                raise TimeoutError
            _keep(answer, part, path, progress)
            part.drop()
    except CorpusError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what came before is more than there is now
            part.drop()
        said = "sends from one address to the next" if 300 <= error.code < 400 else f"says {error.code} {error.reason}"
        raise _failed(url, f"the server {said}", local) from None
    except UnicodeDecodeError as error:
        raise CorpusError(f"{url} is not the text it says it is: {error.reason}{local}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        if gave_up.is_set():
            why = f"no answer within {ANSWER:g} s; try again later"
        elif isinstance(error, OSError) and not isinstance(error, http.client.HTTPException):
            why = f"{_cause(error)}; is this machine online?"
        else:
            why = f"the answer is not to be understood ({str(error).strip()}); try again later"
        raise _failed(url, why, local) from None
    finally:
        patience.cancel()


def _failed(url: str, why: str, local: str) -> CorpusError:
    return CorpusError(" ".join(f"cannot fetch {url}: {why}{local}".split()))


def _cause(error: OSError) -> str:
    """Why a connection failed, in the system's words."""
    inner = getattr(error, "reason", error)  # urllib wraps what happened
    return reason(inner) if isinstance(inner, OSError) else str(inner)


def _keep(answer: http.client.HTTPResponse, part: Partial, path: Path, progress: Progress | None) -> None:
    url, had = part.url, part.size if answer.status == 206 else 0
    if answer.status != 200 and not had:
        raise CorpusError(f"cannot fetch {url}: the server sent {answer.status} {answer.reason} instead of all of it")
    if had and not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {had}-"):
        part.drop()
        raise CorpusError(f"cannot fetch {url}: the server sent another part than was asked for; try again")
    decoder = _decoder(answer.headers.get_content_charset("utf-8"))
    mark = "" if decoder is not None else _version(answer)
    with open_atomic(path, kind=CorpusError) as file:
        if had:
            part.begin(file)
        try:
            for block in _blocks(answer, url, progress, had):
                file.write(block if decoder is None else decoder.decode(block).encode())
        except BaseException:
            part.keep(file, mark or (part.mark if had else ""))
            raise
        if decoder is not None:
            file.write(decoder.decode(b"", True).encode())
        file.flush()
        if not urlsplit(url).path.lower().endswith(_PAGES) and _is_page(path.parent / file.name):
            part.drop()
            raise CorpusError(f"{url} sent a web page, not a text; open it in a browser to see what it says")


def _version(answer: http.client.HTTPResponse) -> str:
    """The server's mark of this very version of what it sends; nothing where it has none."""
    tag = str(answer.headers.get("ETag", ""))
    found = "" if tag.startswith("W/") else tag
    return found or str(answer.headers.get("Last-Modified", ""))


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))


def _blocks(answer: http.client.HTTPResponse, url: str, progress: Progress | None, had: int) -> Iterator[bytes]:
    """The answer's bytes, after the `had` that came before. Raises CorpusError when they come too slowly, are too many,
    or end too soon."""
    size, done = had + answer.length if answer.length else 0, had
    too_many = CorpusError(
        f"{url} sends more than {MOST:,} bytes; download it with another tool, then corpora add FILE"
    )
    if size > MOST:
        raise too_many
    since, before = time.monotonic(), had
    try:
        while block := answer.read1(BLOCK):
            done += len(block)
            if done > MOST:
                raise too_many
            yield block
            if progress is not None:
                progress("fetching", min(1.0, done / size) if size else 0.0)
            if (now := time.monotonic()) - since > WATCHED:
                if done - before < SLOWEST * (now - since):
                    raise CorpusError(f"{url} comes too slowly: {done:,} bytes so far; try again later")
                since, before = now, done
    except (OSError, http.client.HTTPException, ValueError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise CorpusError(f"the connection to {url} broke after {done:,} bytes ({words}); try again") from None
    if done < size:
        raise CorpusError(f"the connection to {url} ended after {done:,} of {size:,} bytes; try again")


def _decoder(charset: str) -> codecs.IncrementalDecoder | None:
    """What turns the server's bytes into text, or None when they are UTF-8 already (checked after the download)."""
    try:
        "".encode(charset)  # refuses codecs that are not of text, such as hex
        name = codecs.lookup(charset).name
        return None if name in ("utf-8", "ascii") else codecs.getincrementaldecoder(charset)()
    except (LookupError, ValueError):
        return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https alone, and reads nothing of the answer that it leaves."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        fp.close()
        scheme = urlsplit(urljoin(req.full_url, headers.get("Location") or headers.get("URI") or "")).scheme
        if scheme not in ("http", "https"):
            raise CorpusError(f"{req.full_url} leads away from http, to {scheme}:; fetch it another way")
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Http(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens http and https; the connections that it makes are noted."""

    def __init__(self, made: list[http.client.HTTPConnection]) -> None:
        super().__init__()
        self._made = made

    def do_open(self, http_class: Any, req: Any, **given: Any) -> Any:
        def connect(*args: Any, **more: Any) -> http.client.HTTPConnection:
            self._made.append(http_class(*args, **more))
            return self._made[-1]

        return super().do_open(connect, req, **given)


def _opener(connections: list[http.client.HTTPConnection]) -> urllib.request.OpenerDirector:
    """Opens http and https addresses only; notes the connections that it makes."""
    opener = urllib.request.OpenerDirector()
    lib = urllib.request
    for handler in (lib.ProxyHandler(), lib.UnknownHandler(), lib.HTTPDefaultErrorHandler(), lib.HTTPErrorProcessor()):
        opener.add_handler(handler)
    opener.add_handler(_Http(connections))
    opener.add_handler(_Redirects())
    return opener
