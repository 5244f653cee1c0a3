"""The state machine of signals: what each does while nothing, or something, is at stake; in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BEGIN = """
import os, signal, sys, threading, time
import tui.terminal.signals as signals
from tui.terminal.signals import PROCESS, Ending
def send(*names):
    for name in names:
        os.kill(os.getpid(), getattr(signal, "SIG" + name))
PROCESS.install()
"""


def program(text: str, *before: int) -> subprocess.CompletedProcess[str]:
    """BEGIN and `text`, with the signals `before` ignored by the parent."""

    def ignore() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    return subprocess.run(
        [sys.executable, "-c", BEGIN + text],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=ignore,
    )


@pytest.mark.parametrize("name", ["TERM", "QUIT", "HUP", "INT"])
def test_a_plain_command_ends_as_any_program(name: str) -> None:
    done = program(f"PROCESS.plain()\nsend({name!r})\ntime.sleep(60)")
    if name == "INT":
        assert "KeyboardInterrupt" in done.stderr  # for `main` to make a line of
    else:
        assert done.returncode == -getattr(signal, f"SIG{name}") and not done.stderr


def test_a_hang_up_before_the_command_is_known_waits_for_it() -> None:
    done = program("send('HUP')\nassert PROCESS.hung_up\nprint('on', flush=True)\nPROCESS.plain()\nprint('never')")
    assert (done.returncode, done.stdout) == (-signal.SIGHUP, "on\n")
    done = program("send('HUP')\nwith PROCESS.watching(): print(PROCESS.ending)")
    assert (done.returncode, done.stdout) == (0, "Ending.HANGUP\n")


def test_an_interrupt_in_an_import_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('never')\n")
    text = f"sys.path.insert(0, {str(tmp_path)!r})\ntry:\n    import half\nexcept BaseException: print('seen')"
    done = program(text)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "tinytui: cancelled\n")


def test_a_second_interrupt_ends_the_tidying_up() -> None:
    done = program(
        "try:\n    send('INT')\nfinally:\n    print('tidying', flush=True)\n    send('INT')\n    print('never')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "tidying\n", "tinytui: cancelled\n")


@pytest.mark.parametrize(
    ("names", "ending", "code"),
    [
        ("HUP", "HANGUP", 0),
        ("TERM", "TERMINATE", 143),
        ("INT", "INTERRUPT", 130),
        ("QUIT", "QUIT", 131),
        ("HUP TERM", "TERMINATE", 143),
        ("TERM HUP HUP INT QUIT", "TERMINATE", 143),
        ("HUP HUP INT TERM", "INTERRUPT", 130),
    ],
)
def test_while_something_is_at_stake_signals_are_noted_and_told(names: str, ending: str, code: int) -> None:
    done = program(
        f"""
told = threading.Semaphore(0)
with PROCESS.watching(lambda seen: told.release()):
    for name in {names.split()!r}:
        send(name)
        assert told.acquire(timeout=60)
    print(PROCESS.ending, PROCESS.exit_code, PROCESS.stopping, PROCESS.hurried)
"""
    )
    asked = len([name for name in names.split() if name != "HUP"])
    assert done.stdout == f"Ending.{ending} {code} {asked > 0} {asked > 1}\n", done.stderr


@pytest.mark.parametrize(
    ("asked", "begun", "hurry", "ends"),
    [
        (1, False, 30.0, False),
        (2, False, 30.0, True),
        (2, True, 30.0, False),
        (2, True, 0.0, True),
        (1, True, 0.0, False),
    ],
)
def test_who_asks_twice_waits_only_for_what_is_worth_it(asked: int, begun: bool, hurry: float, ends: bool) -> None:
    done = program(
        f"""
signals.HURRY = {hurry}
class Host:
    begun = {begun}
    def give_up(self, why): print(why, flush=True)
with PROCESS.watching():
    send(*["TERM"] * {asked})
    time.sleep(0.01)
    signals.leave_if_hurried(Host(), PROCESS)
"""
    )
    said = "ended by a second signal, without a checkpoint\n"
    assert (done.returncode, done.stdout) == ((143, said) if ends else (0, "")), done.stderr


def test_what_the_parent_ignored_stays_ignored() -> None:
    text = "PROCESS.plain()\nsend('INT', 'HUP')\nwith PROCESS.watching(): send('INT', 'HUP'); print(PROCESS.ending)"
    done = program(text, signal.SIGINT, signal.SIGHUP)
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr


def test_a_flood_of_signals_holds_nothing_up() -> None:
    """Handlers run in the middle of everything: thousands, while locks, queues and threads are being used."""
    done = program(
        """
import queue
def flood():
    for number in range(3000):
        os.kill(os.getpid(), (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)[number % 4])
told = 0
def tell(seen):
    global told
    told += 1
with PROCESS.watching(tell):
    flooding = threading.Thread(target=flood)
    flooding.start()
    box = queue.Queue()
    while flooding.is_alive():
        threading.Thread(target=box.put, args=(1,)).start()
        box.get()
    flooding.join()
    print(PROCESS.stopping, PROCESS.hung_up, len(os.listdir("/proc/self/fd")) < 20)
"""
    )
    assert done.stdout == "True True True\n", done.stderr
