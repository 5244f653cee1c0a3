"""Text from outside, in every widget and from every command, judged by the bytes that reach the terminal."""

from __future__ import annotations

import json
import os
import pty
import random
import select
import shutil
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from textual.app import App, ComposeResult

from tests.terminal import Terminal
from tui.screens.dialogs.choose import Choice
from tui.screens.dialogs.choose import _line as choice_line
from tui.screens.runs.lines import columns_for
from tui.screens.runs.lines import line as run_row
from tui.screens.train.device import Device, DeviceView
from tui.screens.train.loss import LossPane
from tui.screens.train.prompt import PromptPane
from tui.screens.train.promptinput import PromptInput
from tui.screens.train.samples import SamplesPane
from tui.screens.train.tiny import Tiny
from tui.state.session import Session
from tui.state.summary import Latest
from tui.theme import Themed
from tui.widgets.bars import NextTokenBars, TokenBar
from tui.widgets.form import Field, SettingsForm
from tui.widgets.menu import Menu
from tui.widgets.plot import LossPlot, PlotData
from tui.widgets.stream import OutputText
from tui.widgets.topline import TopLine

from .conftest import WHOLE, Campaign
from .hostile import PRINTED, WORKBENCH, drawn, judge

sys.path.insert(0, str(Path(__file__).parents[1] / "tui" / "screens"))  # made-up runs live there

from runs_for_tests import write_run

