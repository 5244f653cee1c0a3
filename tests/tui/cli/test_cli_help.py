from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli_for_tests import ROOT, Cli, Trained, command, environment, invoke, one_complaint
from typer.testing import CliRunner

from tui.actions import ACTIONS
from tui.cli import app as program
from tui.cli import spare_the_others
from tui.cli.app import PANELS, called, make_app

COMMANDS = {
    (): [
        *("demo", "train", "open", "ladder", "sample", "chat", "runs", "corpora", "tokenizer"),
        *("presets", "profile", "tune", "bench", "doctor", "keys"),
    ],
    ("runs",): [
        *("list", "show", "plot", "compare", "rename", "note", "verify", "fork", "export", "rm"),
        *("stop", "pause", "resume", "checkpoint", "set-lr"),
    ],
    ("corpora",): ["list", "show", "stats", "add", "fetch", "rm", "prepare", "check"],
    ("tokenizer",): ["show", "train", "encode"],
    ("tune",): ["rate", "batch"],
}


@pytest.mark.parametrize("group", COMMANDS)
def test_every_promised_command_is_listed_and_has_help(group: tuple[str, ...]) -> None:
    listed = invoke(*group, "--help")
    assert listed.exit_code == 0
    for name in COMMANDS[group]:
        assert f"\n  {name} " in listed.stdout
        each = invoke(*group, name, "-h")
        assert each.exit_code == 0
        assert "Usage: " in each.stdout
        assert not re.search(r"^ +--[a-z0-9-]+ <|\[\[", each.stdout, re.M), "a value by its name, not its type"


