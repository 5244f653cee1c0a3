"""What the workbench costs, screen by screen: keys, bytes to the terminal, and what it takes from training.

    python -m bench.screen [--screens train,prompt,...] [--turns 12] [--seconds 6] [--only start,training,screens,large]

Four parts. `start`: to the first picture, to an answer to a key. `training`: steps a second in the workbench over
headless, which take turns, with parts of the screen left out, so that it is seen what each brings (`over`: with
nothing left out, alone). `screens`: each screen beside
a training: key to screen, local and over a link of 30 KB/s, bytes a second, idle bytes. `large`: a million steps, a
thousand runs, bars at a vocabulary of 50,257, the loss map of 10,000 tokens (`bench.large_views`).

What a run does is read off its own records, and the screen by an emulated terminal that is looked at every 2 ms.
`bench.soak` watches the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.large_views import large_views
from bench.machine import describe, end_with_all, say, spread
from bench.pressing import TINYTUI, flow, given_up, press, shown, told
from tests.terminal import Terminal

TRAIN = ["soap-notes", "--preset", "nanogpt-char-cpu", "--steps", "10000000"]
QUIET = [
    "--set",
    "train.eval_every=100000",
    "--set",
    "train.checkpoint_every=100000",
    "--set",
    "train.sample_tokens=20",
]
LINK = 30_000  # bytes a second
KEYS = 24  # timed each time: twice as many fit on one line of every field
PARTS = ("start", "training", "screens", "large")


@dataclass(frozen=True)
class Place:
    """A screen: the keys from Train to it, words that stand on it, and what is pressed to see how soon it shows.

    typing: letters that show one after the other; else the keys in `turns` change the line in which `line` stands.
    """

    go: tuple[str, ...]
    words: str
    turns: tuple[str, ...] = ()
    line: str = ""


PLACES = {
    "train": Place(("p",), "max tokens"),
    "prompt": Place(("2",), "repetition"),
    "samples": Place(("s", "s", "3"), "turn B", ("left", "right"), "╭─ A "),
    "runs": Place(("4", "/"), "corpus:notes"),
    "inspect": Place(("5", "i"), "a text to look at"),
    "corpora": Place(("6", "a"), "corpus"),
    "new run": Place(("n",), "main settings"),
}

LEFT_OUT = {
    "as it is": "",
    "Textual's own driver": "driver",
    "cells not compared": "differ",
    "not paced": "pacing",
    "OpenMP's own patience": "patience",
    "malloc's own arenas": "arenas",
}


def leave_out(part: str) -> None:
    """Take a part of the screen away, in this process."""
    from tui.terminal import diff, pacing, private

    if part == "driver":
        private.PARTS["left out"] = lambda: False
    elif part == "differ":
        diff.Shown.narrow = lambda self, update: update  # type: ignore[method-assign]
    elif part == "pacing":
        pacing.Pacer.ready = lambda self: True  # type: ignore[method-assign]


def typed(terminal: Terminal, count: int, letters: str = "qzxjkvwy") -> list[float]:
    """Seconds from each of so many letters to the screen, after a few that make the place known."""
    waits, text = [], ""
    for i in range(4 + count):
        text += letters[(i * 5 + i // 8) % 8]
        press(terminal, text[-1])
        waits.append(shown(terminal, lambda screen, tail=text[-10:]: tail in screen))  # type: ignore[misc]
        if given_up(waits):
            return waits
        terminal.pump(0.07)
    return waits[4:]


def turned(terminal: Terminal, count: int, place: Place) -> list[float]:
    """Seconds from each of so many keys to a change of one line."""

    def line(screen: str) -> str:
        return next((each for each in screen.splitlines() if place.line in each), "")

    waits = []
    for i in range(count):
        before = line(terminal.text)
        press(terminal, place.turns[i % len(place.turns)])
        waits.append(shown(terminal, lambda screen, before=before: line(screen) != before))  # type: ignore[misc]
        if given_up(waits):
            return waits
        terminal.pump(0.07)
    return waits


def keys_of(terminal: Terminal, place: Place, count: int, letters: str) -> list[float]:
    return turned(terminal, count, place) if place.turns else typed(terminal, count, letters)


def newest(run: Path) -> tuple[int, float]:
    """Step and seconds trained of the newest record of training."""
    with (run / "metrics.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        lines = file.read().split(b"\n")[1:-1]
    records = [json.loads(line) for line in lines if b'"loss"' in line]
    return int(records[-1]["step"]), float(records[-1]["time_s"])


def trains(run: Path, wait: Callable[[], object]) -> None:
    """Wait until `run` has some records."""
    deadline = time.monotonic() + 120
    while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").stat().st_size < 8192:
        assert time.monotonic() < deadline, "the training did not begin"
        wait()


def rate(run: Path, during: Callable[[], object]) -> float:
    """Steps a second, by the run's own time."""
    first = newest(run)
    during()
    last = newest(run)
    return (last[0] - first[0]) / max(1e-9, last[1] - first[1])


