"""Servers that hang, lie, flood and mislead: a fetch ends in one line, soon, with no more than it may take."""

from __future__ import annotations

import gzip
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CorpusError
from engine.text import unpack, web
from engine.text.catalog import add_corpus, fetch_corpus, find_corpus

Answer = Callable[[socket.socket, random.Random], None]
WITHIN = 20.0  # seconds that any of them may take, patience (below) and a slow machine included
GROWTH = 200 << 20  # bytes of memory that a fetch may take


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patience in shorter time, and the same bounds for less; a good server that is late is lost by it too."""
    for name, value in (("SILENCE", 0.4), ("ANSWER", 1.0), ("WATCHED", 0.5), ("SLOWEST", 4096), ("MOST", 8 << 20)):
        monkeypatch.setattr(web, name, value)
    monkeypatch.setattr(unpack, "ALWAYS", 1 << 20)


@contextmanager
def server(answer: Answer, seed: int) -> Iterator[str]:
    """A server that answers every connection so, until it is not needed any more; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(60)
            while b"\r\n\r\n" not in connection.recv(1 << 16):
                pass
            answer(connection, random.Random(seed))

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *lines, "", ""]).encode()


def silent(wire: socket.socket, rng: random.Random) -> None:
    with suppress(TimeoutError):
        wire.recv(1)


def silent_after_head(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head("Content-Length: 1000") + b"x" * rng.randrange(999))
    silent(wire, rng)


def drop_by_drop(wire: socket.socket, data: bytes) -> None:
    for byte in data:
        wire.sendall(bytes([byte]))
        time.sleep(0.02)


def trickled_head(wire: socket.socket, rng: random.Random) -> None:
    drop_by_drop(wire, head(f"X-Long: {'x' * 2000}"))


def trickled_body(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head(rng.choice(["Content-Length: 1000000", "X-No: length"])))
    drop_by_drop(wire, b"x" * 2000)


