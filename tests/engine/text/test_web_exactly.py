"""What an answer of a server is taken for: its version, its encoding, a page, and why there was none."""

from __future__ import annotations

import http.client
import io
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import CorpusError
from engine.text.web import _cause, _decoder, _is_page, _Redirects, _version, download


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({}, ""),
        ({"ETag": '"a"'}, '"a"'),
        ({"ETag": 'W/"a"'}, ""),
        ({"Last-Modified": "today"}, "today"),
        ({"ETag": '"a"', "Last-Modified": "today"}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": "today"}, "today"),
    ],
)
def test_a_version_is_a_strong_mark_or_a_date(headers: dict[str, str], version: str) -> None:
    message = Message()
    for name, value in headers.items():
        message[name] = value
    answer: Any = SimpleNamespace(headers=message)
    assert _version(answer) == version


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "ascii", "us-ascii", "no-such", "hex", "a\0b"])
def test_utf_8_and_what_nobody_knows_is_taken_as_it_is(charset: str) -> None:
    assert _decoder(charset) is None


def test_another_encoding_is_decoded_by_and_by() -> None:
    decoder = _decoder("utf-16-le")
    assert decoder is not None and decoder.decode(b"a\0b") + decoder.decode(b"\0") == "ab"
    latin = _decoder("latin-1")
    assert latin is not None and latin.decode(b"\xe9") == "é"


@pytest.mark.parametrize(
    ("content", "page"),
    [
        (b"<!DOCTYPE html>", True),
        (b"\xef\xbb\xbf \r\n\t<HTML lang=en>", True),
        (b" " * 1000 + b"<html>", True),
        (b" " * 2000 + b"<html>", False),
        (b"a <html>", False),
        (b"<!DOCTYPE xml>", False),
        (b"", False),
    ],
)
def test_a_page_is_known_by_its_beginning(content: bytes, page: bool, tmp_path: Path) -> None:
    (tmp_path / "came").write_bytes(content)
    assert _is_page(tmp_path / "came") is page


def test_why_a_connection_failed_is_said_in_the_system_s_words() -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    assert _cause(urllib.error.URLError(refused)) == _cause(refused) == "connection refused"
    assert _cause(urllib.error.URLError("unknown url type: ftp")) == "unknown url type: ftp"
    assert isinstance(http.client.RemoteDisconnected("gone"), OSError)


class Answer(io.BytesIO):
    """As the library's: nothing more is read of one that is closed."""

    def read(self, size: int | None = -1) -> bytes:
        return b"" if self.closed else super().read(size)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("to", "where"),
    [
        ({"Location": "https://other/b.txt"}, "https://other/b.txt"),
        ({"Location": "b.txt"}, "http://here/a/b.txt"),
        ({"URI": "/c"}, "http://here/c"),
        ({"Location": "file:///etc/passwd"}, "file"),
        ({"Location": "ftp://other/b"}, "ftp"),
    ],
)
def test_a_redirection_leads_to_http_alone(code: int, to: dict[str, str], where: str) -> None:
    headers = Message()
    for name, value in to.items():
        headers[name] = value
    request, answer, asked = urllib.request.Request("http://here/a/t.txt"), Answer(b"long"), list[str]()
    redirects = _Redirects()
    parent: Any = SimpleNamespace(open=lambda request, timeout: asked.append(request.full_url))
    redirects.add_parent(parent)
    request.timeout = 3.0
    follow = getattr(redirects, f"http_error_{code}")
    if "://" in where:
        follow(request, answer, code, "moved", headers)
        assert asked == [where]
    else:
        with pytest.raises(CorpusError, match=rf"^http://here/a/t\.txt leads away from http, to {where}:; fetch it"):
            follow(request, answer, code, "moved", headers)
    assert answer.closed


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("bad chunk"), "the answer is not to be understood (bad chunk); try again later"),
        (http.client.IncompleteRead(b"a"), "the answer is not to be understood"),
        (http.client.RemoteDisconnected("gone"), "the answer is not to be understood (gone); try again later"),
        (OSError(113, "No route to host"), "no route to host; is this machine online?"),
    ],
)
def test_what_went_wrong_is_the_network_or_the_answer(
    error: Exception, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path))
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", fails)
    with pytest.raises(CorpusError) as raised:
        download("http://example.org/a.txt", tmp_path / "a.txt")
    assert says in str(raised.value)