def command(runs: Path, name: str, *more: str, part: str = "") -> list[str]:
    program = [sys.executable, "-m", "bench.screen", "--inside", part] if part else TINYTUI
    return [*program, "--runs", str(runs), "train", *TRAIN, "--name", name, *QUIET, *more]


def start_up(runs: Path) -> None:
    helps, paints, keys = [], [], []
    with Terminal([*TINYTUI, "--runs", str(runs)]) as terminal:  # the first one compiles
        terminal.wait("tinytui")
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([*TINYTUI, "--help"], capture_output=True, check=True)
        helps.append(time.perf_counter() - began)
        with Terminal([*TINYTUI, "--runs", str(runs)]) as terminal:
            paints.append(terminal.wait("tinytui"))
            while "esc" not in terminal.text.lower():  # usable: the help answers to its key
                press(terminal, "?")
                shown(terminal, lambda text: "esc" in text.lower(), 0.2)
            keys.append(time.monotonic() - terminal.started)
    for what, values in (("--help", helps), ("first paint", paints), ("keys answer", keys)):
        say(what, spread(values))


class Training:
    """One that goes on only while it is looked at: in between it is stopped, so that several can take turns."""

    def __init__(self, runs: Path, name: str, part: str | None) -> None:
        """part: what the workbench does without, as in LEFT_OUT; None: headless."""
        self._run = runs / name
        self.terminal: Terminal | None = None
        if part is None:
            self._headless = subprocess.Popen(
                command(runs, name, "--json"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        else:
            env = {"patience": {"GOMP_SPINCOUNT": "300000"}, "arenas": {"MALLOC_ARENA_MAX": "16"}}.get(part, {})
            self.terminal = Terminal(command(runs, name, "--tui", part=part), env=env)
        trains(self._run, lambda: self.pump(0.05))
        self.signal(signal.SIGSTOP)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._headless.pid if self.terminal is None else self.terminal.pid, number)

    def pump(self, seconds: float) -> None:
        time.sleep(seconds) if self.terminal is None else self.terminal.pump(seconds)

    def rate(self, seconds: float) -> tuple[float, float]:
        """Steps a second and bytes to the terminal a second, once it has gone on for a second."""
        flows: list[float] = []
        self.signal(signal.SIGCONT)
        self.pump(1.0)
        if self.terminal is None:
            steps = rate(self._run, lambda: time.sleep(seconds))
        else:
            terminal = self.terminal
            steps = rate(self._run, lambda: flows.append(flow(terminal, seconds)))
        self.signal(signal.SIGSTOP)
        return steps, sum(flows)

    def keys(self) -> list[float]:
        """Seconds from key to screen, in the prompt."""
        assert self.terminal is not None
        self.signal(signal.SIGCONT)
        press(self.terminal, "p")
        self.terminal.pump(1.0)
        waits = typed(self.terminal, KEYS)
        self.signal(signal.SIGSTOP)
        return waits

    def close(self) -> None:
        self.signal(signal.SIGCONT)
        if self.terminal is not None:
            self.terminal.end()
        else:
            self._headless.terminate()
            self._headless.wait()


def beside_training(runs: Path, turns: int, seconds: float, left_out: Mapping[str, str]) -> None:
    """Trainings that take turns: each window is compared with the headless one right before or after it."""
    with ExitStack() as stack:
        alone = Training(runs, "headless", None)
        stack.callback(alone.close)
        found: dict[str, list[float]] = {}
        flows: dict[str, list[float]] = {}
        trainings = {}
        for name, part in left_out.items():
            trainings[name] = Training(runs, f"with-{part or 'all'}", part)
            stack.callback(trainings[name].close)
        for turn in range(turns):
            for name, training in trainings.items():
                each = [alone, training] if turn % 2 else [training, alone]
                rates = {one: one.rate(seconds) for one in each}
                found.setdefault(name, []).append(rates[training][0] / rates[alone][0])
                flows.setdefault(name, []).append(rates[training][1])
        ratios = "over headless: median (quartiles) +- its error"
        print(f"{'in the workbench':24} {ratios:48} {'KB/s':22}key: p50 p95 max, ms")
        for name, training in trainings.items():
            low, middle, high = statistics.quantiles(found[name], n=4, method="inclusive")
            sure = (
                1.57 * (high - low) / len(found[name]) ** 0.5
            )  # as of a box plot's notch (McGill, Tukey, Larsen 1978)
            ratio = f"{middle:.3f}x ({low:.3f} to {high:.3f}) +- {sure:.3f}"
            print(f"{name:24} {ratio:48} {spread(flows[name], '', 1e-3):22} {told(training.keys())}", flush=True)


def every_screen(runs: Path, names: list[str], seconds: float) -> None:
    print(f"{'screen':10} {'key: p50 p95 max, ms':22} {'at 30 KB/s':22} {'KB/s':>6} {'idle B/s':>9}")
    for name in names:
        place, run = PLACES[name], f"on-{name.replace(' ', '-')}"
        with Terminal(command(runs, run, "--tui")) as terminal:
            terminal.wait("training", 120)
            trains(runs / run, lambda: terminal.pump(0.05))
            for key in place.go:
                terminal.key(key)
                terminal.pump(1.0)
            terminal.wait(place.words)
            terminal.pump(1.0)
            bytes_a_second = flow(terminal, seconds)
            local = keys_of(terminal, place, KEYS, "qzxjkvwy")
            terminal.pump(1.0)
            terminal.bandwidth = LINK
            slow = keys_of(terminal, place, KEYS, "wvkyjxqz")
        anew = {"XDG_CONFIG_HOME": str(runs / "anew")}  # or it would begin where it was left
        with Terminal([*TINYTUI, "--runs", str(runs), "open", run], env=anew) as terminal:
            terminal.until(lambda text: "stopped" in text or "finished" in text)
            for key in place.go[-1:] if place.go[0] == "s" else place.go:
                terminal.key(key)
            terminal.pump(8.0)  # Inspect loads PyTorch first
            idle = flow(terminal, seconds)
        print(f"{name:10} {told(local):22} {told(slow):22} {bytes_a_second / 1e3:6.1f} {idle:9.0f}", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        leave_out(sys.argv[2])
        sys.argv = ["tinytui", *sys.argv[3:]]
        from tui.cli import main as program

        program()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--screens", default=",".join(PLACES), help="which, of " + ", ".join(PLACES))
    parser.add_argument("--turns", type=int, default=12, help="windows of each training")
    parser.add_argument("--seconds", type=float, default=6.0, help="for which bytes and steps are counted, each time")
    parser.add_argument("--only", default=",".join(PARTS), help="which parts, of " + ", ".join(PARTS))
    options = parser.parse_args()
    names, parts = options.screens.split(","), options.only.split(",")
    if unknown := [each for each in names if each not in PLACES] + [
        each for each in parts if each not in (*PARTS, "over")
    ]:
        parser.error(f"unknown: {', '.join(unknown)}")
    end_with_all()
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        os.environ["XDG_CONFIG_HOME"] = folder
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as a person has it, everything is compiled once
        os.environ["PYTHONPYCACHEPREFIX"] = str(runs / "compiled")
        if "start" in parts:
            start_up(runs / "none")
        if "training" in parts or "over" in parts:
            left_out = LEFT_OUT if "training" in parts else {"as it is": ""}
            beside_training(runs / "training", options.turns, options.seconds, left_out)
        if "screens" in parts:
            every_screen(runs / "screens", names, options.seconds)
        if "large" in parts:
            large_views(runs / "large")


if __name__ == "__main__":
    main()
