"""Memory that nobody uses is used again, or given back: asked of processes of their own, as all of theirs counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from engine import process
from tui import memory

HOLES = """
import ctypes, sys, threading
import tui.memory

def anonymous():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def holes(count=8000, size=4000):
    \"\"\"Fills so many places and frees all but every tenth: pages lie free between those in use.\"\"\"
    places = [libc.malloc(size) for _ in range(count)]
    for place in places:
        ctypes.memset(place, 1, size)
    for number, place in enumerate(places):
        if number % 10:
            libc.free(place)
"""


def told(code: str, **env: str) -> list[int]:
    given = {key: value for key, value in process.environment(**env).items() if key != "MALLOC_ARENA_MAX" or key in env}
    ran = subprocess.run(
        [sys.executable, "-c", HOLES + code], env=given, capture_output=True, text=True, timeout=60, check=True
    )
    return [int(word) for word in ran.stdout.split()]


@pytest.mark.skipif(not hasattr(os, "confstr") or "glibc" not in str(os.confstr("CS_GNU_LIBC_VERSION")), reason="glibc")
def test_free_pages_are_given_back() -> None:
    before, full, after = told("""
before = anonymous(); holes(); full = anonymous(); tui.memory.give_back(); print(before, full, anonymous())
""")
    assert full - before > 24 << 20, "what is freed between things in use stays with the allocator"
    assert after - before < (full - before) / 2


@pytest.mark.skipif(not hasattr(os, "confstr") or "glibc" not in str(os.confstr("CS_GNU_LIBC_VERSION")), reason="glibc")
def test_threads_use_what_others_freed() -> None:
    """Six threads, one after the other, while all are there: with two stores they need little more than one."""
    code = """
tui.memory.few_arenas()
gate, done = [threading.Event() for _ in range(6)], [threading.Event() for _ in range(6)]
def work(number):
    gate[number].wait()
    places = [libc.malloc(4000) for _ in range(4000)]
    for place in places:
        ctypes.memset(place, 1, 4000)
    for place in places[:-1]:
        libc.free(place)
    done[number].set(); gate[0].wait(); threading.Event().wait(0.5)
threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
before = anonymous()
for thread in threads: thread.start()
for number in range(6):
    gate[number].set(); done[number].wait()
print(anonymous() - before)
"""
    (few,) = told(code)
    (many,) = told(code, MALLOC_ARENA_MAX="48")  # the user's word counts
    assert few < 0.6 * many


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_a_step_takes_its_eight_numbers() -> None:
    """Also where the allocator keeps what is freed, as it does beside training, and while a screen holds a view."""
    rows, grown = told("""
from engine.machine import keep_freed_memory
from engine.runs.series import Series
keep_freed_memory()
series, shown, rows = Series(), None, 60_000
for step in range(rows + 1000):
    series.add({"step": step, "loss": 1.5})
    if step == 1000:
        before = anonymous()
    if step % 1000 == 0:
        shown = series.snapshot()
print(rows, anonymous() - before)
""")
    assert 0.9 * 64 * rows < grown < 1.25 * 64 * rows


def test_what_imports_made_is_kept_once_they_have_come_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[int] = []
    counts = iter((150, 300, 300, 300, 399, 399, 400, 400, 400, 500, 500))
    monkeypatch.setattr(memory, "_seen", 0)
    monkeypatch.setattr(memory, "_kept", 0)
    monkeypatch.setattr(memory, "gc", SimpleNamespace(freeze=lambda: frozen.append(memory._seen)))
    monkeypatch.setattr(memory, "sys", SimpleNamespace(modules=Counted(counts)))
    for _ in range(11):
        memory.keep_imports()
    assert frozen == [300, 400, 500]


class Counted:
    def __init__(self, counts: Iterator[int]) -> None:
        self.counts = counts

    def __len__(self) -> int:
        return next(self.counts)
