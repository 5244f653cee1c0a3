"""Programs begun by `fork`: a Python of its own, without the seconds in which PyTorch and Textual are loaded.

    process = Forked([sys.executable, "-m", "tui.cli", "runs", "list"], cwd=place, env=env, stdout=subprocess.PIPE)
    pid, fd = on_terminal([sys.executable, "-m", "tui.cli"], env=env)       # as pty.fork() and exec

When all tests are collected the test process has loaded what programs need; it forks a server there, and that makes
each of them: the libraries are there, what is ours is loaded anew. A program has its own process, arguments, working
folder, environment, streams, signals and terminal, and is a child of the test that began it. How one starts that loads
everything itself is for tests that begin it by `subprocess`.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import gc
import importlib
import io
import json
import os
import pty
import random
import runpy
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import types
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fcntl import F_DUPFD, fcntl, ioctl
from pathlib import Path
from typing import Any

from engine import process

ROOT = Path(__file__).parents[1]
LIBRARIES = (sys.prefix, sys.base_prefix)
LOADED = ("torch", "textual.app", "typer", "engine.training.host", "engine.training.start", "engine.training.trainer")
"""What most programs load."""

OWN = ("tui", "tests", "bench", "conftest")
"""What each program loads itself, of all that is no library."""
READ_AT_EXEC = ("LD_", "MALLOC_", "GLIBC_")
"""How the names begin of what a program is told before its first line: such a one is not forked."""
SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER: orphans below become children of this process."""

POPEN, PYTHON = subprocess.Popen, sys.executable
"""As they are before a test puts something in their place."""

_server: socket.socket | None = None
_asking = threading.Lock()


def serve() -> None:
    """Fork the server of this process, which ends with it; what the engine begins is forked too."""
    global _server
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        try:
            ours.close()
            _serve(theirs)
        finally:
            os._exit(1)
    theirs.close()
    _server = ours
    process.subprocess = _Subprocess("subprocess")  # type: ignore[assignment]


class Forked(subprocess.Popen[Any]):
    """As `subprocess.Popen` of a Python with `-m`, `-c` or a file; anything else it leaves to that.

    So it does with a program that is told something else than this one where only the loader reads it.
    """

    def _execute_child(self, args: Any, *given: Any) -> None:
        preexec, cwd, env, shell, session = given[1], given[4], given[5], given[8], given[-2]
        if _server is None or shell or preexec or args[0] != PYTHON or _told(env) != _told(None):
            super()._execute_child(args, *given)  # type: ignore[misc]
            return
        streams = [number if each == -1 else each for number, each in enumerate(given[9:15:2])]
        streams[1:] = [number if each == -1 else each for number, each in ((1, given[12]), (2, given[14]))]
        try:
            self.pid = _ask(args[1:], cwd, env, streams, session=session)
            self._child_created = True
        finally:
            self._close_pipe_fds(*given[9:15])  # type: ignore[attr-defined]


def _told(env: Mapping[Any, Any] | None) -> dict[str, str]:
    given = os.environ if env is None else {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}
    return {name: value for name, value in given.items() if name.startswith(READ_AT_EXEC)}


class _Subprocess(types.ModuleType):
    """`subprocess`, with a Popen that forks."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(subprocess, name)
        return Forked if found is POPEN else found


def on_terminal(
    command: Sequence[str],
    *,
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str],
    size: bytes = struct.pack("HHHH", 24, 80, 0, 0),
) -> tuple[int, int]:
    """The program in a pseudo-terminal of its own, with such a window: its pid and our end."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, size)
    try:
        return _ask(command[1:], cwd, env, [theirs] * 3, session=True, terminal=True), ours
    finally:
        os.close(theirs)


def _ask(
    words: Sequence[Any],
    cwd: Any,
    env: Mapping[str, str] | None,
    streams: list[int],
    session: bool,
    terminal: bool = False,
) -> int:
    """The pid of the program, a child of this process."""
    job = {
        "words": [os.fsdecode(each) for each in words],
        "cwd": os.fsdecode(cwd or Path.cwd()),
        "env": dict(os.environ if env is None else env),
        "session": session,
        "terminal": terminal,
    }
    assert _server is not None
    with _asking:
        _adopt(True)
        try:
            socket.send_fds(_server, [json.dumps(job).encode()], streams)
            return int(_server.recv(100))
        finally:
            _adopt(False)


