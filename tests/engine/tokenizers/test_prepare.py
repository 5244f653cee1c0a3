"""Tokens made ahead: the same folder however it was filled, the same tokens as directly, nobody on both sides."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.config import DataConfig
from engine.errors import CorpusError, TokenizerError
from engine.process import environment
from engine.text.catalog import add_corpus, find_corpus
from engine.text.pages import beginning, preview_table
from engine.text.prepared import META, UNIT, Prepared, is_prepared, read_prepared
from engine.text.template import Template
from engine.tokenizers import pieces, prepare
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.bpe import BpeTokenizer
from engine.tokenizers.byte import ByteTokenizer
from engine.tokenizers.char import CharTokenizer
from engine.tokenizers.dataset import TokenDataset, material
from engine.tokenizers.documents import Ask, FileDocuments, Piece
from engine.tokenizers.pieces import open_documents
from engine.tokenizers.prepare import ask_for
from engine.tokenizers.shards import check_all
from engine.tokenizers.word import WordTokenizer

WORDS = ("the", "naïve", "donkey", "went", "up", "a", "hill,", "42", "times;", "l’eau", "est", "là.", "ok\tno\n")
BYTES = DataConfig(tokenizer="byte")


def tale(n: int, seed: int = 0) -> str:
    """So many lines of words, some with more than one byte a character, some lines empty."""
    rng = random.Random(seed)
    return "".join(" ".join(rng.choices(WORDS, k=rng.randrange(12))) + "\n" for _ in range(n))


def files_of(folder: Path) -> dict[str, str]:
    """Every file of a folder with its hash, what it says of its source left out."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def made(
    source: Path | str,
    folder: Path,
    data: DataConfig = BYTES,
    *,
    piece_bytes: int = 3000,
    boundary: str | None = None,
    val_fraction: float = 0.1,
    **more: Any,
) -> Prepared:
    name, ask = ask_for(str(source), boundary=boundary, val_fraction=val_fraction)
    ask = ask.model_copy(update={"piece_bytes": piece_bytes})
    return prepare.prepare(name, ask, folder, data, **({"shard_tokens": UNIT} | more))


def opened(folder: Path, data: DataConfig = BYTES) -> TokenDataset:
    return TokenDataset.open(material(find_corpus(f"{folder}/")), data)


def text_of(dataset: TokenDataset, side: str = "train") -> str:
    return dataset.tokenizer.decode(getattr(dataset, side))


