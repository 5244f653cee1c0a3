from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
from cli_for_tests import TINY, Cli, Trained, command, environment, invoke, one_complaint, wait_for

from tests.forked import on_terminal

ENDLESS = ("--steps", "10000000", "--set", "train.checkpoint_every=10000000", "--set", "train.eval_every=10000000")


def weights(run: Path) -> dict[int, str]:
    """SHA-256 of the weights of every checkpoint, as `runs verify` tells them."""
    told = json.loads(invoke("runs", "verify", run, "--json").stdout)
    return {checkpoint["step"]: checkpoint["weights_sha256"] for checkpoint in told["checkpoints"]}


def test_json_is_one_object_a_line_and_nothing_else(cli: Cli) -> None:
    result = cli("train", "small.txt", *TINY, "--steps", 20, "--json")
    assert result.exit_code == 0
    records = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [record["type"] for record in records]
    assert [record["step"] for record in records if record["type"] == "metric"] == list(range(1, 21))
    assert [record["step"] for record in records if record["type"] == "eval"] == [10, 20]
    assert [record["step"] for record in records if record["type"] == "sample"] == [10, 20]
    assert [record["step"] for record in records if record["type"] == "checkpoint"] == [10, 20]
    assert kinds[-1] == "finished"
    steps = [record["step"] for record in records]
    assert steps == sorted(steps)


def test_lines_without_a_terminal_tell_the_losses_and_the_way_on(cli: Cli) -> None:
    result = cli("train", "small.txt", *TINY, "--steps", 20, "--name", "mine")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    last = [line for line in result.stdout.splitlines() if line.startswith("step ")][-1]
    told = json.loads(cli("runs", "show", "mine", "--json").stdout)
    assert "20/20" in last
    assert f"val  {told['last_val_loss']:.4f}" in last
    assert "tinytui sample mine --prompt TEXT" in result.stdout


def test_resuming_goes_on_as_if_nothing_had_been(cli: Cli) -> None:
    """Steps 11 to 20 of a resumed run are those of a run that was never stopped."""
    options = (*TINY, "--set", "train.schedule=constant", "--set", "model.dropout=0.1", "--seed", 5)
    assert cli("train", "small.txt", *options, "--steps", 20, "--name", "whole").exit_code == 0
    assert cli("train", "small.txt", *options, "--steps", 10, "--name", "parts").exit_code == 0
    over = cli("train", "--resume", "parts")
    assert over.exit_code == 1
    assert "--steps 20" in one_complaint(over)
    resumed = cli("train", "--resume", "parts", "--steps", 20, "--json")
    assert resumed.exit_code == 0
    records = [json.loads(line) for line in resumed.stdout.splitlines()]
    assert [record["step"] for record in records if record["type"] == "metric"] == list(range(11, 21))
    assert weights(Path("runs/whole")) == weights(Path("runs/parts"))


def test_resuming_from_another_folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("train", "small.txt", *TINY, "--steps", 2, "--name", "moved").exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resumed = cli("train", "--resume", "../runs/moved", "--steps", 4)
    assert resumed.exit_code == 0, resumed.output


def test_a_name_is_used_once(trained: Trained) -> None:
    result = invoke("train", trained.text, *TINY, "--name", "first")
    assert result.exit_code == 1
    assert "--resume first" in one_complaint(result)


def test_demo_without_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"how is number {n},number {n} is well and sends its greetings to all of you" for n in range(300)]
    Path("small.csv").write_text("\n".join(["prompt,response", *rows]), encoding="utf-8")
    monkeypatch.setattr("tui.cli.train.FIRST_CORPUS", "small.csv")  # the shipped one would take long to evaluate
    result = cli("demo", "--steps", 2)
    assert result.exit_code == 0, result.output
    assert "small-nano-1: finished at step 2 of 2" in result.stdout
    assert "loss" in result.stdout and "\x1b" not in result.stdout
    assert result.stdout.rstrip().endswith(f"the run lies in {Path('runs') / 'small-nano-1'}")