def _adopt(orphans: bool) -> None:
    assert ctypes.CDLL(None).prctl(SUBREAPER, int(orphans), 0, 0, 0) == 0


# -- the server --------------------------------------------------------------------------------------------------------


def _serve(asked: socket.socket) -> None:
    os.set_inheritable(asked.fileno(), False)
    atexit._clear()
    faulthandler.disable()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    keep = asked.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 16)
    for name in [*sys.modules]:
        if name.partition(".")[0] in OWN or name.startswith("test_") or name.endswith("_for_tests"):
            del sys.modules[name]
    loaded = False
    while True:
        told, streams, _, _ = socket.recv_fds(asked, 1 << 20, 3)
        if not told:
            os._exit(0)
        for name in () if loaded else LOADED:
            with suppress(ImportError):
                importlib.import_module(name)
        loaded = True
        read, write = os.pipe()
        between = os.fork()
        if between == 0:
            if (pid := os.fork()) == 0:
                asked.close()
                os.close(read)
                os.close(write)
                _become(json.loads(told), streams)
            os.write(write, str(pid).encode())
            os._exit(0)
        os.waitpid(between, 0)  # now what it began is the asker's
        asked.send(os.read(read, 100))
        for number in (read, write, *streams):
            os.close(number)


def _become(job: dict[str, Any], streams: list[int]) -> None:
    """Be the program, as Python begins and ends it."""
    code = 1
    try:
        _begin(job, streams)
        try:
            _run(job["words"])
            code = 0
        except SystemExit as ending:
            code = _code(ending.code)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
            if isinstance(error, KeyboardInterrupt):
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stderr.flush()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _code(given: object) -> int:
    if given is None or isinstance(given, int):
        return int(given or 0) & 0xFF
    print(given, file=sys.stderr)  # noqa: T201
    return 1


def _begin(job: dict[str, Any], streams: list[int]) -> None:
    if job["session"]:
        os.setsid()
    above = [fcntl(each, F_DUPFD, 10) for each in streams]
    for number, each in enumerate(above):
        os.dup2(each, number)
    os.closerange(3, 1 << 16)
    if job["terminal"]:
        ioctl(0, termios.TIOCSCTTY, 0)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) and number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.stdin, sys.stdout = _stream(0), _stream(1, line_buffering=os.isatty(1))
    sys.stderr = _stream(2, line_buffering=True, errors="backslashreplace")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.excepthook, sys.unraisablehook = sys.__excepthook__, sys.__unraisablehook__
    threading.excepthook = threading.__excepthook__
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    warnings.showwarning = warnings._showwarning_orig  # type: ignore[attr-defined]
    sys.meta_path[:] = [each for each in sys.meta_path if "pytest" not in type(each).__module__]
    random.seed()
    gc.set_threshold(700, 10, 10)


def _stream(number: int, **more: Any) -> io.TextIOWrapper:
    raw = io.FileIO(number, "w" if number else "r", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw) if number else io.BufferedReader(raw), encoding="utf-8", **more)


def _run(words: list[str]) -> None:
    """What `python *words` runs, after it has found its way about."""
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    way, *arguments = words
    first = {"-m": str(Path.cwd()), "-c": ""}.get(way, str(Path(way).parent))
    sys.path[:] = [first, *filter(None, given), *(each for each in sys.path if each.startswith(LIBRARIES)), str(ROOT)]
    importlib.invalidate_caches()
    if way == "-m":
        sys.argv = ["-m", *arguments[1:]]
        runpy._run_module_as_main(arguments[0])  # type: ignore[attr-defined]
    elif way == "-c":
        sys.argv = ["-c", *arguments[1:]]
        exec(compile(arguments[0], "<string>", "exec"), vars(main))
    else:
        sys.argv = words
        vars(main)["__file__"] = way
        exec(compile(Path(way).read_bytes(), way, "exec"), vars(main))
