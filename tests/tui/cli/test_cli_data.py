from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_for_tests import TINY, Cli, Trained, invoke, one_complaint, small_text

from engine.preset_files import load_preset, own_folder, preset_names, save_preset


def test_add_show_and_remove_a_corpus(cli: Cli, tmp_path: Path) -> None:
    own = ("--corpora", tmp_path / "own")
    added = cli("corpora", "add", "small.txt", "--name", "steps", *own)
    assert added.exit_code == 0, added.output
    listed = {corpus["name"]: corpus for corpus in json.loads(cli("corpora", "list", "--json", *own).stdout)}
    assert listed["steps"]["available"]
    assert not listed["steps"]["shipped"]
    shown = json.loads(cli("corpora", "show", "steps", "--json", *own).stdout)
    assert shown["bytes"] == len(small_text())
    assert small_text().startswith(shown["beginning"][:100])
    again = cli("corpora", "add", "small.txt", "--name", "steps", *own)
    assert again.exit_code == 1
    assert "steps" in one_complaint(again)
    assert cli("corpora", "rm", "steps", *own, input="n\n").exit_code == 1
    assert cli("corpora", "rm", "steps", "--yes", *own).exit_code == 0
    assert "steps" not in cli("corpora", "list", *own).stdout


def test_statistics_of_a_corpus(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,response\n" + "".join(f"q{n},\u202eanswer {n}\n" for n in range(60)))
    told = json.loads(cli("corpora", "stats", "a.csv", "--json").stdout)
    assert (told["name"], told["records"], told["repeated_records"]["share"]) == ("a", 60, 0.0)
    assert told["control_characters"] == 60 and 0 < told["gzip_bits_per_byte"] < 8
    text = cli("corpora", "stats", "a.csv").stdout
    assert "U+202E 60" in text and "\u202e" not in text
    assert "60, " in text and "under gzip" in text and "passages of 48 bytes" in text
    assert "0.0% of 60 records" in text
    assert "no corpus" in one_complaint(cli("corpora", "stats", "none"))


def test_removing_a_corpus_names_the_runs_that_need_it(cli: Cli, tmp_path: Path) -> None:
    own = ("--corpora", tmp_path / "own")
    assert cli("corpora", "add", "small.txt", "--name", "steps", *own).exit_code == 0
    assert cli("train", "steps", *TINY, "--steps", 1, "--name", "first", *own).exit_code == 0
    asked = cli("corpora", "rm", "steps", *own, input="n\n")
    assert asked.exit_code == 1 and "runs made with it, which cannot go on without it: first" in asked.stdout


def test_columns_of_a_table_are_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "talk.csv").write_text("id,asked,said\n" + "".join(f"{n},hello {n},good day {n}\n" for n in range(50)))
    own = ("--corpora", tmp_path / "own")
    added = cli("corpora", "add", "talk.csv", "--prompt-column", "asked", "--response-column", "said", *own)
    assert added.exit_code == 0, added.output
    shown = json.loads(cli("corpora", "show", "talk", "--json", *own).stdout)
    assert "hello 0" in shown["beginning"]
    assert "good day 0" in shown["beginning"]
    assert shown["template"] is not None
    wrong = cli("corpora", "add", "talk.csv", "--name", "x", "--prompt-column", "nope", *own)
    assert wrong.exit_code == 1
    assert "nope" in one_complaint(wrong)


def test_a_text_can_not_drive_the_terminal(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "hostile.txt").write_text("\x1b]0;owned\x07[bold]not markup[/bold] " * 20)
    shown = cli("corpora", "show", "hostile.txt").stdout
    assert "\x1b" not in shown
    assert "[bold]not markup[/bold]" in shown
    assert json.loads(cli("corpora", "show", "hostile.txt", "--json").stdout)["beginning"].startswith("\x1b]0;owned")


@pytest.mark.parametrize("name", ["soap-notes", "python-stdlib", "tinyshakespeare"])
@pytest.mark.parametrize("yes", [(), ("--yes",)])
def test_shipped_corpora_stay(cli: Cli, name: str, yes: tuple[str, ...]) -> None:
    result = cli("corpora", "rm", name, *yes)
    assert result.exit_code == 1
    assert f"{name} is shipped with tinytui and cannot be removed" in one_complaint(result)
    assert "remove corpus" not in result.stdout, "asked for what cannot be done"


def test_a_path_never_removes_the_corpus_of_that_name(cli: Cli, tmp_path: Path) -> None:
    own = ("--corpora", tmp_path / "own")
    assert cli("corpora", "add", "small.txt", *own).exit_code == 0
    result = cli("corpora", "rm", "./small.txt", "--yes", *own)
    assert result.exit_code == 1 and "cannot name a corpus" in one_complaint(result)
    assert "small" in cli("corpora", "list", *own).stdout
    assert cli("corpora", "rm", "gutenberg:84", "--yes", *own).exit_code == 1


