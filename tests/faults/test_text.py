"""Text that is larger, longer or worse than anyone expects: bounded memory, and the corpus or one line."""

from __future__ import annotations

import gzip
import json
import random
import string
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CorpusError, UserError
from engine.text.catalog import find_corpus
from tests.faults.conftest import WHOLE

LENGTH = (300 if WHOLE else 5) << 20  # bytes of one line
LONGEST = (16 if WHOLE else 1) << 20  # characters that a reader takes on in one piece
MEMORY = 700 if WHOLE else 200  # MiB that reading it may take beside what a process without it takes
SECONDS = 900 if WHOLE else 60

READ = """
import json, resource, sys
from engine.config import DataConfig
from engine.errors import UserError
from engine.text import rows
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before = peak()
rows.LONGEST = int(sys.argv[3])
rows.csv.field_size_limit(rows.LONGEST)
try:
    text = find_corpus(sys.argv[1]).prepare()
    data = TokenDataset.open(text, DataConfig(tokenizer=sys.argv[2], vocab_size=300))
    said = {"bytes": text.n_bytes, "tokens": len(data.train) + len(data.val)}
except UserError as error:
    said = {"refused": str(error)}
print(json.dumps(said | {"grown": peak() - before}))
"""

WORDS = b"the quick brown fox says nothing "
LINES: dict[str, tuple[str, bytes, bytes, bytes]] = {
    # what is repeated stands between what begins and what ends the file
    "a line of words": ("a.txt", b"", WORDS, b""),
    "a line without any space": ("a.txt", b"", b"gattacacat", b""),
    "a line of two-byte letters": ("a.txt", b"", "жук".encode(), b""),
    "compressed": ("a.txt.gz", b"", WORDS, b""),
    "a CSV value in quotes": ("a.csv", b'text\n"', WORDS, b'"\n'),
    "a CSV value without quotes": ("a.csv", b"text\n", WORDS, b"\n"),
    "a CSV header": ("a.csv", b"", WORDS, b"\n"),
    "a CSV header of very many columns": ("a.csv", b"", b"a,b c,", b"d\n1\n"),
    "a CSV row of very many values": ("a.csv", b"text\n", b"a,b c,", b"d\n1\n"),
    "a quote that is never closed": ("a.csv", b'prompt,response\n"', b"a line, and more\n", b""),
    "a JSONL value": ("a.jsonl", b'{"text": "', WORDS, b'"}\n'),
    "a JSON object with very many keys": ("a.jsonl", b"{", b'"k": "v", ', b'"text": "x"}\n'),
    "a value in a JSON list": ("a.json", b'[{"text": "', WORDS, b'"}]\n'),
    "a JSON list that is never closed": ("a.json", b'[{"text": "', WORDS, b""),
    "a message": ("a.jsonl", b'{"messages": [{"role": "user", "content": "', WORDS, b'"}]}\n'),
    "blanks and nothing else": ("a.json", b"", b" " * 32, b""),
    "compressed JSONL": ("a.jsonl.gz", b'{"text": "', WORDS, b'"}\n'),
}


