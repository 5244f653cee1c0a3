"""What is large on the screen: a million steps, a thousand runs, bars of 50,257 tokens, a loss map of 10,000 tokens.

Part of `python -m bench.screen`. Each is a workbench in an emulated terminal; keys are pressed and their answers timed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.machine import say, spread
from bench.open_run import write_run
from bench.pressing import TINYTUI, given_up, press, shown, told
from tests.terminal import KEYS, Terminal

VOCABULARY = 50_257
KEYS.update(pagedown="\x1b[6~", pageup="\x1b[5~")


def large_views(runs: Path, records: int = 1_000_000, many: int = 1_000) -> None:
    """All four; some minutes, most of them to write what is opened then."""
    write_run(runs / "long", "long", records)
    opening("a million steps", [*TINYTUI, "--runs", str(runs / "long"), "open", "long"], f"{records:,}/{records:,}")
    for number in range(many):
        write_run(runs / "many", f"run-{number}", 20)
    opening("a thousand runs", [*TINYTUI, "--runs", str(runs / "many")], f"{many} runs")
    of_words(runs / "words")
    bars(runs / "words")
    loss_map(runs / "words")


def opening(what: str, command: list[str], words: str) -> None:
    """When it is all there, the first time and with what was kept then; and once more as if for the first time, how
    long keys wait meanwhile: help is opened and closed without a pause."""
    with TemporaryDirectory() as cache, TemporaryDirectory() as other:
        found = []
        for _ in range(4):
            with Terminal(command, env={"TINYTUI_CACHE": cache}) as terminal:
                picture = terminal.wait("tinytui")
                shown(terminal, lambda text: words in text, 60.0)
                found.append(time.monotonic() - terminal.started)
                terminal.pump(3.0)
        again = f"{spread(found[1:])} from then on, the first picture after {picture:.2f} s"
        say(what, f"there after {found[0]:.2f} s the first time, {again}")
        with Terminal(command, env={"TINYTUI_CACHE": other}) as terminal:
            terminal.wait("tinytui")
            waits, there = [], 0.0
            deadline = time.monotonic() + 60
            while not there and time.monotonic() < deadline:
                press(terminal, "?")
                waits.append(shown(terminal, lambda text: "esc close" in text or words in text, 10.0))
                there = time.monotonic() - terminal.started if words in terminal.text else 0.0
                press(terminal, "escape")
                waits.append(shown(terminal, lambda text: "esc close" not in text, 10.0))
    say(f"{what}, under keys, the first time", f"there after {there:.2f} s; keys {told(waits)} ms")


def of_words(runs: Path) -> None:
    """A run of two steps on a text of as many words as GPT-2's vocabulary has tokens."""
    runs.mkdir(parents=True)
    text = runs / "words.txt"
    words = [
        f"{a}{b}{c}{d}" for a in "bdfghklmnprstvz" for b in "aeiou" for c in "bdfghklmnprstvzcjqwxy" for d in SUFFIXES
    ]
    lines = [" ".join(words[i * 7919 % len(words)] for i in range(line * 10, line * 10 + 10)) for line in range(16_000)]
    text.write_text("\n".join(lines) + "\n")
    sets = ["model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=64", "train.sample_tokens=10"]
    sets += ["data.tokenizer=word", f"data.vocab_size={VOCABULARY}", "data.val_tokens=4096"]
    command = [*TINYTUI, "--runs", str(runs), "train", str(text), "--name", "words", "--steps", "2", "--json"]
    subprocess.run([*command, *(part for each in sets for part in ("--set", each))], stdout=sys.stderr, check=True)


SUFFIXES = [f"{a}{b}" for a in "aeiou" for b in ("", *"lmnrstkdgp")]


def timed(terminal: Terminal, keys: tuple[str, ...], count: int, seen: Callable[[str], str]) -> list[float]:
    """Seconds from each key to a change of what is `seen` of the screen."""
    waits = []
    for i in range(count):
        before = seen(terminal.text)
        press(terminal, keys[i % len(keys)])
        waits.append(shown(terminal, lambda text, before=before: seen(text) != before))  # type: ignore[misc]
        if given_up(waits):
            break
        terminal.pump(0.05)
    return waits


def settled(terminal: Terminal, seconds: float = 60.0) -> None:
    """Wait until nothing has been written for a second."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = terminal.bytes
        terminal.pump(1.0)
        if terminal.bytes == before:
            return


def click(terminal: Terminal, words: str) -> None:
    row, line = next((row, line) for row, line in enumerate(terminal.text.splitlines()) if words in line)
    at = f"0;{line.index(words) + 2};{row + 1}"
    press(terminal, f"\x1b[<{at}M\x1b[<{at}m")


def bars(runs: Path) -> None:
    def seen(text: str) -> str:
        lines = text.splitlines()
        top, column = next(
            (row, line.index("─ next token")) for row, line in enumerate(lines) if "─ next token" in line
        )
        return "\n".join(line[column:] for line in lines[top + 1 :])

    with Terminal([*TINYTUI, "--runs", str(runs), "open", "words"]) as terminal:
        terminal.wait("finished")
        press(terminal, "2")
        terminal.wait("next token")
        for key in ("b", "a", "enter"):
            terminal.key(key)
        terminal.until(lambda text: "the bars come with an answer" not in seen(text), 60)
        settled(terminal)
        click(terminal, "temperature")
        terminal.pump(1.0)
        waits = timed(terminal, ("right", "right", "left", "left"), 40, seen)
    say(f"bars follow a slider, {VOCABULARY:,}", f"p50 p95 max {told(waits)} ms")


def loss_map(runs: Path) -> None:
    anew = {"XDG_CONFIG_HOME": str(runs / "anew")}  # or it would begin where it was left
    with Terminal([*TINYTUI, "--runs", str(runs), "open", "words"], env=anew) as terminal:
        terminal.wait("finished")
        press(terminal, "5")
        terminal.wait("surprised")
        settled(terminal)
        for _ in range(4):  # 1,024 tokens to 16,384
            press(terminal, "+")
            terminal.pump(0.5)
        settled(terminal, 120)
        waits = timed(
            terminal, ("pagedown",) * 8 + ("pageup",) * 8, 48, lambda text: "\n".join(text.splitlines()[3:-2])
        )
    say("the loss map, a page", f"p50 p95 max {told(waits)} ms")
