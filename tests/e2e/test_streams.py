"""What comes out of the command line, into terminals, pipes and nothing, and when somebody ends it."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest

from tests import forked
from tests.forked import Forked

ROOT = Path(__file__).parents[2]
TINYTUI = [sys.executable, "-m", "tui.cli"]
HOSTILE = "\x1b]0;owned\x07\x1b[31m\u202eevil\u2066\x9b2J"
"""What no terminal may be told: a title, a colour, bidi controls, an eight-bit sequence."""
SMALL = [
    *("--set=model.n_layer=1", "--set=model.n_head=2", "--set=model.n_embd=16", "--set=model.block_size=8"),
    *("--set=train.batch_size=4", "--set=train.sample_tokens=30", "--steps=10"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hostile text and a run trained on it."""
    place = tmp_path_factory.mktemp("streams")
    (place / "t.txt").write_text(f"{HOSTILE}\n" * 200, encoding="utf-8")
    done = run(place, "train", "t.txt", "--name", "r", *SMALL)
    assert done.returncode == 0, done.stderr
    return place


def environment(place: Path) -> dict[str, str]:
    own = {"TINYTUI_CACHE": str(place / "cache"), "XDG_CONFIG_HOME": str(place), "XDG_DATA_HOME": str(place)}
    return {**os.environ, **own, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}