def test_the_help_is_in_panels() -> None:
    text = invoke("--help").stdout
    places = [text.index(f"\n{panel}:\n") for panel in PANELS]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("", []),
        ("--runs train --plain", []),
        ("--runs=x --debug --corpora train", []),
        ("--runs x open train", ["open"]),
        ("--corpora=x serve-session --help", ["serve-session"]),
        ("train --runs demo", ["train"]),
        *((given, None) for given in ("trian", "--help train", "-h", "--version", "--bogus train", "-- train")),
    ],
)
def test_only_the_command_that_is_called_is_made(
    given: str, names: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = called(given.split())
    assert [each.name for each in found] == names if names is not None else found == program.COMMANDS
    monkeypatch.setenv("_TINYTUI_COMPLETE", "complete_bash")
    assert called(given.split()) == program.COMMANDS


def test_a_mistaken_name_is_told_with_those_there_are() -> None:
    for typed, meant in (("trian", "train"), ("rusn", "runs")):
        result = invoke(typed)
        assert result.exit_code == 2 and meant in one_complaint(result)


def test_values_are_completed(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def completed(*words: str) -> list[str]:
        monkeypatch.setenv("_TINYTUI_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["tinytui", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        return CliRunner().invoke(make_app(words), prog_name="tinytui").stdout.split()

    assert completed("train", "x", "--set", "train.learning") == ["train.learning_rate"]
    assert completed("sample", "fi") == ["first"]
    assert completed("sample", "first", "--checkpoint", "l") == ["last"]
    assert "20" in completed("runs", "fork", "first", "--step", "2")
    assert completed("sample", "none", "--checkpoint", "l") == []


def test_keys_are_listed_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "tinytui").mkdir()
    (tmp_path / "tinytui" / "keymap.toml").write_text('"train.pause" = "P,f2"\n"no.such" = "x"\n')
    told = {each["id"]: each for each in json.loads(invoke("keys", "--json").stdout)}
    assert told.keys() == {action.id for action in ACTIONS}
    assert told["train.pause"]["keys"] == ["P", "f2"] and told["train.pause"]["own"]
    assert all(each["about"] for each in told.values())
    found = invoke("keys", "Train.pause")
    assert "P, F2" in found.stdout and "keymap.toml" in found.stdout and "no.such" in one_complaint(found)
    assert "no action is so: nothing like it" in invoke("keys", "nothing", "like", "it").stdout


def test_the_manual_names_every_variable_and_extra() -> None:
    manual = (ROOT / "docs" / "command-line.md").read_text()
    sources = [path.read_text() for room in ("engine", "tui") for path in (ROOT / room).rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"\bTINYTUI_[A-Z]+", text)}
    assert {"TINYTUI_RUNS", "TINYTUI_CACHE"} < named
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name in sorted(named | set(extras)) if f"`{name}`" not in manual] == []


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "pydantic", "rich", "textual", "plotext", "tokenizers", "safetensors")
    code = (
        "import sys\n"
        "sys.argv = ['tinytui', '--help']\n"
        "from tui.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("args", [(), ("open", "first")])
def test_without_a_terminal_the_workbench_says_so(trained: Trained, args: tuple[str, ...]) -> None:
    result = invoke(*args)
    assert result.exit_code == 2
    assert "needs a terminal" in one_complaint(result)
    assert result.stdout == ""


USAGE = {
    "no such command": ["nope"],
    "no such option": ["train", "small.txt", "--frob"],
    "no corpus": ["train"],
    "corpus and resume": ["train", "small.txt", "--resume", "x"],
    "resume and preset": ["train", "--resume", "x", "--preset", "nano"],
    "resume and seed 0": ["train", "--resume", "x", "--seed", "0"],
    "detach and tui": ["train", "small.txt", "--detach", "--tui"],
    "not a number": ["train", "small.txt", "--steps", "many"],
    "missing argument": ["runs", "show"],
    "num of none": ["sample", "x", "--num", "0"],
    "restarts of one process": ["train", "small.txt", "--restarts", "2"],
    "a model to standard output": ["runs", "export", "x", "-", "--hf"],
    "the figures of a checkpoint": ["runs", "export", "x", "x.csv", "--checkpoint", "best"],
    "a plot of a kilometre": ["runs", "plot", "x", "--width", "100000"],
}


@pytest.mark.parametrize("args", USAGE.values(), ids=USAGE)
def test_wrong_usage_is_one_line_and_exit_2(cli: Cli, args: list[str]) -> None:
    result = cli(*args)
    assert result.exit_code == 2
    assert "--help" in one_complaint(result)


def test_an_option_without_its_value_names_the_help_of_its_command(cli: Cli) -> None:
    assert "see tinytui train --help" in one_complaint(cli("train", "small.txt", "--set"))
    assert "see tinytui --help" in one_complaint(cli("--runs"))


def test_a_group_alone_shows_its_commands(cli: Cli) -> None:
    result = cli("runs")
    assert result.exit_code == 2
    assert "compare" in result.output


def test_where_runs_lie_can_be_said_everywhere(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    trained.runs.rename(elsewhere)
    assert "finished" not in invoke("runs", "list").stdout
    assert "finished" in invoke("--runs", elsewhere, "runs", "list").stdout
    assert "finished" in invoke("runs", "list", "--runs", elsewhere).stdout
    assert "finished" not in invoke("--runs", elsewhere, "runs", "list", "--runs", "runs").stdout
    monkeypatch.setenv("TINYTUI_RUNS", str(elsewhere))
    assert "finished" in invoke("runs", "list").stdout
    assert "finished" not in invoke("--runs", "runs", "runs", "list").stdout


def test_a_home_that_no_shell_has_read_is_read(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "finished" in invoke("runs", "list", "--runs=~/runs").stdout
    assert "finished" in invoke("--runs=~/runs", "runs", "list").stdout
    assert invoke("tokenizer", "train", trained.text, "--kind", "byte", "--out=~/made.json").exit_code == 0
    assert invoke("runs", "list", "--runs=~nobody-of-that-name/runs").exit_code == 0
    monkeypatch.setenv("TINYTUI_RUNS", "~/runs")
    assert "finished" in invoke("runs", "list").stdout
    assert (tmp_path / "made.json").is_file() and not (tmp_path / "~").exists()


def test_a_bug_is_one_line_and_its_traceback_comes_with_debug(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("first line\nsecond \x1b]0;title\x07")

    monkeypatch.setattr("engine.runs.layout.list_runs", broken)
    result = cli("runs", "list")
    assert result.exit_code == 1
    assert "this is a bug: RuntimeError: first line" in one_complaint(result)
    debugged = cli("--debug", "runs", "list")
    assert isinstance(debugged.exception, RuntimeError)


def test_a_reader_that_goes_away_is_no_error(trained: Trained) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(command('runs', 'export', 'first', '-'))} | head -n 1"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("step,")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_waiting_threads_sleep_early_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], spins: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    spare_the_others()
    assert os.environ.get("GOMP_SPINCOUNT") == spins
    os.environ.pop("GOMP_SPINCOUNT", None)
