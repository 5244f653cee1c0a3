"""A download that broke off goes on where it was, and never mixes two versions of a text."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CorpusError
from engine.text import web

TEXT = b"".join(b"%06d of the text\n" % number for number in range(20_000))


class Server(ThreadingHTTPServer):
    text, tag, broken, resumes, wrong = TEXT, '"one"', 100_000, True, False
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        same = self.headers.get("If-Range") == server.tag
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and same and server.resumes else 0
        if start > len(server.text):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            first = start + server.wrong
            self.send_header("Content-Range", f"bytes {first}-{len(server.text) - 1}/{len(server.text)}")
        self.send_header("Content-Length", str(len(server.text) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(server.text[start : start + server.broken] if server.broken else server.text[start:])


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web, "LEAST", 1000)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server: Server, path: Path) -> None:
    web.download(f"http://127.0.0.1:{server.server_port}/text.txt", path)


def broken_off(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="100,000 of"):
        fetch(server, tmp_path / "text.txt")
    assert not (tmp_path / "text.txt").exists() and len(list((tmp_path / "cache" / "downloads").iterdir())) == 1


def test_a_broken_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path)
    with pytest.raises(CorpusError, match="200,000 of"):
        fetch(server, tmp_path / "text.txt")
    server.broken = 0
    told: list[float] = []
    url = f"http://127.0.0.1:{server.server_port}/text.txt"
    web.download(url, tmp_path / "text.txt", lambda _, far: told.append(far))
    assert (tmp_path / "text.txt").read_bytes() == TEXT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"] and told[0] > 200_000 / len(TEXT)
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []


@pytest.mark.parametrize("change", ["another text", "no resuming"])
def test_what_changed_meanwhile_is_fetched_whole(server: Server, tmp_path: Path, change: str) -> None:
    broken_off(server, tmp_path)
    server.broken = 0
    if change == "another text":
        server.text, server.tag = TEXT.upper(), '"two"'
    else:
        server.resumes = False
    fetch(server, tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_bytes() == server.text


@pytest.mark.parametrize("answer", ["another part", "less than there was"])
def test_an_answer_that_does_not_fit_is_refused_and_the_next_begins_anew(
    server: Server, tmp_path: Path, answer: str
) -> None:
    broken_off(server, tmp_path)
    server.broken = 0
    if answer == "another part":
        server.wrong = True
    else:
        server.text = TEXT[:50]
    with pytest.raises(CorpusError) as refused:
        fetch(server, tmp_path / "text.txt")
    assert "\n" not in str(refused.value) and not (tmp_path / "text.txt").exists()
    server.wrong = False
    fetch(server, tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_bytes() == server.text and server.asked[-1] is None


@pytest.mark.parametrize("damage", ["cut", "longer", "head", "folder"])
def test_a_damaged_part_is_none(server: Server, tmp_path: Path, damage: str) -> None:
    broken_off(server, tmp_path)
    (part,) = (tmp_path / "cache" / "downloads").iterdir()
    data = part.read_bytes()
    if damage == "folder":
        part.unlink()
        part.mkdir()
    else:
        part.write_bytes({"cut": data[:-5], "longer": data + b"x", "head": b"{" + data}[damage])
    server.broken = 0
    fetch(server, tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_bytes() == TEXT and server.asked == [None, None]


def test_little_is_not_kept_nor_what_has_no_version(server: Server, tmp_path: Path) -> None:
    server.tag = 'W/"weak"'
    with pytest.raises(CorpusError):
        fetch(server, tmp_path / "text.txt")
    server.tag, server.broken = '"one"', 500
    with pytest.raises(CorpusError):
        fetch(server, tmp_path / "text.txt")
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_web_page_is_no_text_unless_one_was_asked_for(server: Server, tmp_path: Path) -> None:
    server.text, server.broken = b"<!doctype html><p>Log in", 0
    with pytest.raises(CorpusError, match=r"/text\.txt sent a web page, not a text; open it in a browser"):
        fetch(server, tmp_path / "text.txt")
    assert not (tmp_path / "text.txt").exists() and not list((tmp_path / "cache").rglob("*.part"))
    web.download(f"http://127.0.0.1:{server.server_port}/Page.HTML", tmp_path / "page")
    assert (tmp_path / "page").read_bytes() == server.text
