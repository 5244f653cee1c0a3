"""The corpora that come with tinytui, through the catalog: ready to train on, prompted as they were written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.errors import CorpusError
from engine.text import stdlib
from engine.text.catalog import find_corpus


@pytest.mark.parametrize("name", ["soap-notes", "dialogues"])
def test_the_split_begins_with_a_whole_record_and_no_new_character(name: str, tmp_path: Path) -> None:
    corpus = find_corpus(name, tmp_path / "none")
    text = corpus.prepare(tmp_path / "cache")
    place = text.split(0.1)
    train, val = ("".join(text.chunks(*span)) for span in ((0, place), (place, text.n_bytes)))
    assert corpus.template is not None
    assert val.startswith(corpus.template.prefix) and train.endswith(corpus.template.suffix)
    assert 0.89 * text.n_bytes < place <= 0.9 * text.n_bytes
    assert set(val) <= set(train), "a character tokenizer of the training split must know the validation split"


@pytest.mark.parametrize("name", ["soap-notes", "dialogues"])
def test_the_template_gives_what_stands_before_every_answer(name: str, tmp_path: Path) -> None:
    corpus = find_corpus(name, tmp_path / "none")
    template = corpus.template
    assert template is not None and corpus.examples
    content = "".join(corpus.prepare(tmp_path / "cache").chunks())
    records = content.split(template.suffix)
    assert records.pop() == ""
    for record in records[:500]:
        prompt, found, answer = record.removeprefix(template.prefix).partition(template.infix)
        assert found and template.record(prompt, answer) == record + template.suffix
        written = answer + template.suffix + records[0]
        ends = [place for stop in template.stops if (place := written.find(stop)) >= 0]
        assert written[: min(ends)] == answer, "a stop ends it, and no sooner"


@pytest.mark.parametrize("name", ["soap-notes", "dialogues"])
def test_examples_can_be_written_with_the_characters_of_the_corpus(name: str, tmp_path: Path) -> None:
    corpus = find_corpus(name, tmp_path / "none")
    known = set("".join(corpus.prepare(tmp_path / "cache").chunks()))
    assert corpus.template is not None
    for example in corpus.examples:
        assert set(corpus.template.apply(example)) <= known


def test_python_stdlib_is_real_text_built_once(tmp_path: Path) -> None:
    corpus = find_corpus("python-stdlib", tmp_path / "none")
    text = corpus.prepare(tmp_path / "one")
    assert text.n_bytes > 5_000_000
    assert set("".join(corpus.examples)) <= set("".join(text.chunks()))
    built = text.path.stat().st_mtime_ns
    assert corpus.prepare(tmp_path / "one") == text and text.path.stat().st_mtime_ns == built
    content = "".join(text.chunks())
    assert content.isascii() and len(set(content)) < 100
    assert content.startswith("# file: ") and "# file: json/decoder.py\n" in content
    assert "# file: test/" not in content and "site-packages" not in content[:200]


def test_only_sound_sources_are_taken_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "lib"
    for name, content in {
        "b.py": "x = 1\f\n",
        "a/z.py": "import a\n",
        "a.py": "",
        "bell.py": "'\a'\n",
        "latin.py": "# caf\u00e9\n",
        "test/t.py": "no\n",
        "site-packages/p.py": "no\n",
        "idlelib/icons.py": "no\n",
    }.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match="no standard library sources"):
        stdlib.build_stdlib(tmp_path / "cache", library=library)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    monkeypatch.setattr(stdlib, "LEAST", 1)
    path = stdlib.build_stdlib(tmp_path / "cache", library=library)
    assert path.read_text() == "# file: a/z.py\n\nimport a\n\n\n# file: b.py\n\nx = 1\n\n\n"


def test_tinyshakespeare_when_it_is_on_this_machine(tmp_path: Path) -> None:
    """Its published split: validation begins at character 1,003,854."""
    copy = os.environ.get("TINYSHAKESPEARE")
    if not copy:
        pytest.skip("set TINYSHAKESPEARE to a copy of the file to check the real one")
    text = find_corpus(copy).prepare(tmp_path / "cache")
    assert text.sha256 == find_corpus("tinyshakespeare", tmp_path / "none").sha256
    assert (text.n_bytes, text.split(0.1)) == (1_115_394, 1_003_854)
