"""Bytes out of compressed files, in blocks, with a bound on what a small file may become."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO
from zipfile import BadZipFile

from engine.errors import CorpusError
from engine.files import reason
from engine.text.magic import Packing

BLOCK = 1 << 20
TIMES = 100  # text rarely packs to less than a twentieth of its size; zip bombs to a thousandth
ALWAYS = 1 << 30  # bytes that any file may unpack to
_ZSTD_FEED = 1 << 10  # compressed bytes at once: each may become 32 KiB
_ZSTD_WINDOW = 1 << 27  # bytes of memory, as the zstd program itself allows


class TooMuchError(CorpusError):
    """A small file that becomes far more than any text would: nothing of it is used."""


def unpacked(file: BinaryIO, packing: Packing | None, name: str, packed_bytes: int) -> Iterator[bytes]:
    """The content of an open file in blocks of about 1 MiB.

    Raises CorpusError that names `name` when the file is damaged, cut short, or unpacks to far more than any text
    would; `packed_bytes` is its size.
    """
    done, most = 0, max(ALWAYS, TIMES * packed_bytes)
    try:
        for block in _blocks(file, packing, name):
            done += len(block)
            if done > most:
                raise too_much(name, packed_bytes, most)
            yield block
    except (EOFError, zlib.error, lzma.LZMAError, BadZipFile, gzip.BadGzipFile) as error:
        raise _damaged(name, str(error)) from None
    except NotImplementedError as error:
        raise CorpusError(
            f"{name} cannot be unpacked here ({error}); unpack it yourself and name what comes out"
        ) from None
    except OSError as error:
        if packing is not None and error.errno is None:  # bz2's word for damage
            raise _damaged(name, str(error)) from None
        raise CorpusError(f"cannot read {name}: {reason(error)}") from None


def too_much(name: str, packed_bytes: int, most: int) -> TooMuchError:
    """What is said of a file that becomes far more than any text would."""
    return TooMuchError(
        f"{name} has {packed_bytes:,} bytes and unpacks to more than {most:,}, as bombs do; "
        "if it is meant so, unpack it yourself"
    )


def _damaged(name: str, words: str) -> CorpusError:
    said = " ".join(words.split()).rstrip(".")
    return CorpusError(f"{name} is damaged or cut short ({said or 'its end is missing'}); get it again")


def _blocks(file: BinaryIO, packing: Packing | None, name: str) -> Iterator[bytes]:
    if packing == "zst":
        yield from _zstd(file, name)
        return
    openers: dict[Packing, Any] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    opened = openers[packing](file, "rb") if packing else file
    while block := opened.read(BLOCK):
        yield block


def _zstd(file: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise CorpusError(
            f"{name} is compressed by zstd; to read it: pip install 'tinytui[zstd]', or unpack it: zstd -d"
        ) from None
    machine = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = machine.decompressobj()
    held: list[bytes] = []
    size, begun = 0, False
    try:
        while data := file.read(_ZSTD_FEED):
            while data:
                if frame.eof:
                    frame, begun = machine.decompressobj(), False
                held.append(frame.decompress(data))
                begun, data = True, frame.unused_data if frame.eof else b""
                size += len(held[-1])
                if size >= BLOCK:
                    yield b"".join(held)
                    held, size = [], 0
    except zstandard.ZstdError as error:
        if "memory" in str(error):
            raise CorpusError(f"{name} takes over 128 MiB of memory to unpack; unpack it: zstd -d --long=31") from None
        raise _damaged(name, str(error)) from None
    if begun and not frame.eof:
        raise EOFError("its end is missing")
    yield b"".join(held)
