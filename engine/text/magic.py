"""What a file is, by its first bytes: packed, encoded, or no text at all, and then by which name people know it."""

from __future__ import annotations

import codecs
from typing import Literal

Packing = Literal["gz", "bz2", "xz", "zst"]

HEAD = 4096  # bytes that are looked at
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")

_PACKED: tuple[tuple[bytes, Packing], ...] = (
    (b"\x1f\x8b\x08", "gz"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # what follows BZh and a digit: a block, or the end
_ENCODED = (  # the longer marks first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_NAMED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "a PDF"),
    (0, b"\x89PNG\r\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (4, b"ftyp", "a video or an image in an MP4 container"),
    (8, b"WAVE", "a WAV recording"),
    (0, b"ID3", "an MP3 recording"),
    (0, b"OggS", "an Ogg recording"),
    (0, b"fLaC", "a FLAC recording"),
    (0, b"\x1aE\xdf\xa3", "a Matroska video"),
    (0, b"SQLite format 3\0", "a SQLite database"),
    (0, b"ARROW1", "an Arrow table"),
    (0, b"\xff\xff\xff\xff", "an Arrow stream"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"Obj\x01", "an Avro table"),
    (0, b"\x7fELF", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\xcf\xfa\xed\xfe", "a program"),
    (0, b"\0asm", "a WebAssembly program"),
    (0, b"MZ", "a Windows program"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Word, Excel or PowerPoint file"),
    (0, b"{\\rtf", "a rich text document"),
    (0, b"\x80\x02", "a pickle"),
    (0, b"\x80\x04\x95", "a pickle"),
    (0, b"\x80\x05\x95", "a pickle"),
    (0, b"GGUF", "a GGUF model"),
)
# magic numbers that may stand in a text too, and need a NUL beside them
_TEXTUAL = (b"MZ", b"ID3", b"GIF8", b"OggS", b"fLaC", b"GGUF", b"ARROW1", b"ftyp", b"WEBP", b"WAVE", b"ustar")
# What a zip archive is, when it holds one of these members.
_IN_ZIP = (
    ("word/document.xml", "a Word document"),
    ("xl/workbook.xml", "an Excel workbook"),
    ("ppt/presentation.xml", "a PowerPoint file"),
    ("META-INF/container.xml", "an EPUB book"),
    ("META-INF/manifest.xml", "an OpenDocument file"),
    ("META-INF/MANIFEST.MF", "a Java archive"),
)


def packing(head: bytes) -> Packing | None:
    """How the file that begins with `head` is compressed, if it is."""
    if head[:3] == b"BZh" and head[3:4].isdigit() and head[4:10] in _BZIP2_BLOCKS:
        return "bz2"
    return next((name for magic, name in _PACKED if head.startswith(magic)), None)


def is_plain(head: bytes) -> bool:
    """Whether it is neither compressed nor to be converted."""
    return packing(head) is None and encoding(head) in ("utf-8", "utf-8-sig")


def is_zip(head: bytes) -> bool:
    return head.startswith(_ZIP)


def is_parquet(head: bytes) -> bool:
    return head.startswith(b"PAR1")


def encoding(head: bytes) -> str:
    """The encoding that a byte order mark names; `utf-8` without one."""
    return next((name for mark, name in _ENCODED if head.startswith(mark)), "utf-8")


def no_text(head: bytes) -> str | None:
    """What a file is that is no text: `a PDF`, `a PNG image`; None for what may be text."""
    if encoding(head) != "utf-8":
        return None
    for place, magic, words in _NAMED:
        if head[place : place + len(magic)] == magic and (magic not in _TEXTUAL or b"\0" in head):
            return words
    if is_zip(head):
        return "a zip archive"
    if is_parquet(head):
        return "a Parquet table"
    if (packed := packing(head)) is not None:
        return f"compressed ({packed})"
    if len(head) > 1 and not any(head):
        return "all NUL bytes where it begins (a copy that was cut short?)"
    for first, order in ((1, "LE"), (0, "BE")):
        if head[first:20:2].count(0) == len(head[first:20:2]) > 1:
            return f"UTF-16 text without a byte order mark (iconv -f UTF-16{order} -t UTF-8 makes it readable)"
    return None


def document_in_zip(names: frozenset[str]) -> str | None:
    """What a zip archive with these members is, when it is a document of a program rather than an archive of files."""
    found = next((words for member, words in _IN_ZIP if member in names), None)
    if found is None and any(name.endswith("/data.pkl") for name in names):
        return "a PyTorch file"
    return found