def run(place: Path, *words: str, shell: str = "", stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command; where there is one, started by a line of sh that says what its streams are."""
    command = ["sh", "-c", shell, "sh", *TINYTUI, *words] if shell else [*TINYTUI, *words]
    with Forked(command, cwd=place, env=environment(place), stdin=PIPE, stdout=PIPE, stderr=PIPE) as program:
        try:
            told = program.communicate(stdin, timeout=120)
        finally:
            program.kill()
    return subprocess.CompletedProcess(command, program.returncode, *told)


def on_terminal(place: Path, *words: str, typed: bytes = b"") -> bytes:
    """All that a terminal is told by the command."""
    pid, fd = forked.on_terminal([*TINYTUI, *words], cwd=place, env=environment(place))
    told, end = bytearray(), time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                told += os.read(fd, 65536)
            except OSError:
                break
            if typed and b"> " in told:
                os.write(fd, typed)
                typed = b""
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, bytes(told)
    return bytes(told)


SAYS_TEXT: dict[str, tuple[list[str], bytes]] = {
    "sample": (["sample", "r", "--prompt", HOSTILE, "--tokens", "40"], b""),
    "chat": (["chat", "r", "--tokens", "40", "--temperature", "2"], b"evil\r\x04"),
    "runs show": (["runs", "show", "r"], b""),
    "corpora show": (["corpora", "show", "t.txt"], b""),
    "tokenizer show": (["tokenizer", "show", "r"], b""),
}


@pytest.mark.parametrize("name", SAYS_TEXT)
def test_no_text_drives_a_terminal(place: Path, name: str) -> None:
    words, typed = SAYS_TEXT[name]
    told = on_terminal(place, *words, typed=typed).decode("utf-8")
    assert "evil" in told or name not in ("sample", "corpora show"), told
    own = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told)  # the program's own colours and cursor
    own = re.sub(r"\x1b\[\?2004[hl]|\x1b\[\?25[hl]", "", own)
    assert "\x1b" not in own and "\x9b" not in own and "\x07" not in own, own
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", own)
    assert "\x1b[31m" not in told


def test_into_a_pipe_or_a_file_a_models_text_goes_as_it_is(place: Path) -> None:
    words = SAYS_TEXT["sample"][0]
    assert HOSTILE.encode() in run(place, *words).stdout
    with (place / "text").open("wb") as file:
        assert Forked([*TINYTUI, *words], cwd=place, env=environment(place), stdout=file).wait(60) == 0
    assert HOSTILE.encode() in (place / "text").read_bytes()


def test_an_answer_goes_into_a_pipe_as_it_is(place: Path) -> None:
    said = run(place, "chat", "r", "--tokens", "60", "--temperature", "3", "--seed", "1", stdin=b"evil\n").stdout
    assert re.search(rb"[\x1b\x07]", said), said


@pytest.mark.parametrize("name", ["runs show", "corpora show", "tokenizer show"])
def test_everything_else_is_clean_in_a_pipe_too(place: Path, name: str) -> None:
    done = run(place, *SAYS_TEXT[name][0])
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode("utf-8")
    assert all(each.isprintable() or each == "\n" for each in text), ascii(text)


@pytest.mark.parametrize(
    "words",
    [
        ["sample", HOSTILE],
        ["train", "t.txt", "--config", f"{HOSTILE}.toml"],
        ["--runs", f"a {HOSTILE}", "runs", "list"],
    ],
    ids=["run", "config", "folder"],
)
def test_no_traceback_drives_a_terminal(place: Path, words: list[str]) -> None:
    (place / f"a {HOSTILE}").write_text("a file, not a folder")
    done = run(place, "--debug", *words)
    said = done.stderr.decode("utf-8")
    assert done.returncode == 1 and "Traceback" in said
    assert all(each.isprintable() or each == "\n" for each in said), ascii(said)


def test_closed_streams_are_silence(place: Path) -> None:
    done = run(place, "train", "t.txt", "--name", "closed", *SMALL, shell='exec "$@" <&- >&- 2>&-')
    assert done.returncode == 0 and not done.stderr, done.stderr
    lines = (place / "runs" / "closed" / "metrics.jsonl").read_bytes().splitlines()
    assert len(lines) > 10 and all(line.startswith(b"{") for line in lines)


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["--help"], "a full disk"),
        (["runs", "list"], "a reader that has gone"),
        (["sample", "r", "--tokens", "400"], "a reader that has gone"),
        (["train", "t.txt", "--name", "full", *SMALL], "a full disk"),
    ],
    ids=["help", "list", "sample", "train"],
)
def test_where_nobody_reads_there_is_no_traceback(place: Path, words: list[str], gone: str) -> None:
    if gone == "a full disk":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        read, out = os.pipe()
        os.close(read)
    with Forked([*TINYTUI, *words], cwd=place, env=environment(place), stdout=out, stderr=PIPE) as program:
        os.close(out)
        said = program.communicate(timeout=120)[1]
    assert said.count(b"\n") <= 1, said
    assert gone != "a full disk" or b"cannot write what is printed: no space left on device" in said, said
    assert not re.search(b"Traceback|bug|Exception", said), said
    assert "full" not in words or b'"finished"' in (place / "runs" / "full" / "status.json").read_bytes()


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["runs", "list"], "ulimit -n 12"),
        (["train", "t.txt", *SMALL], "ulimit -n 12"),
        (["train", "t.txt", *SMALL], "HOME=/dev/null; TMPDIR=/no; export HOME TMPDIR"),
    ],
    ids=["list, few files", "train, few files", "train, no home"],
)
def test_a_poor_machine_is_told_in_one_line(place: Path, words: list[str], without: str) -> None:
    done = run(place, *words, shell=f'{without}; unset TINYTUI_CACHE XDG_DATA_HOME; exec "$@"')
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr.count(b"\n") == done.returncode and b"bug" not in done.stderr, done.stderr
    if "ulimit" in without:
        assert b"files" in done.stderr and b"ulimit -n" in done.stderr


def test_a_background_job_of_a_script_hears_no_interrupt(place: Path) -> None:
    """sh starts `command &` with SIGINT ignored; nohup does so with SIGHUP."""
    shell = 'trap "" INT HUP; "$@" & sleep 0; wait $!'
    command = ["sh", "-c", shell, "sh", *TINYTUI, "train", "t.txt", "--name", "ignoring", *SMALL]
    process = subprocess.Popen(
        command, cwd=place, env=environment(place), stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        until(lambda: (place / "runs" / "ignoring" / "status.json").exists())
        for number in (signal.SIGINT, signal.SIGHUP):
            os.killpg(process.pid, number)
        assert b"ignoring: finished" in process.communicate(timeout=60)[0]
    finally:
        process.kill()


def until(test: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)


@pytest.fixture(scope="module", autouse=True)
def _removed(place: Path) -> object:
    yield
    shutil.rmtree(place, ignore_errors=True)