COLUMNS, ROWS = 150, 90
KEYS = ("2", "up", "up", "escape", "escape", "3", "left", "4", "down", "n", "x", "escape", "?", "escape")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in (("HOME", "home"), ("XDG_CONFIG_HOME", "config"), ("TINYTUI_CACHE", "cache")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.setenv("TINYTUI_CORPORA", str(tmp_path / "corpora"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(tmp_path)


# -- widgets


class Everything(Themed, App[None]):
    """Every widget that shows text from outside, one under the other."""

    CSS = (
        "Screen { overflow: hidden; } Screen > * { height: 6; } Rows, TopLine { height: 1; } PromptPane { height: 14; }"
    )

    def __init__(self, runs: Path) -> None:
        super().__init__()
        self.session = Session(runs, None)

    def compose(self) -> ComposeResult:
        yield TopLine()
        for kind in (Tiny, DeviceView, LossPane, SamplesPane, OutputText, SettingsForm, Menu, NextTokenBars):
            yield kind()
        yield PromptPane(self.session)

    def show(self, text: str) -> None:
        """`text` wherever a widget shows a name, a state, a problem, a prompt, an answer or a setting."""
        now = Latest(state=text, phase=text, step=3, steps=9)
        self.query_one(TopLine).show_run(text, now)
        self.query_one(Tiny).show_words([("x", "")], text)
        self.query_one(Tiny).show_run(text, now)
        self.query_one(DeviceView).show(Device(now=now, elsewhere=text, named=(("corpus", text), ("preset", text))))
        loss = self.query_one(LossPane)
        loss.query_one(LossPlot).show(PlotData.run([1, 2], [3.0, 2.0], name=text, empty=text))
        loss.say_problem(text)
        sample = {"step": 5, "text": text, "prompt": text, "settings": {"temperature": 1.0}, "seed": 1}
        self.query_one(SamplesPane).show([sample], text)
        out = self.query(OutputText).filter("Screen > OutputText").first(OutputText)
        out.start(text)
        for at in range(0, len(text), 7):
            out.append(text[at : at + 7])
        out.fail(text)
        form = self.query_one(SettingsForm)
        form.set_fields(
            [Field("a", "a", text, text, text, (text, "b"), True), Field("b", "b", text, text)], {"b": text + "x"}
        )
        form.set_errors({"a": text})
        named = {"name": text, "state": text, "corpus": text, "preset": text, "note": text}
        row = run_row(defaultdict(lambda: None, named), columns_for(140))
        self.query_one(Menu).set_items([choice_line(Choice(text, None, text), 140), row])
        self.query_one(NextTokenBars).show([TokenBar(text, 0.5, 0.4), TokenBar("x" + text, 0.1, 0.0, cut="top-k")])
        prompt = self.query_one(PromptPane)
        prompt.query_one(PromptInput).text = text
        prompt._answer.set_text(text, text)
        prompt._subtitle(text)
        prompt.fail(text)


async def test_no_widget_lets_text_drive_the_terminal(campaign: Callable[..., Campaign], tmp_path: Path) -> None:
    promise = campaign("whatever a text holds, no widget lets it drive the terminal", quick=40, whole=10_000)
    app = Everything(tmp_path / "runs")
    console = Console(force_terminal=True, color_system="truecolor", width=COLUMNS, legacy_windows=False)
    async with app.run_test(size=(COLUMNS, ROWS)) as pilot:
        await pilot.pause()
        strings = drawn(promise.planned)
        for number in promise:
            with promise.trial(f"text {number}: {strings[number]!r:.80}"):
                app.show(strings[number])
                if number % 10 == 0:
                    await pilot._wait_for_screen()
                strips = app.screen._compositor.render_strips()
                assert len(strips) == ROWS
                judge("\n".join(strip.render(console) for strip in strips).encode(), PRINTED)


# -- commands


def on_a_terminal(args: list[str], seconds: float = 30.0) -> tuple[bytes, int]:
    """What the command wrote to a pseudo-terminal, and its exit code."""
    pid, fd = pty.fork()
    if pid == 0:
        code = 70
        try:
            sys.stdin, sys.stdout, sys.stderr = (open(0), open(1, "w"), open(2, "w"))  # noqa: SIM115
            sys.argv = ["tinytui", *args]
            os.environ.update(TERM="xterm-256color", COLUMNS="120")
            from tui.cli import main

            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)
    written, until = b"", time.monotonic() + seconds
    while time.monotonic() < until:
        if select.select([fd], [], [], 0.5)[0]:
            try:
                data = os.read(fd, 1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            written += data
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(fd)
    return written, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def foreign_run(runs: Path, name: str, pick: Callable[[], str]) -> None:
    """A run whose every text is from somebody else."""
    run = write_run(runs, name, step=100)
    info = json.loads(run.run_json.read_text())
    info["corpus"]["name"], info["preset"], info["environment"]["device"] = pick(), pick(), pick()
    info["environment"]["host"], info["config"]["train"]["sample_prompt"] = pick(), pick()
    info["template"] = {"prefix": pick(), "infix": pick(), "suffix": "", "stop": []}
    run.run_json.write_text(json.dumps(info))
    status = json.loads(run.status_json.read_text())
    state = random.Random(name).choice(["failed", "stopped", "finished"])
    run.status_json.write_text(
        json.dumps({**status, "state": state, "problem": pick(), "message": pick(), "device": pick(), "host": pick()})
    )
    sample = {"step": 100, "prompt": pick(), "text": pick(), "settings": {}, "seed": 1}
    run.samples.write_text("".join(json.dumps({**sample, "step": step, "text": pick()}) + "\n" for step in (50, 100)))
    with run.events.open("a") as file:
        file.write(json.dumps({"step": 100, "time": 1.0, "kind": "alarm", "alarm": pick(), "message": pick()}) + "\n")
    (run.path / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": pick(), "text": pick()}) + "\n" for _ in "abc")
    )


def argument(text: str) -> str:
    """As much of `text` as can be an argument or a file's name."""
    kept = text.replace("\0", "").encode("utf-8", "surrogateescape" if text.isprintable() else "replace")[:200]
    return kept.decode("utf-8", "replace").lstrip("-") or "x"


def commands_of(pick: Callable[[], str], folder: Path) -> list[list[str]]:
    """Every command that prints a name or a text from outside, with one."""
    word, file = argument(pick()), folder / "corpora" / (argument(pick()).replace("/", "_")[:40] + ".txt")
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((pick() * 3 + "\nplain text\n" * 20).encode("utf-8", "replace"))
    return [
        ["runs", "list"],
        ["runs", "show", "a"],
        ["runs", "compare", "a", "b"],
        ["runs", "plot", "a", "b"],
        ["runs", "verify", "a"],
        ["runs", "show", word],
        ["runs", "rm", word],
        ["runs", "stop", word],
        ["--runs", word, "runs", "list"],
        ["open", word],
        ["train", word],
        ["train", str(file), "--set", f"{word}=1"],
        ["train", str(file), "--set", f"train.max_steps={word}"],
        ["train", str(file), "--preset", word],
        ["train", str(file), "--dry-run"],
        ["sample", word],
        ["sample", "a", "--prompt", word],
        ["corpora", "list"],
        ["corpora", "show", str(file)],
        ["corpora", "show", word],
        ["corpora", "rm", word],
        ["corpora", "add", word],
        ["tokenizer", "show", "a"],
        ["tokenizer", "encode", word, word],
        ["presets", word],
        ["doctor", word],
        [word],
        ["--debug", "runs", "show", word],
        ["--debug", "train", word],
    ]


def test_no_command_lets_text_drive_the_terminal(campaign: Callable[..., Campaign], tmp_path: Path) -> None:
    import tui.cli.app

    tui.cli.app.make_app()  # once, for all that are forked

    if WHOLE:  # and torch, which takes longer to load than most commands take
        import engine.training.host
        import engine.training.start  # noqa: F401

    promise = campaign("whatever names and files hold, no command lets them drive the terminal", quick=8, whole=1_500)
    strings = drawn(max(60, promise.planned * 2), start=1)
    for number in promise:
        rng = random.Random(number)
        pick = lambda rng=rng: rng.choice(strings)  # noqa: E731
        folder = tmp_path / "outside"
        if number % 8 == 0:  # some commands look at the same folder
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("a", "b"):
                foreign_run(folder / "runs", name, pick)
        args = commands_of(pick, folder)
        command = args[(number * 7) % len(args)]
        with promise.trial(f"{number}: {command!r:.120}"):
            place = ["--runs", str(folder / "runs"), "--corpora", str(folder / "corpora")]
            written, code = on_a_terminal([*place, *command])
            judge(written, PRINTED)
            assert code in (0, 1, 2), written[-300:]
            assert b"Traceback" not in written or "--debug" in command


def test_the_workbench_on_foreign_runs_says_only_what_is_its_own(
    campaign: Callable[..., Campaign], tmp_path: Path
) -> None:
    promise = campaign(
        "the workbench on runs of somebody else sends nothing of theirs to the terminal", quick=1, whole=40
    )
    strings = drawn(80 if promise.planned == 1 else 2_000, start=2)
    for number in promise:
        rng = random.Random(number)
        runs = tmp_path / f"runs-{number}"
        for name in ("a", "b", "c"):
            foreign_run(runs, name, lambda rng=rng: rng.choice(strings))
        with promise.trial(f"runs {number}"):
            command = [sys.executable, "-m", "tui.cli", "--runs", str(runs)]
            root = str(Path(__file__).parents[2])
            with Terminal(command, columns=140, rows=40, env={"PYTHONPATH": root}, forked=True) as terminal:
                terminal.wait("3 runs", 60)
                terminal.key("enter")
                terminal.until(lambda screen: "live weights" in screen or "best checkpoint" in screen, 60)
                for key in (
                    "2",
                    "up",
                    "up",
                    "escape",
                    "escape",
                    "3",
                    "left",
                    "4",
                    "down",
                    "n",
                    "x",
                    "escape",
                    "?",
                    "escape",
                ):
                    terminal.key(key)
                terminal.pump(0.5)
                whole = terminal.raw[: terminal.raw.rfind(b"\x1b")]  # the last sequence may still be on its way
                judge(bytes(whole), WORKBENCH, 140, 40)
