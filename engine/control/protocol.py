"""What may be said to a trainer, and where: the commands and the socket's place."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import stat
from pathlib import Path
from typing import Any, Protocol

from engine.errors import RunError

COMMANDS = ("pause", "resume", "stop", "checkpoint", "sample", "learning_rate", "prompt", "ping")

MAX_LINE = 1 << 20
"""Bytes of a request line, and of answers that wait for a client that does not read."""
MAX_PATH = 100
"""Bytes of a socket's path; the kernel takes 108, macOS 104."""

Command = dict[str, Any]


class RunPlace(Protocol):
    """What a run has to be, to be spoken to: engine.runs.layout.RunDir is one."""

    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str: ...

    @property
    def live(self) -> bool: ...


def check_command(command: object) -> Command:
    """`command` when a trainer can carry it out; RunError in one line otherwise."""
    if not isinstance(command, dict):
        raise RunError(f'a command is an object like {{"do": "pause"}}, not {type(command).__name__}')
    do = command.get("do")
    if do not in COMMANDS:
        raise RunError(f"no command {do!r:.60}; there are {', '.join(COMMANDS)}")
    if do == "learning_rate":
        value = command.get("value")
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_positive(value):
            raise RunError(f"learning_rate takes a value that is a positive number, not {value!r:.60}")
        return {**command, "value": float(value)}
    if do in ("prompt", "sample") and not isinstance(command.get("prompt", "" if do == "sample" else None), str):
        raise RunError(f"{do} takes a prompt that is text, not {command.get('prompt')!r:.80}")
    if do == "prompt" and not isinstance(command.get("settings", {}), dict):
        raise RunError('prompt takes settings by name, such as {"temperature": 0.8}')
    return command


def _is_positive(value: float) -> bool:
    try:
        return math.isfinite(value) and value > 0 and math.isfinite(float(value))
    except OverflowError:
        return False


def socket_path(run: Path) -> Path:
    """Where the control socket of the run at `run` lies: short whatever the run's path, in a folder only we can enter.

    `$XDG_RUNTIME_DIR/tinytui-<hash>.sock` where that folder is ours alone, else `/tmp/tinytui-<uid>/<hash>.sock`.
    Raises RunError when somebody else made that folder, or others can enter it.
    """
    key = hashlib.sha256(os.fsencode(os.path.realpath(run))).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime) and _is_private(Path(runtime)):  # noqa: PTH117 - no Path of an odd value
        path = Path(runtime) / f"tinytui-{key}.sock"
        if len(os.fsencode(path)) < MAX_PATH:
            return path
    folder = Path("/tmp") / f"tinytui-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    except OSError as error:
        raise RunError(f"cannot make {folder} for the control socket: {error.strerror}") from None
    if not _is_private(folder):
        raise RunError(f"{folder} is not a folder of yours with mode 0700; remove it, or set XDG_RUNTIME_DIR to one")
    return folder / f"{key}.sock"


def _is_private(folder: Path) -> bool:
    try:
        facts = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077
