"""Files as their programs begin them, each named for what it is; a text that only looks so is a text."""

from __future__ import annotations

import pytest

from engine.text.magic import no_text

REST = b"\0" + bytes(range(1, 200)) * 3
BEGINNINGS = {
    b"%PDF-1.7\n": "a PDF",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff\xe0": "a JPEG image",
    b"GIF89a\x01\0": "a GIF image",
    b"RIFF\x24\0\0\0WEBPVP8 ": "a WebP image",
    b"II*\0\x08": "a TIFF image",
    b"MM\0*\x08": "a TIFF image",
    b"\0\0\0\x18ftypmp42": "a video or an image in an MP4 container",
    b"RIFF\x24\0\0\0WAVEfmt ": "a WAV recording",
    b"ID3\x04\0": "an MP3 recording",
    b"OggS\0\x02": "an Ogg recording",
    b"fLaC\0\0": "a FLAC recording",
    b"\x1aE\xdf\xa3\x9f": "a Matroska video",
    b"SQLite format 3\0\x10": "a SQLite database",
    b"ARROW1\0\0": "an Arrow table",
    b"\xff\xff\xff\xff\x80": "an Arrow stream",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY\x01": "a NumPy array",
    b"Obj\x01\x04": "an Avro table",
    b"\x7fELF\x02": "a program",
    b"\xca\xfe\xba\xbe\0": "a program",
    b"\xcf\xfa\xed\xfe\x07": "a program",
    b"\0asm\x01": "a WebAssembly program",
    b"MZ\x90\0": "a Windows program",
    b"7z\xbc\xaf\x27\x1c\0": "a 7z archive",
    b"Rar!\x1a\x07\x01": "a RAR archive",
    b"a name" + b"\0" * 251 + b"ustar\x0000": "a tar archive",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0": "an old Word, Excel or PowerPoint file",
    b"{\\rtf1\\ansi": "a rich text document",
    b"\x80\x02}q": "a pickle",
    b"\x80\x04\x95\x0b": "a pickle",
    b"\x80\x05\x95\x0b": "a pickle",
    b"GGUF\x03\0": "a GGUF model",
    b"PK\x03\x04\x14": "a zip archive",
    b"PK\x05\x06\0": "a zip archive",
    b"PAR1\x15": "a Parquet table",
    b"\x1f\x8b\x08": "compressed (gz)",
    b"BZh91AY&SY": "compressed (bz2)",
    b"\xfd7zXZ\0": "compressed (xz)",
    b"\x28\xb5\x2f\xfd": "compressed (zst)",
}


@pytest.mark.parametrize("head", BEGINNINGS, ids=lambda head: BEGINNINGS[head])
def test_each_is_named(head: bytes) -> None:
    assert no_text(head + REST) == BEGINNINGS[head]
    assert no_text(b"~" + head + REST.replace(b"\0", b"")) != BEGINNINGS[head]  # it has to stand where it does


@pytest.mark.parametrize("text", ["MZ", "ID3", "GIF8", "OggS", "fLaC", "GGUF", "ARROW1", "1234ftyp", "12345678WEBP"])
def test_a_text_that_looks_so_is_a_text(text: str) -> None:
    assert no_text(f"{text} and more words".encode()) is None
    assert no_text(f"{text} and more words\0".encode()) is not None