def test_a_folder_of_conversations_and_pictures_is_a_corpus(cli: Cli, tmp_path: Path) -> None:
    """Shown, trained on and added, with what is left out said each time."""
    folder = tmp_path / "talks"
    folder.mkdir()
    said = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    talk = json.dumps({"messages": [*said, {"role": "assistant", "content": "Hello to you."}]})
    for name in "ab":
        (folder / f"{name}.jsonl").write_text(f"{talk}\n" * 60)
    (folder / "README.md").write_text("about these talks\n")
    left_out = "120 system messages, README.md (it stands beside tables)"
    shown = cli("corpora", "show", "talks/")
    assert left_out in shown.stdout, shown.output
    assert "You: Hi\nBot: Hello to you.<END>\n\nYou: Hi" in shown.stdout
    tiny = [word for name in ("n_layer=1", "n_embd=8", "n_head=1") for word in ("--set", f"model.{name}")]
    runs = ("--runs", tmp_path / "runs")
    trained = cli("train", "talks/", "--name", "talk", "--steps", 2, "--set", "model.block_size=16", *tiny, *runs)
    assert trained.exit_code == 0, trained.output
    assert f"left out of talks/: {left_out}" in trained.stderr
    answered = cli("chat", "talk", "--tokens", 4, *runs, input="Hi\n")
    assert answered.exit_code == 0, answered.output
    added = cli("corpora", "add", "talks", "--corpora", tmp_path / "own")
    assert left_out in added.stdout
    assert cli("train", "--resume", "talk", "--steps", 3, *runs, "--corpora", tmp_path / "own").exit_code == 0
    for name in "ab":
        (folder / f"{name}.jsonl").write_text("{}")
    (tmp_path / "own" / "talks" / "corpus.toml").unlink()
    changed = cli("train", "--resume", "talk", "--steps", 4, *runs, "--corpora", tmp_path / "own")
    assert changed.exit_code == 1, "trained on with another text"


@pytest.mark.parametrize("what", ["no-such-corpus", "gutenberg:x"])
def test_what_can_not_be_fetched(cli: Cli, what: str) -> None:
    result = cli("corpora", "fetch", what)
    assert result.exit_code == 1
    assert "cannot be fetched" in one_complaint(result)


def test_a_tokenizer_by_corpus_by_run_and_by_file(trained: Trained, tmp_path: Path) -> None:
    of_run = json.loads(invoke("tokenizer", "show", "first", "--text", "how far", "--json").stdout)
    of_text = json.loads(invoke("tokenizer", "show", trained.text, "--text", "how far", "--json").stdout)
    assert of_run == of_text
    assert "".join(token["text"] for token in of_run["tokens"]) == "how far"
    made = invoke("tokenizer", "train", trained.text, "--kind", "bpe", "--vocab", 300, "--out", tmp_path / "t.json")
    assert made.exit_code == 0, made.output
    of_file = json.loads(invoke("tokenizer", "show", tmp_path / "t.json", "--text", "how far", "--json").stdout)
    assert of_file["kind"] == "bpe"
    assert len(of_file["tokens"]) < len("how far")
    ids = invoke("tokenizer", "encode", tmp_path / "t.json", "-", input="how far\n").stdout.split()
    assert ids == [str(token["id"]) for token in of_file["tokens"]]


def test_a_tokenizer_of_nothing(cli: Cli) -> None:
    result = cli("tokenizer", "show", "nothing-here")
    assert result.exit_code == 1
    assert "nothing-here" in one_complaint(result)
    result = cli("tokenizer", "train", "small.txt", "--kind", "best")
    assert result.exit_code == 1
    assert "data.tokenizer" in one_complaint(result)


def test_presets_with_their_true_sizes(cli: Cli) -> None:
    told = {preset["name"]: preset for preset in json.loads(cli("presets", "--json").stdout)}
    assert list(told) == preset_names()
    assert told["gpt2"]["params"] == 124_439_808
    table = cli("presets").stdout
    assert all(f"{preset['params']:,}" in table for preset in told.values())


def test_one_preset_with_all_its_settings(cli: Cli) -> None:
    text = cli("presets", "nano").stdout
    assert "model.n_embd" in text
    assert "width of the residual stream" in text
    told = json.loads(cli("presets", "nano", "--json").stdout)
    assert told["settings"]["model"]["n_embd"] == 128
    wrong = cli("presets", "huge")
    assert wrong.exit_code == 1
    assert "no preset 'huge'" in one_complaint(wrong)


def test_doctor_says_what_to_do(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.7 50000 10.0.0.1 22")
    told = {check["name"]: check for check in json.loads(cli("doctor", "--json").stdout)}
    assert told.keys() >= {
        "python",
        "torch",
        "device",
        "terminal",
        "colours",
        "unicode",
        "mouse",
        "link",
        "runs",
        "cache",
    }
    assert told["python"]["state"] == "ok"
    assert told["term"]["state"] == "warn"
    assert "export TERM" in told["term"]["advice"]
    assert "10.0.0.7" in told["link"]["found"]
    (tmp_path / "file").touch()
    broken = cli("doctor", "--runs", "file")
    assert broken.exit_code == 1
    assert "choose another folder" in broken.stdout


def test_bench_measures_this_machine(cli: Cli) -> None:
    told = json.loads(cli("bench", "--seconds", 0.1, "--json").stdout)
    cpu = told["devices"][0]
    assert cpu["device"] == "cpu"
    assert cpu["step_ms"] > 0
    assert cpu["train_tokens_per_second"] == pytest.approx(1000 * cpu["tokens_per_step"] / cpu["step_ms"])
    assert cpu["decode_tokens_per_second"] > 0


def test_presets_of_ones_own_are_listed_and_trained_with(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    save_preset("mine", load_preset("nano").replace({"model.n_layer": 3}), "three layers")
    (own_folder() / "hurt.toml").write_text("[model]\nn_layer = 0\n")
    told = cli("presets", "--json")
    assert "preset hurt: model.n_layer" in told.stderr
    (mine,) = [preset for preset in json.loads(told.stdout) if preset["name"] == "mine"]
    assert (mine["n_layer"], mine["about"]) == (3, "three layers")
    (tmp_path / "text.txt").write_text("some text\n" * 200)
    told = cli("train", str(tmp_path / "text.txt"), "--preset", "hurt")
    assert told.exit_code == 1 and "preset hurt" in one_complaint(told)
    shown = cli("presets", "mine", "--json")
    assert json.loads(shown.stdout)["settings"]["model"]["n_layer"] == 3