def test_in_the_background(cli: Cli, tmp_path: Path) -> None:
    """Detached: it trains on by itself, takes no second trainer, is prompted live, and SIGTERM ends it in order."""
    made = cli("train", "small.txt", *TINY, *ENDLESS, "--name", "away", "--detach", "--json")
    assert made.exit_code == 0, made.output
    pid = json.loads(made.stdout)["pid"]
    try:
        metrics = tmp_path / "runs" / "away" / "metrics.jsonl"
        wait_for(lambda: metrics.is_file() and metrics.stat().st_size)
        refused = cli("train", "--resume", "away")
        assert refused.exit_code == 1
        assert "tinytui open away" in one_complaint(refused)
        assert "is being trained" in one_complaint(cli("runs", "rm", "away", "--yes"))
        live = cli("sample", "away", "--checkpoint", "live", "--prompt", "one ", "--tokens", 5, "--json")
        assert live.exit_code == 0, live.output
        assert json.loads(live.stdout)["tokens"] == 5
    finally:
        os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
    told = json.loads(cli("runs", "show", "away", "--json").stdout)
    assert told["state"] == "stopped"
    assert [checkpoint["step"] for checkpoint in told["checkpoints"]] == [told["step"]]
    assert f"stopped at step {told['step']:,}" in (tmp_path / "runs" / "away" / "log.txt").read_text()


def test_a_background_start_that_fails_says_why(trained: Trained) -> None:
    trained.text.rename(trained.text.with_suffix(".away"))
    try:
        result = invoke("train", "--resume", "first", "--steps", 30, "--detach")
    finally:
        trained.text.with_suffix(".away").rename(trained.text)
    assert result.exit_code == 1
    assert "pairs.csv" in one_complaint(result)


class Terminal:
    """A command in a pseudo-terminal of its own."""

    def __init__(self, folder: Path, *args: object) -> None:
        self.pid, self.fd = on_terminal(command(*args), cwd=folder, env=environment())
        os.set_blocking(self.fd, False)
        self.output = ""

    def read(self) -> None:
        """Take what the command has written, as a terminal does."""
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 65536):  # a terminal gives it in pieces
                self.output += data.decode("utf-8", "replace")

    def trains(self, run: Path) -> bool:
        """Whether the run has logged a step."""
        self.read()
        assert os.waitpid(self.pid, os.WNOHANG) == (0, 0), self.output
        return (run / "metrics.jsonl").is_file() and (run / "metrics.jsonl").stat().st_size > 0

    def exit_code(self) -> int:
        def ended() -> tuple[int, int] | None:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (pid, status) if pid else None

        status: int = wait_for(ended)[1]
        self.read()
        return os.waitstatus_to_exitcode(status)


def test_ctrl_c_saves_and_exits_130(cli: Cli, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "train", "small.txt", *TINY, *ENDLESS, "--name", "stopped")
    wait_for(lambda: terminal.trains(tmp_path / "runs" / "stopped"))
    os.write(terminal.fd, b"\x03")
    assert terminal.exit_code() == 130
    assert "train --resume stopped" in terminal.output
    assert "tok/s" in terminal.output
    told = json.loads(cli("runs", "show", "stopped", "--json").stdout)
    assert (told["state"], told["checkpoints"][-1]["step"]) == ("stopped", told["step"])


def test_a_terminal_that_goes_away_stops_nothing(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "hung-up"
    terminal = Terminal(tmp_path, "train", "small.txt", *TINY, *ENDLESS, "--name", "hung-up")
    wait_for(lambda: terminal.trains(run))
    os.close(terminal.fd)
    metrics = run / "metrics.jsonl"
    at = metrics.stat().st_size
    wait_for(lambda: metrics.stat().st_size > at + 2000)
    assert cli("runs", "stop", "hung-up").exit_code == 0
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) == 0
    told = json.loads(cli("runs", "show", "hung-up", "--json").stdout)
    assert told["state"] == "stopped"
    assert f"hung-up: stopped at step {told['step']:,}" in (run / "log.txt").read_text()


def test_the_last_sample_of_each_prompt_is_shown(cli: Cli) -> None:
    prompts = 'train.sample_prompts=["one small", "after another"]'
    done = cli("train", "small.txt", *TINY, "--steps", 1, "--name", "several", "--set", prompts)
    assert done.exit_code == 0, done.output
    assert done.stdout.index("one small") < done.stdout.index("after another")
    assert cli("sample", "several", "--tokens", 2, "--seed", 1).stdout.startswith("one small")


def test_a_run_that_has_moved_finds_its_corpus_by_name(cli: Cli) -> None:
    assert cli("train", "small.txt", *TINY, "--steps", 3, "--name", "first").exit_code == 0
    Path("small.txt").rename("kept.txt")
    lost = cli("train", "--resume", "first", "--steps", 5)
    assert lost.exit_code == 1 and "tinytui corpora add FILE --name small" in one_complaint(lost)
    assert cli("corpora", "add", "kept.txt", "--name", "small", "--corpora", "mine").exit_code == 0
    assert cli("train", "--resume", "first", "--steps", 5, "--corpora", "mine").exit_code == 0
