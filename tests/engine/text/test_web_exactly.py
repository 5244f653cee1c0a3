"""What an answer of a server is taken for: its version, its encoding, a page, and why there was none."""

from __future__ import annotations

import http.client
import urllib.error
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.text.web import _cause, _decoder, _is_page, _version


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