def endless_going_on(wire: socket.socket, rng: random.Random) -> None:
    while True:
        wire.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def endless_head(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        wire.sendall(rng.choice([b"X: " + b"y" * 100_000, b"X: y\r\n" * 1000]))


def endless_body(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head())
    while True:
        wire.sendall(b"text " * 20_000)


def endless_chunks(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head("Transfer-Encoding: chunked"))
    while True:
        wire.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def nonsense_chunks(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(
        head("Transfer-Encoding: chunked") + rng.choice([b"zz\r\n", b"-5\r\nabc", b"ffffffffffffffffff\r\nabc"])
    )


def endless_error_page(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head(status=rng.choice(["404 Not Found", "500 Oops", "403 No"])))
    while True:
        wire.sendall(b"no " * 20_000)


def lies_about_length(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head(f"Content-Length: {rng.choice([11, 1000, 10**18, 10**30])}") + b"only these")


def cut_chunks(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head("Transfer-Encoding: chunked") + b"100\r\nonly these")


def partial(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head("Content-Range: bytes 500-509/1000", "Content-Length: 10", status="206 Partial") + b"only these")


def in_a_circle(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head("Location: /again.txt", status=rng.choice(["301 Moved", "302 Found", "307 There", "308 There"])))
    while True:
        wire.sendall(b"and a page without end " * 5000)


def ever_further(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head(f"Location: /{time.monotonic_ns()}.txt", "Content-Length: 0", status="302 Found"))


def away_from_http(wire: socket.socket, rng: random.Random) -> None:
    place = rng.choice(["file:///etc/passwd", "ftp://127.0.0.1/a.txt", "data:,text", "gopher://a", "FILE:/etc/passwd"])
    wire.sendall(head(f"Location: {place}", "Content-Length: 0", status="302 Found"))


def nonsense_redirect(wire: socket.socket, rng: random.Random) -> None:
    place = rng.choice(["http://[::1", "", "http://", "//", "http://127.0.0.1:99999/", "http:///a.txt"])
    wire.sendall(head(f"Location: {place}", "Content-Length: 0", status="302 Found"))


def bomb(wire: socket.socket, rng: random.Random) -> None:
    data = gzip.compress(b"a" * (64 << 20), 1)
    wire.sendall(head(rng.choice(["Content-Encoding: gzip", "X: y"]), f"Content-Length: {len(data)}") + data)


def web_page(wire: socket.socket, rng: random.Random) -> None:
    page = rng.choice([b"<!DOCTYPE html><p>Log in", b"\n <html>sorry", b"\xef\xbb\xbf<!doctype HTML>"])
    wire.sendall(head(rng.choice(["Content-Type: text/html", "Content-Type: text/plain"])) + page)


def no_text(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(head() + rng.choice([b"\x89PNG\r\n\x1a\n", b"%PDF-1.7", b"a\0b", b"caf\xe9", b"", b"\x1f\x8b\x08cut"]))


def wrong_charset(wire: socket.socket, rng: random.Random) -> None:
    charset = rng.choice(["utf-16", "ascii\x00", "hex", "shift_jis", "idna", "punycode"])
    wire.sendall(head(f"Content-Type: text/plain; charset={charset}") + b"\xff\xfe\xff\xff\x00")


def no_http(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(
        rng.choice([b"SSH-2.0-OpenSSH\r\n", b"", b"\xff" * 70_000, b"HTTP/1.1 abc\r\n\r\n", b"HTTP/9 -1 x\r\n\r\n"])
    )


def escapes(wire: socket.socket, rng: random.Random) -> None:
    wire.sendall(b"HTTP/1.1 404 \x1b]0;title\x07\x1b[2J\r\nConnection: close\r\n\r\n")


HOSTILE = (
    silent, silent_after_head, trickled_head, trickled_body, endless_going_on, endless_head, endless_body,
    endless_chunks, nonsense_chunks, endless_error_page, lies_about_length, cut_chunks, partial, in_a_circle,
    ever_further, away_from_http, nonsense_redirect, bomb, web_page, no_text, wrong_charset, no_http, escapes,
)  # fmt: skip


def test_hostile_servers(campaign: Any, hurried: None, tmp_path: Path) -> None:
    promise = campaign(
        "a server that hangs, trickles, lies, floods or misleads ends a fetch in one line, in bounded time and memory; "
        "what was there stays",
        quick=len(HOSTILE),
        whole=20 * len(HOSTILE),
    )
    corpora = tmp_path / "corpora"
    (tmp_path / "mine.txt").write_text("mine\n")
    add_corpus(tmp_path / "mine.txt", "mine", corpora)
    before = find_corpus("mine", corpora).path.read_bytes()
    for number in promise:
        answer = HOSTILE[number % len(HOSTILE)]
        with promise.trial(f"{answer.__name__} {number}"), server(answer, number) as address:
            began, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            with pytest.raises(CorpusError) as caught:
                fetch_corpus(f"{address}/book.txt", corpora)
            said = str(caught.value)
            assert "\n" not in said and ".partial" not in said and ".tmp" not in said and address in said, said
            assert "Errno" not in said and "Traceback" not in said and "invalid literal" not in said, said
            assert time.monotonic() - began < WITHIN
            assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024 < GROWTH
            assert [left.name for left in corpora.iterdir()] == ["mine"], "a failed fetch left something"
            assert find_corpus("mine", corpora).path.read_bytes() == before


def test_an_address_whose_name_is_taken_leaves_what_is_there(tmp_path: Path) -> None:
    corpora = tmp_path / "corpora"

    def well(wire: socket.socket, rng: random.Random) -> None:
        wire.sendall(head("Content-Length: 5") + b"text\n")

    with server(well, 0) as address:
        path = fetch_corpus(f"{address}/book.txt", corpora).path
        path.write_text("edited by hand\n")
        with pytest.raises(CorpusError, match="there is a corpus book already"):
            fetch_corpus(f"{address}/book.txt", corpora)
    assert path.read_text() == "edited by hand\n"


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_a_table_from_the_web_is_a_corpus_as_one_from_a_file_is(tmp_path: Path, name: str) -> None:
    data = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'

    def well(wire: socket.socket, rng: random.Random) -> None:
        wire.sendall(head() + (gzip.compress(data) if name.endswith(".gz") else data))

    with server(well, 0) as address:
        corpus = fetch_corpus(f"{address}/{name}", tmp_path / "corpora")
    assert corpus.name == "a" and corpus.url == f"{address}/{name}"
    assert corpus.prepare(tmp_path / "cache").path.read_text() == "You: Hi\nBot: Hello<END>\n\n"
    assert sorted(left.name for left in corpus.path.parent.iterdir()) == [corpus.path.name, "corpus.toml"]