TOKENIZERS: dict[str, Callable[[str], Tokenizer]] = {
    "byte": lambda text: ByteTokenizer(),
    "char": lambda text: CharTokenizer.train([text]),
    "bpe": lambda text: BpeTokenizer.train([text], 400),
    "word": lambda text: WordTokenizer.train([text], 400),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_text_has_the_tokens_it_has_when_it_is_trained_on_directly(kind: str, ends: str, tmp_path: Path) -> None:
    path, text = tmp_path / "tale.txt", tale(600)
    path.write_text(text, newline=ends)
    data = DataConfig(tokenizer=kind, vocab_size=400)  # type: ignore[arg-type]
    about = made(path, tmp_path / "made", data)
    direct = TokenDataset.open(find_corpus(str(path)).prepare(), data, tmp_path / "cache")
    ahead = opened(tmp_path / "made", data)
    assert about.pieces > 6 and about.by == "end" and not about.mark
    if ends == "\n":  # with CR LF the bytes are those of the file, and the cut is elsewhere by a few
        assert ahead.tokenizer == direct.tokenizer
        assert np.array_equal(ahead.train, direct.train) and np.array_equal(ahead.val, direct.val)
        assert ahead.val_bytes == direct.val_bytes
    assert text_of(ahead) + text_of(ahead, "val") == text
    assert ahead.bits_per_byte(2.0) == pytest.approx(2.0 / np.log(2) * (len(ahead.val) - 1) / ahead.val_bytes)


def test_shards_read_as_one_array_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "tale.txt"
    path.write_text(tale(6500))
    about = made(path, tmp_path / "made", piece_bytes=20_000)
    direct = TokenDataset.open(find_corpus(str(path)).prepare(), BYTES, tmp_path / "cache")
    ahead = opened(tmp_path / "made")
    assert [shard.tokens for shard in about.train.shards[:-1]] == [UNIT] * (len(about.train.shards) - 1)
    assert len(about.train.shards) > 2 and not ahead.train.flags.writeable
    assert np.array_equal(ahead.train, direct.train) and ahead.train.dtype == direct.train.dtype
    for length in (1, 8, 1000):
        assert np.array_equal(ahead.offsets(7, 3, 500, length), direct.offsets(7, 3, 500, length))
        for one, other in zip(ahead.batch(7, 3, 500, length), direct.batch(7, 3, 500, length), strict=True):
            assert np.array_equal(one, other)
    edges = (ahead.offsets(7, 0, 20_000, 1000) // UNIT != (ahead.offsets(7, 0, 20_000, 1000) + 1000) // UNIT).sum()
    assert edges > 50  # sequences that lie over an edge are among those that were asked for
    first = np.fromfile(tmp_path / "made" / "train-00001.bin", "<u2")
    assert np.array_equal(ahead.train[UNIT : 2 * UNIT], first)
    for x, y in zip(ahead.val_batches(16, 4), direct.val_batches(16, 4), strict=True):
        assert np.array_equal(x[0], y[0]) and np.array_equal(x[1], y[1])


def rows(n: int, seed: int = 0) -> list[dict[str, str]]:
    rng = random.Random(seed)
    return [
        {"text": f"document {i}: " + " ".join(rng.choices(WORDS, k=rng.randrange(1, 40))).strip()} for i in range(n)
    ]


def sources(folder: Path) -> Iterator[tuple[str, Path, str | None]]:
    """The same 300 documents in every form there is."""
    folder.mkdir()
    lines = [json.dumps(row) + "\n" for row in rows(300)]
    (folder / "all.jsonl").write_text("".join(lines))
    (folder / "list.json").write_text(json.dumps(rows(300)))
    (folder / "all.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
    (folder / "marks.txt").write_text("".join(row["text"] + "<|end|>" for row in rows(300)))
    parts = folder / "parts"
    parts.mkdir()
    for number in range(20):
        (parts / f"{number:02}.jsonl").write_text("".join(lines[number * 15 : number * 15 + 15]))
    yield "lines", folder / "all.jsonl", None
    yield "a list", folder / "list.json", None
    yield "packed", folder / "all.jsonl.gz", None
    yield "marks", folder / "marks.txt", "<|end|>"
    yield "a folder", parts, None
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(rows(300))
    parquet.write_table(table, folder / "all.parquet", row_group_size=25)
    yield "parquet", folder / "all.parquet", None


def test_every_form_of_the_same_documents_gives_the_same_tokens(tmp_path: Path) -> None:
    word = WordTokenizer.train([row["text"] for row in rows(300)], 500, ["<|endoftext|>"])
    found = {}
    for form, path, boundary in sources(tmp_path / "from"):
        folder = tmp_path / form
        about = made(path, folder, tokenizer=word, boundary=boundary)
        assert about.by == "documents" and about.mark == "<|endoftext|>", form
        dataset = opened(folder)
        assert len(dataset.train) == about.train.tokens and about.train.documents + about.val.documents == 300
        found[form] = text_of(dataset), text_of(dataset, "val"), about.train.bytes, about.val.bytes
        if form in ("lines", "marks", "parquet", "a folder"):
            assert about.pieces > 3, form
    assert len(set(found.values())) == 1
    train, val, train_bytes, val_bytes = found["lines"]
    documents = [text for text in (train + val).split("<|endoftext|>") if text]
    assert sorted(documents) == sorted(row["text"] for row in rows(300))
    assert train_bytes + val_bytes == sum(len(row["text"].encode()) for row in rows(300))  # marks are no text


def test_no_document_is_on_both_sides_and_none_changes_sides_when_a_source_grows(tmp_path: Path) -> None:
    held: list[set[str]] = []
    for count in (200, 400):
        path = tmp_path / f"{count}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows(count), *rows(count)[::-1]]))  # all twice
        made(path, tmp_path / f"of {count}", piece_bytes=997)
        dataset = opened(tmp_path / f"of {count}")
        train, val = (set(text_of(dataset, side).split("\n\n")) - {""} for side in ("train", "val"))
        assert not train & val and len(train | val) == count and 0.04 < len(val) / count < 0.2
        held.append(val)
    assert held[0] <= held[1]


@pytest.mark.parametrize("mark", ["\n\n", "<END>\n", "aba", "\n"])
def test_documents_between_marks_are_the_same_in_pieces_of_any_size(mark: str, tmp_path: Path) -> None:
    rng = random.Random(5)
    path = tmp_path / "marks.txt"
    path.write_text("".join(rng.choice(["x", "é", "ab", "a", "\n", mark, mark]) for _ in range(900)), newline="")
    found = []
    for size in (1, 2, 3, 7, 50, 10**6):
        ask = Ask(path=str(path), boundary=mark, piece_bytes=size, val_fraction=0.5)
        with FileDocuments(ask) as documents:
            found.append([(each.text, each.val) for piece in documents.pieces() for each in documents.read(piece)])
    assert len(found[0]) > 30 and all(each == found[0] for each in found)
    with path.open(newline="") as file:
        text = file.read()
    for each, _ in found[0]:
        assert isinstance(each, str) and each in text
    assert {"x", "é"} <= {str(each).strip() for each, _ in found[0]}


def test_the_folder_is_the_same_whatever_the_number_of_processes(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(900)))
    data = DataConfig(tokenizer="bpe", vocab_size=300)
    made(path, tmp_path / "by one", data)
    made(path, tmp_path / "by more", data, workers=3)
    assert files_of(tmp_path / "by one") == files_of(tmp_path / "by more")
    assert not [name for name in files_of(tmp_path / "by one") if name.startswith(".")]


def test_helpers_that_are_lost_cost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(100)))
    made(path, tmp_path / "by one")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    made(path, tmp_path / "by none", workers=2)
    assert files_of(tmp_path / "by one") == files_of(tmp_path / "by none")


