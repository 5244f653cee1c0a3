"""Whether a workbench that trains grows: its memory interval by interval while every screen is used, and what holds it.

    python -m bench.soak [--minutes 10] [--interval 30] [--apart] [--steps 500] [--still] [--trace]

A tiny model trains, so that an hour's records, samples and checkpoints come in minutes: the workbench reads them, all
screens are gone to in turn, keys are pressed, a prompt is sent. With --apart another process trains and the workbench
only reads; with --steps nothing trains, and so many steps a second are written as a trainer writes them, a day's in
minutes; with --still nothing is pressed. Told are the resident memory (anonymous pages: files mapped do not count),
what the C library's allocator has in use and holds free, Python's blocks, objects and threads, what is known to grow
with steps, and at the end what giving free pages back (`malloc_trim`) brings, and what a step left. With --trace the
lines of Python that hold more at the end than after the first interval.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

from bench.machine import describe, end_with_all, say
from bench.open_run import record, write_run
from engine.runs.writer import RunWriter
from tests.terminal import Terminal

TINY = ("model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.block_size=64", "train.batch_size=4")
OFTEN = ("train.eval_every=2000", "train.checkpoint_every=2000", "train.sample_tokens=60", "train.keep_last=2")
FRAMES = 8
LINES = 12


class _Counts(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "free", "bins", "mapped", "mapped_bytes", "a", "b", "used", "free_bytes", "top")
    ]


def allocator() -> dict[str, int]:
    """Bytes that glibc's allocator got from the system, has handed out and holds free; and its arenas. {} elsewhere."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return {}
    libc.mallinfo2.restype = _Counts
    counts = libc.mallinfo2()
    return {"system": counts.arena, "used": counts.used, "free": counts.free_bytes, "mapped": counts.mapped_bytes}


def pages() -> dict[str, int]:
    """Resident bytes of this process: anonymous ones, and pages of files."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile", "VmHWM"):
            found[name] = int(value.split()[0]) << 10
    return found


def held(objects: list[Any]) -> dict[str, float]:
    """Megabytes of what is known to grow with steps and answers, and how many keys wait for the program."""
    from engine.runs.series import Table
    from engine.sampling.kept import KeptLogits
    from tui.app import Workbench
    from tui.widgets.reduce import Smoother

    columns = {id(each._steps): each.nbytes for each in objects if type(each) is Table}
    return {
        "columns": sum(columns.values()) / 1e6,
        "averages": sum(each.nbytes for each in objects if type(each) is Smoother) / 1e6,
        "logits": sum(each.nbytes for each in objects if type(each) is KeptLogits) / 1e6,
        "logits kept": sum(len(each._rows) for each in objects if type(each) is KeptLogits),
        "keys waiting": sum(
            len(each._inputs) + each._message_queue.qsize() for each in objects if isinstance(each, Workbench)
        ),
    }


def look() -> dict[str, Any]:
    objects = gc.get_objects()
    kinds = Counter(type(each).__qualname__ for each in objects)
    return {
        **pages(),
        "held": held(objects),
        "allocator": allocator(),
        "blocks": sys.getallocatedblocks(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "objects": sum(kinds.values()),
        "kinds": kinds.most_common(400),
    }


class Inside:
    """Answers from within the program: `look`, `trace` (begin, or what has grown since), `trim`."""

    def __init__(self, path: str) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        self._before: tracemalloc.Snapshot | None = None
        threading.Thread(target=self._serve, name="soak", daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection, connection.makefile("rw") as file:
                for line in file:
                    file.write(json.dumps(getattr(self, line.strip())()) + "\n")
                    file.flush()

    def look(self) -> dict[str, Any]:
        gc.collect()
        return look()

    def trim(self) -> dict[str, Any]:
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
        return pages()

    def trace(self) -> list[str]:
        if self._before is None:
            tracemalloc.start(FRAMES)
            self._before = tracemalloc.take_snapshot()
            return []
        gc.collect()
        found = tracemalloc.take_snapshot().compare_to(self._before, "traceback")
        said = []
        for one in found[:LINES]:
            said.append(f"{one.size_diff / 1e3:+9.1f} KB {one.count_diff:+7d} objects")
            said += [f"    {line.strip()}" for line in one.traceback.format(most_recent_first=True)]
        return said


class Line:
    """Asks `Inside`."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rw")

    def ask(self, what: str) -> Any:
        self._file.write(what + "\n")
        self._file.flush()
        return json.loads(self._file.readline())


def rounds(terminal: Terminal) -> list[tuple[str, ...]]:
    """What a person presses, screen by screen; each is pressed as one stroke after the other."""
    return [
        ("1", "m", "m", "plus", "minus", "left_square", "escape"),
        ("2", "tab", "tab", "escape"),
        ("3", "left", "right", " ", " "),
        ("4", "down", "up", " ", " "),
        ("5", "l", "g", "a", "e", "o"),
        ("6", "down", "up", "enter", "escape"),
        ("n", "down", "up", "escape"),
        ("1", "p", *"Pt. has a cough", "enter"),
        ("escape", "1"),
        ("?", "escape", "ctrl+p", "escape"),
    ]


STROKES = {"plus": "+", "minus": "-", "left_square": "["}


def train_command(runs: str) -> list[str]:
    sets = [part for each in (*TINY, *OFTEN) for part in ("--set", each)]
    corpus = ["soap-notes", "--preset", "nanogpt-char-cpu", "--name", "long", "--steps", "100000000"]
    return ["--runs", runs, "train", *corpus, *sets]