def write_line(folder: Path, name: str, first: bytes, unit: bytes, last: bytes) -> Path:
    path = folder / name
    block = unit * ((1 << 20) // len(unit))
    with gzip.open(path, "wb", 1) if name.endswith(".gz") else path.open("wb") as file:
        file.write(first)
        for _ in range(LENGTH // len(block)):
            file.write(block)
        file.write(last)
    return path


def test_a_line_of_300_megabytes(campaign: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ("char", "byte", "bpe", "word") if WHOLE else ("char",)
    cases = [(line, kind) for line in LINES for kind in (kinds if line.startswith("a line") else ("char",))]
    cases = cases if WHOLE else cases[1::4]
    promise = campaign(
        "a line of 300 MB, as text or in a table, is trained on or refused in one line, in bounded memory",
        quick=len(cases),
        whole=len(cases),
    )
    for number in promise:
        line, kind = cases[number]
        monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / f"cache-{number}"))
        path = write_line(tmp_path, *LINES[line])
        with promise.trial(f"{line}, {kind}"):
            command = [sys.executable, "-c", READ, str(path), kind, str(LONGEST)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            assert done.returncode == 0 and not done.stderr, done.stderr[-300:]
            said = json.loads(done.stdout)
            assert said["grown"] < MEMORY, said
            assert "\n" not in said.get("refused", "") and len(said.get("refused", "")) < 600, said
            if path.name.startswith("a.txt"):
                assert said.get("bytes", 0) > LENGTH * 0.9, said
        path.unlink()


def hostile_text(rng: random.Random) -> str:
    """A text with whatever breaks readers: ends of lines and records, quotes, marks, escapes, rare characters."""
    parts = ["\n", "\r\n", "\r", ",", '"', '""', "\t", "<END>", "\n\n", "You: ", "\ufeff", "\x1b[2J", "\u2028", "\x85"]
    parts += [
        "{",
        "}",
        "[",
        "]",
        "\\",
        "\\n",
        "\x7f",
        "é",
        "日本",
        "\U0001f600",
        "e\u0301",
        "\u202e",
        " ",
        string.printable,
    ]
    return "".join(rng.choices(parts, k=rng.randrange(1, 30)))


Wreck = Callable[[random.Random, bytes], bytes]


def flipped(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def crossed(rng: random.Random, data: bytes) -> bytes:
    first, last = sorted(rng.choices(range(len(data)), k=2))
    return data[:first] + data[last:] + data[first:last]


def filled(rng: random.Random, data: bytes) -> bytes:
    place = rng.randrange(len(data))
    return data[:place] + rng.randbytes(rng.randrange(1, 40)) + data[place:]


WRECKS: tuple[Wreck, ...] = (flipped, cut, crossed, filled)


def sources(rng: random.Random, folder: Path) -> Iterator[Path]:
    """One corpus in each of the forms that people have it in."""
    said = [(hostile_text(rng), hostile_text(rng)) for _ in range(rng.randrange(1, 8))]
    rows = [{"prompt": asked, "response": answer} for asked, answer in said]
    talks = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in said
    ]
    jsonl = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    table = "prompt,response\n" + "".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in pair) + "\n" for pair in said
    )
    files: dict[str, bytes] = {
        "a.txt": "".join(map("".join, said)).encode(),
        "a.utf-16.txt": "".join(map("".join, said)).encode("utf-16"),
        "a.csv": table.encode(),
        "a.jsonl": jsonl,
        "a.json": json.dumps(rows, indent=rng.choice([None, 1])).encode(),
        "chat.jsonl": "".join(f"{json.dumps(talk)}\n" for talk in talks).encode(),
        "a.jsonl.gz": gzip.compress(jsonl),
    }
    import bz2
    import lzma

    files |= {"a.txt.bz2": bz2.compress(files["a.txt"]), "a.txt.xz": lzma.compress(files["a.txt"])}
    try:
        import zstandard

        files["a.txt.zst"] = zstandard.ZstdCompressor().compress(files["a.txt"])
    except ImportError:
        pass
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.txt", "a.csv"):
            archive.writestr(name, files[name])
    files["a.zip"] = (folder / "a.zip").read_bytes()
    try:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "a.parquet")
        files["a.parquet"] = (folder / "a.parquet").read_bytes()
    except ImportError:
        pass
    for name, data in files.items():
        (folder / name).write_bytes(data)
        yield folder / name


def test_damaged_sources(campaign: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    promise = campaign(
        "any text, table, archive or compressed file, whole or damaged anywhere, is a corpus or one line that names it",
        quick=2,
        whole=300,
    )
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    for number in promise:
        rng = random.Random(number)
        folder = tmp_path / str(number)
        folder.mkdir()
        for path in sources(rng, folder):
            with promise.trial(f"{path.name} {number}"):
                text = find_corpus(str(path)).prepare()
                assert text.path.read_bytes().decode() == "".join(text.chunks())
            data = path.read_bytes()
            for wreck in WRECKS:
                path.write_bytes(wreck(rng, data))
                with promise.trial(f"{path.name} {wreck.__name__} {number}"):
                    try:
                        text = find_corpus(str(path)).prepare()
                        assert text.path.read_bytes().decode() == "".join(text.chunks())
                    except UserError as error:
                        assert isinstance(error, CorpusError)
                        assert path.name in str(error) and "\n" not in str(error), str(error)
                        assert len(str(error)) < 600, str(error)
                assert not [left for left in (tmp_path / "cache").rglob(".*") if left.is_file()], "something half-made"