BREAKS = """
import json, os, signal, sys
from pathlib import Path
from engine.config import DataConfig
from engine.tokenizers import prepare
from engine.tokenizers.documents import Ask
ask, folder, after = Ask(**json.loads(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
prepare.EVERY = 0.0
say, told = prepare._say, [0]
def said(*args):
    say(*args)
    told[0] += 1
    if told[0] == after:
        os.kill(os.getpid(), signal.SIGKILL)
if after:
    prepare._say = said
data = DataConfig(tokenizer="byte")
prepare.prepare("tale", ask, folder, data, shard_tokens=65536, workers=int(sys.argv[4]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_killed_goes_on_where_it_was(workers: int, tmp_path: Path) -> None:
    path = tmp_path / "tale.txt"
    path.write_text(tale(6500))
    name, ask = ask_for(str(path))
    ask = ask.model_copy(update={"piece_bytes": 20_000})
    prepare.prepare(name, ask, tmp_path / "whole", BYTES, shard_tokens=UNIT)
    folder = tmp_path / "made"

    def once(after: int) -> int:
        told = [ask.model_dump_json(), str(folder), str(after), str(workers)]
        return subprocess.run([sys.executable, "-c", BREAKS, *told], env=environment(), timeout=60).returncode

    assert once(9) == -signal.SIGKILL
    about = read_prepared(folder)
    assert not about.finished and 0 < about.pieces_done < about.pieces
    assert is_prepared(folder) and len(about.train.shards) > 1 and not about.train.shards[-1].sha256
    with pytest.raises(CorpusError, match="is not finished"):
        opened(folder)
    shard = folder / f"train-{len(about.train.shards) - 1:05d}.bin"
    with shard.open("ab") as file:
        file.write(b"written after the last word of it")
    (folder / ".piece-0000003-train.1.tmp").write_bytes(b"left behind")
    begun = about.pieces_done
    seen: list[int] = []
    encode = prepare.encode_pieces

    def noted(*args: Any) -> Iterator[pieces.Encoded]:
        seen.append(args[4])
        return encode(*args)

    monkey = pytest.MonkeyPatch()
    monkey.setattr(prepare, "encode_pieces", noted)
    prepare.prepare(name, ask, folder, BYTES, shard_tokens=UNIT, workers=workers)
    monkey.undo()
    assert seen == [begun]
    assert files_of(folder) == files_of(tmp_path / "whole")


def test_a_finished_folder_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tale.txt"
    path.write_text(tale(300))
    first = made(path, tmp_path / "made")
    monkeypatch.setattr(prepare, "encode_pieces", None)
    assert made(path, tmp_path / "made") == first


def test_a_changed_source_or_another_wish_is_refused_in_one_line(tmp_path: Path) -> None:
    path, other, folder = tmp_path / "tale.txt", tmp_path / "other.txt", tmp_path / "made"
    for each in (path, other):
        each.write_text(tale(300))
    made(path, folder)
    refused: list[tuple[str, Callable[[], object]]] = [
        ("begun with another source", lambda: made(other, folder)),
        ("another tokenizer", lambda: made(path, folder, DataConfig(tokenizer="char"))),
        ("another tokenizer", lambda: made(path, folder, tokenizer=ByteTokenizer())),
        ("another --shard-tokens", lambda: made(path, folder, shard_tokens=2 * UNIT)),
        ("another --boundary or --val-fraction", lambda: made(path, folder, val_fraction=0.2)),
    ]
    for says, ask in refused:
        with pytest.raises(CorpusError, match=says) as told:
            ask()
        assert "\n" not in str(told.value)
    path.write_text(tale(301))
    with pytest.raises(CorpusError, match="has changed since"):
        made(path, folder)


def test_one_at_a_time_fills_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "tale.txt"
    path.write_text(tale(300))
    (tmp_path / "made").mkdir()
    with prepare._alone(tmp_path / "made"), pytest.raises(CorpusError, match="is being filled by another process"):
        made(path, tmp_path / "made")


def test_what_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.doc").write_text("mine")
    text, short = tmp_path / "tale.txt", tmp_path / "short.jsonl"
    text.write_text(tale(300))
    short.write_text('{"text": "one"}\n')
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join(json.dumps(row) + "\n" for row in rows(300)) + '{"text": 1,}\n')
    bad = tmp_path / "bad.txt"
    bad.write_bytes(tale(300).encode() + b"\xff and on\n" + tale(100).encode())
    known = CharTokenizer.train(["abc"])
    refused: list[tuple[str, Callable[[], object]]] = [
        ("is not empty", lambda: made(text, full)),
        ("nothing of .* fell to validation", lambda: made(short, tmp_path / "a")),
        (r"broken.jsonl, at byte [\d,]+: not valid JSON", lambda: made(broken, tmp_path / "b")),
        (r"broken.jsonl, at byte [\d,]+: not valid JSON", lambda: made(broken, tmp_path / "c", workers=2)),
        (f"byte 0xff at offset {len(tale(300).encode()):,}", lambda: made(bad, tmp_path / "d")),
        (
            "a bpe vocabulary has at least",
            lambda: made(text, tmp_path / "e", DataConfig(tokenizer="bpe", vocab_size=9)),
        ),
        ("is not among the 3 of this tokenizer", lambda: made(text, tmp_path / "f", tokenizer=known)),
        ("it is not there", lambda: made(tmp_path / "none.txt", tmp_path / "g")),
        ("cannot make", lambda: made(text, text / "under")),
    ]
    for says, ask in refused:
        with pytest.raises((CorpusError, TokenizerError), match=says) as told:
            ask()
        assert "\n" not in str(told.value)
    assert not list(tmp_path.rglob(".*.tmp"))


@pytest.mark.parametrize("data", [BYTES, DataConfig(tokenizer="word", vocab_size=400)])
def test_a_disk_that_takes_no_more_costs_nothing_of_what_it_has(data: DataConfig, tmp_path: Path) -> None:
    path = tmp_path / "tale.txt"
    path.write_text(tale(4000))
    made(path, tmp_path / "whole", data, piece_bytes=20_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(prepare, "EVERY", 0.0)
    for limit in (20_000, 90_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(CorpusError, match=r"^cannot write .*: file too large; raise the limit"):
                made(path, tmp_path / "made", data, piece_bytes=20_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not list((tmp_path / "made").glob(".*.tmp"))
    monkey.undo()
    if data is BYTES:
        assert read_prepared(tmp_path / "made").pieces_done > 0
    made(path, tmp_path / "made", data, piece_bytes=20_000)
    assert files_of(tmp_path / "made") == files_of(tmp_path / "whole")


def test_a_damaged_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tale.txt"
    path.write_text(tale(6500))

    def spoil(name: str, how: Callable[[bytes], bytes | None]) -> Path:
        folder = tmp_path / f"{name} {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for file in (tmp_path / "made").iterdir():
            data: bytes | None = file.read_bytes()
            if file.name == name:
                data = how(data or b"")
            if data is not None:
                (folder / file.name).write_bytes(data)
        return folder

    made(path, tmp_path / "made", piece_bytes=10**6)
    meta = json.loads((tmp_path / "made" / META).read_text())
    damage: list[tuple[str, str, Callable[[bytes], bytes | None]]] = [
        ("train-00001.bin is missing", "train-00001.bin", lambda data: None),
        ("should have 131,072", "train-00001.bin", lambda data: data[:-2]),
        ("is damaged", "val-00000.bin", lambda data: b"xx" + data[2:]),
        ("is damaged", "meta.json", lambda data: data[:-9]),
        ("install a newer one", "meta.json", lambda data: json.dumps(meta | {"format": 99}).encode()),
        ("cannot read", "tokenizer.json", lambda data: None),
        ("is not what the tokens", "tokenizer.json", lambda data: CharTokenizer.train(["abc"]).canonical()),
    ]
    for says, name, how in damage:
        with pytest.raises((CorpusError, TokenizerError), match=says) as told:
            opened(spoil(name, how))
        assert "\n" not in str(told.value)
    check_all(read_prepared(tmp_path / "made"))
    hidden = spoil("train-00000.bin", lambda data: data[:20_000] + b"x" + data[20_001:])
    with pytest.raises(CorpusError, match=r"train-00000\.bin is damaged"):
        check_all(read_prepared(hidden))


def test_a_folder_tells_itself_from_any_other(tmp_path: Path) -> None:
    path = tmp_path / "tale.txt"
    path.write_text(tale(600))
    one = made(path, tmp_path / "one")
    path.write_text(tale(600)[:-2] + "z\n")
    assert one.sha256 != made(path, tmp_path / "two").sha256
    assert one.sha256 == read_prepared(tmp_path / "one").sha256
    (tmp_path / "one").rename(tmp_path / "moved")
    assert find_corpus(str(tmp_path / "moved")).prepared.sha256 == one.sha256  # type: ignore[union-attr]


def test_other_ways_to_use_a_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tale.txt"
    path.write_text(tale(600))
    made(path, tmp_path / "made")
    corpus = find_corpus(f"{tmp_path / 'made'}/")
    assert corpus.available
    asked: list[Callable[[], object]] = [
        corpus.prepare,
        lambda: beginning(corpus, 10),
        lambda: preview_table(tmp_path / "made"),
        lambda: add_corpus(tmp_path / "made", "mine", tmp_path / "own"),
    ]
    for each in asked:
        with pytest.raises(CorpusError, match="holds tokens, not text"):
            each()
    assert not (tmp_path / "own" / "mine").exists()
    with pytest.raises(CorpusError, match="made with another tokenizer"):
        TokenDataset.open(material(corpus), BYTES, tokenizer=CharTokenizer.train([tale(600)]))
    with pytest.raises(CorpusError, match="record_starts"):
        opened(tmp_path / "made", BYTES.model_copy(update={"record_starts": True}))
    with pytest.raises(CorpusError, match="holds tokens already"):
        ask_for(f"{tmp_path / 'made'}/")


def test_texts_one_after_the_other_are_cut_at_one_place(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    folder.mkdir()
    texts = [tale(40, seed) for seed in range(9)]
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
    (folder / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    with gzip.open(folder / "packed.txt.gz", "wt") as file:
        file.write(texts[0])
    about = made(folder, tmp_path / "made", val_fraction=0.25)
    dataset = opened(tmp_path / "made")
    whole = text_of(dataset) + text_of(dataset, "val")
    for text in [*texts, texts[0]]:
        assert text + "\n" in whole
    assert "logo.png" in about.left_out and about.by == "end"
    assert 0.15 < len(dataset.val) / (len(dataset.val) + len(dataset.train)) < 0.35
    assert whole == "".join(text + "\n" for text in [*texts, texts[0]])


def test_the_last_document_of_a_text_is_known_without_the_mark_after_it(tmp_path: Path) -> None:
    template = Template.parse("Q {prompt} A {response}--")
    for text in (f"Q {number} A yes" for number in range(60)):
        path = tmp_path / "marks.txt"
        path.write_text(f"{text}--\n{text}--")
        ask = Ask(path=str(path), boundary="--", template=template, val_fraction=0.5)
        with FileDocuments(ask) as documents:
            sides = [each.val for piece in documents.pieces() for each in documents.read(piece)]
            path.write_text(f"{text}--\n{text}")
            sides += [each.val for piece in documents.pieces() for each in documents.read(piece)]
        assert len(sides) == 4 and len(set(sides)) == 1


def test_a_packed_text_is_cut_inside(tmp_path: Path) -> None:
    text = tale(500)
    with gzip.open(tmp_path / "tale.txt.gz", "wt") as file:
        file.write(text)
    made(tmp_path / "tale.txt.gz", tmp_path / "made")
    dataset = opened(tmp_path / "made")
    assert text_of(dataset) + text_of(dataset, "val") == text
    assert len(dataset.val) == pytest.approx(0.1 * len(text.encode()), rel=0.05)


def test_pieces_do_not_depend_on_who_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(300)))
    ask = ask_for(str(path))[1].model_copy(update={"piece_bytes": 1000})
    with open_documents(ask) as one, open_documents(ask) as other:
        assert one.pieces() == other.pieces() and one.state() == other.state()
        for piece in one.pieces()[::-1]:
            assert list(one.read(piece)) == list(other.read(piece))
    assert Piece(0).whole and not Piece(0, 1, 5).whole


def test_memory_does_not_grow_with_a_source(tmp_path: Path) -> None:
    text = tale(8000)
    measure = (
        "import re, sys\nfrom pathlib import Path\nfrom engine.config import DataConfig\n"
        "from engine.tokenizers import prepare\n"
        "def peak():\n    return int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) << 10\n"
        "for source in sys.argv[1:]:\n"
        "    name, ask = prepare.ask_for(source)\n    ask = ask.model_copy(update={'piece_bytes': 200_000})\n"
        "    prepare.prepare(name, ask, Path(source + '.made'), DataConfig(tokenizer='byte'), shard_tokens=65536)\n"
        "    print(peak())\n"
    )
    for times in (4, 24):
        (tmp_path / f"{times}.txt").write_text(text * times)
    done = subprocess.run(
        [sys.executable, "-c", measure, str(tmp_path / "4.txt"), str(tmp_path / "24.txt")],
        env=environment(), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    small, large = map(int, done.stdout.split())
    assert large - small < 2e6 < (tmp_path / "24.txt").stat().st_size / 2