class Steps:
    """Writes a run as its trainer would, so many steps a second: records, and now and then an evaluation, a sample."""

    EVERY = 1000

    def __init__(self, runs: Path, rate: int) -> None:
        self._run, self._rate, self._ended = write_run(runs, "long", 1), rate, threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        step = 1
        with RunWriter(self._run) as writer:
            while not self._ended.wait(0.1):
                for _ in range(self._rate // 10):
                    step += 1
                    writer.metric(**json.loads(record(step)))
                    if step % self.EVERY == 0:
                        writer.metric(step=step, val_loss=2.0 + 1000 / step)
                        writer.sample(step=step, prompt="Pt. has", text="a cough and no fever. " * 20, settings={})
                        writer.event("checkpoint", step)
                writer.status(state="running", phase="training", step=step, steps=1_000_000_000)

    def terminate(self) -> None:
        self._ended.set()

    def wait(self) -> None:
        self._thread.join()


def soak(options: argparse.Namespace, folder: str) -> None:
    runs, path = f"{folder}/runs", f"{folder}/inside"
    inside = [sys.executable, "-m", "bench.soak", "--inside", path]
    trainer: subprocess.Popen[bytes] | Steps | None = None
    if options.steps:
        trainer = Steps(Path(runs), options.steps)
        command = [*inside, "--runs", runs, "open", "long"]
    elif options.apart:
        trainer = subprocess.Popen(
            [sys.executable, "-m", "tui.cli", *train_command(runs), "--json"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (Path(runs) / "long" / "metrics.jsonl").exists():
            assert trainer.poll() is None, "the trainer ended"
            time.sleep(0.1)
        command = [*inside, "--runs", runs, "open", "long"]
    else:
        command = [*inside, *train_command(runs), "--tui"]
    try:
        with Terminal(command, env=dict(item.split("=", 1) for item in options.env)) as terminal:
            terminal.wait("training", 120)
            watch(terminal, Line(path), Path(runs) / "long", options)
    finally:
        if trainer is not None:
            trainer.terminate()
            trainer.wait()


def watch(terminal: Terminal, line: Line, run: Path, options: argparse.Namespace) -> None:
    began, looks = time.monotonic(), []
    turns = rounds(terminal)
    turn = 0
    while time.monotonic() - began < options.minutes * 60:
        until = time.monotonic() + options.interval
        while (left := until - time.monotonic()) > 0:
            if not options.still:
                for stroke in turns[turn % len(turns)]:
                    terminal.key(STROKES.get(stroke, stroke))
                turn += 1
            terminal.pump(min(1.0, left))
            terminal.raw.clear()
        if not terminal.open:
            raise SystemExit("the program ended; its screen was\n" + terminal.text)
        told = line.ask("look")
        looks.append(told)
        records = (run / "metrics.jsonl").stat().st_size
        told["steps"] = (run / "metrics.jsonl").read_bytes().count(b"\n")
        held = told["allocator"]
        print(
            f"{(time.monotonic() - began) / 60:6.1f} min  anonymous {told['RssAnon'] / 1e6:7.1f} MB"
            f"  allocator used {held.get('used', 0) / 1e6:6.1f} free {held.get('free', 0) / 1e6:6.1f}"
            f" mapped {held.get('mapped', 0) / 1e6:6.1f}  blocks {told['blocks']:,}  objects {told['objects']:,}"
            f"  threads {len(told['threads'])}  records {records / 1e6:.1f} MB\n            "
            + "  ".join(f"{name} {value:.1f}" for name, value in told["held"].items()),
            flush=True,
        )
        if len(looks) == 1 and options.trace:
            line.ask("trace")
    first, last = looks[0], looks[-1]
    say("anonymous memory, grown by", f"{(last['RssAnon'] - first['RssAnon']) / 1e6:+.1f} MB since the first interval")
    half = looks[len(looks) // 2]
    grown, steps = last["RssAnon"] - half["RssAnon"], last["steps"] - half["steps"]
    say(
        "of that in the second half",
        f"{grown / 1e6:+.1f} MB in {steps:,} steps, {grown / max(1, steps):.0f} bytes each",
    )
    before, after = dict(first["kinds"]), dict(last["kinds"])
    more = sorted(((after[kind] - before.get(kind, 0), kind) for kind in after), reverse=True)[:LINES]
    say("objects, more", ", ".join(f"{kind} {count:+,d}" for count, kind in more if count > 0))
    say("threads, more", ", ".join((Counter(last["threads"]) - Counter(first["threads"])).elements()) or "none")
    if options.trace:
        print("\n".join(line.ask("trace")))
    trimmed = line.ask("trim")
    say("free pages given back", f"{(trimmed['RssAnon'] - last['RssAnon']) / 1e6:+.1f} MB by malloc_trim")


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        Inside(sys.argv[2])
        sys.argv = ["tinytui", *sys.argv[3:]]
        from tui.cli import main as program

        program()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--interval", type=float, default=30.0, help="seconds between two looks")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--steps", type=int, default=0, metavar="RATE", help="steps a second, written and not trained")
    parser.add_argument("--still", action="store_true")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    end_with_all()
    print(describe(), "  ", shlex.join(sys.argv[1:]), f"  pid {os.getpid()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        soak(options, folder)


if __name__ == "__main__":
    main()
