"""Whatever is wrong with what the user gave: exit 1, one line that says what, and no run begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_for_tests import TINY, Cli, Trained, invoke, one_complaint

TRAIN: dict[str, tuple[list[str], str]] = {
    "missing file": (["missing.txt"], "missing.txt: it is not there"),
    "empty file": (["empty.txt"], "is empty"),
    "binary file": (["binary.txt"], "not text"),
    "not UTF-8": (["latin.txt"], "not UTF-8"),
    "a folder without text": (["folder/inner"], "no text in folder/inner"),
    "unknown name": (["no-such-corpus"], "no corpus 'no-such-corpus'"),
    "no such preset": (["small.txt", "--preset", "huge"], "no preset 'huge'; there are nano"),
    "no such setting": (["small.txt", "--set", "model.n_hed=3"], "did you mean model.n_head"),
    "another program's name of one": (["small.txt", "--set", "lr=1"], "did you mean train.learning_rate"),
    "nothing like a setting": (["small.txt", "--set", "x=1"], "see tinytui presets nano"),
    "no value": (["small.txt", "--set", "n_head"], "key=value"),
    "bad value": (["small.txt", "--set", "train.learning_rate=fast"], "a number, not 'fast'"),
    "nothing was copied": (["zeros.txt"], "all NUL bytes where it begins"),
    "runs in a file": (["small.txt", "--runs", "small.txt"], "small.txt is a file, and runs lie in a folder"),
    "too many": (["small.txt", "--seed", str(1 << 70)], "must be at most 9,223,372,036,854,775,807, not 1180591"),
    "impossible heads": (["small.txt", "--set", "model.n_head=3"], "is not a multiple of model.n_head 3"),
    "no steps": (["small.txt", "--steps", "0"], "train.max_steps"),
    "no settings file": (["small.txt", "--config", "none.toml"], "none.toml"),
    "broken settings file": (["small.txt", "--config", "broken.toml"], "broken.toml is not valid TOML"),
    "text shorter than the context": (["short.txt", "--set", "model.block_size=512"], "model.block_size"),
    "no such device": (["small.txt", "--device", "tpu"], "no device 'tpu'"),
    "fp16 on a CPU": (["small.txt", "--device", "cpu", "--set", "train.precision=fp16"], "fp16 needs a GPU"),
    "a name that is a path": (["small.txt", "--name", "../x", *TINY], "cannot name a run"),
    "no terminal to train in": (["small.txt", "--tui"], "needs a terminal"),
}


@pytest.fixture
def inputs(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "latin.txt").write_bytes("Gr\xfc\xdfe ".encode("latin-1") * 99)
    (tmp_path / "zeros.txt").write_bytes(bytes(5000))
    (tmp_path / "short.txt").write_text("hello there\n")
    (tmp_path / "broken.toml").write_text("[model\n")
    (tmp_path / "folder" / "inner").mkdir(parents=True)


@pytest.mark.parametrize(("args", "said"), TRAIN.values(), ids=TRAIN)
def test_train_refuses(cli: Cli, inputs: None, args: list[str], said: str) -> None:
    result = cli("train", *args)
    assert result.exit_code == 1
    assert said in one_complaint(result)
    assert not list(Path("runs").glob("*"))


RUN_COMMANDS: list[Callable[[str], list[str]]] = [
    lambda run: ["train", "--resume", run],
    lambda run: ["sample", run],
    lambda run: ["chat", run],
    lambda run: ["runs", "show", run],
    lambda run: ["runs", "plot", run],
    lambda run: ["runs", "compare", run, run],
    lambda run: ["runs", "verify", run],
    lambda run: ["runs", "fork", run, "--step", "1"],
    lambda run: ["runs", "export", run, "x.csv"],
    lambda run: ["runs", "rm", run, "--yes"],
]


@pytest.mark.parametrize("args", RUN_COMMANDS, ids=lambda args: " ".join(args("RUN")))
def test_a_run_that_is_not_there(cli: Cli, args: Callable[[str], list[str]]) -> None:
    result = cli(*args("no-such-run"))
    assert result.exit_code == 1
    assert "no run 'no-such-run'" in one_complaint(result)
    assert not Path("x.csv").exists()


def test_a_part_of_a_run_names_the_run(trained: Trained) -> None:
    for part in ("checkpoints/step-00000020", "metrics.jsonl"):
        result = invoke("sample", f"runs/first/{part}")
        assert result.exit_code == 1 and "is a part of run first; name the run" in one_complaint(result)
    result = invoke("sample", "nothing-like-it")
    assert "there are first: see tinytui runs list" in one_complaint(result)


def test_a_name_can_not_drive_the_terminal(cli: Cli) -> None:
    result = cli("train", "\x1b]0;owned\x07\x9b31m.txt")
    assert result.exit_code == 1
    assert "owned" in one_complaint(result)


def test_a_settings_file_and_options_over_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[model]\nn_head = 3\n[train]\nmax_steps = 7\n")
    refused = cli("train", "small.txt", "--config", "settings.toml")
    assert "model.n_head 3" in one_complaint(refused)
    (tmp_path / "settings.json").write_text('{"train": {"max_steps": 7}}')
    refused = cli("train", "small.txt", "--config", "settings.json", "--set", "train.max_steps=-1")
    assert "train.max_steps" in one_complaint(refused)


def test_a_folder_that_is_gone_is_said(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    for args in (["runs", "list"], ["train", "dialogues"], []):
        assert "is gone; change to one that is there" in one_complaint(cli(*args))
    monkeypatch.chdir(tmp_path)


def test_a_command_that_is_proposed_can_be_typed(cli: Cli) -> None:
    place = Path("a place")
    place.mkdir()
    (place / "t.csv").write_text("a,b\n1,2\n")
    (place / "l.txt").write_bytes(b"h\xe9llo")
    for args, proposed in (
        (["corpora", "show", "a place/t.csv"], "tinytui corpora add 'a place/t.csv' --prompt-column"),
        (["corpora", "show", "a place/l.txt"], "iconv -f ISO-8859-1 -t UTF-8 'a place/l.txt'"),
        (["corpora", "check", "a place"], "tinytui corpora prepare SOURCE --to 'a place'"),
    ):
        assert proposed in one_complaint(cli(*args))
