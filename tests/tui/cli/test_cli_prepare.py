"""`tinytui corpora prepare`, `check`, and a folder of tokens wherever a corpus may be named."""

from __future__ import annotations

import json
from pathlib import Path

from cli_for_tests import TINY, Cli, one_complaint, small_text

from engine.text.prepared import is_prepared


def test_made_shown_checked_trained_on_and_resumed(cli: Cli, tmp_path: Path) -> None:
    made = cli("corpora", "prepare", "small.txt", "--to", "shards", "--tokenizer", "byte", "--val-fraction", 0.1)
    assert made.exit_code == 0, made.output
    assert "train on it with: tinytui train shards" in made.stdout and "byte, vocabulary 256" in made.stdout
    told = json.loads(cli("corpora", "show", "shards", "--json").stdout)
    assert told["format"] == "tokens" and told["tokens"]["train"]["shards"] == 1
    assert told["tokens"]["train"]["tokens"] + told["tokens"]["val"]["tokens"] == len(small_text())
    assert "2 shards, all as they were written" in cli("corpora", "check", "shards").stdout
    assert "byte" in cli("tokenizer", "show", "shards").stdout
    for refused in (("corpora", "stats", "shards"), ("corpora", "check", "small.txt")):
        assert "tokens" in one_complaint(cli(*refused))
    trained = cli("train", "shards", *TINY, "--steps", 10, "--name", "first")
    assert trained.exit_code == 0, trained.output
    assert cli("train", "--resume", "first", "--steps", 12).exit_code == 0
    copied = cli("sample", "first", "--tokens", 4, "--copied")
    assert "holds tokens, not text" in copied.stderr
    again = cli(
        "corpora", "prepare", "small.txt", "--to", "again", "--tokenizer", "first", "--val-fraction", 0.1, "--json"
    )
    assert json.loads(again.stdout)["sha256"] == told["tokens"]["sha256"]
    forecast = json.loads(cli("train", "shards", *TINY, "--dry-run", "--json").stdout)
    assert forecast["params"] > 0


def test_what_ends_a_document_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("".join(f"story {n}\nand on\n--\n" for n in range(300)))
    made = cli("corpora", "prepare", "many.txt", "--to", "d", "--boundary", r"\n--\n", "--val-fraction", 0.1, "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["by"] == "documents" and told["mark"] == "<|endoftext|>"
    assert told["train"]["documents"] + told["val"]["documents"] == 300


def test_wrong_wishes_are_one_line(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    for asked, says in (
        (("small.txt", "--to", "full"), "is not empty"),
        (("none.txt", "--to", "a"), "it is not there"),
        (("small.txt", "--to", "a", "--tokenizer", "nobody"), "no tokenizer 'nobody'; give char"),
        (("small.txt", "--to", "a", "--prompt-column", "q"), "no table"),
    ):
        found = cli("corpora", "prepare", *asked)
        assert found.exit_code == 1 and says in one_complaint(found)
    assert cli("corpora", "prepare", "small.txt", "--to", "a", "--workers", 0).exit_code == 2
    assert not (tmp_path / "a").exists() or not is_prepared(tmp_path / "a")
