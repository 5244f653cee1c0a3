"""What may be said to a trainer, and where: the commands and the socket's place."""

from __future__ import annotations

import contextlib
import hashlib
import os
import reprlib
import stat
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, InstanceOf, ValidationError

from engine.errors import RunError, what_is_wrong

MAX_LINE = 1 << 20
"""Bytes of a request line, and of answers that wait for a client that does not read."""
MAX_PATH = 100
"""Bytes of a socket's path; the kernel takes 108, macOS 104."""
MAX_ALTERNATIVES = 1000
"""Likeliest tokens that may be asked for beside each that is drawn."""
MAX_TOP = 1024
"""Logits that may be asked for beside each token that is drawn, the largest: all of a small vocabulary."""

HIGHEST_RATE = 10.0
"""Of learning rates; what the settings allow too."""

Command = dict[str, Any]


def _settings(tree: dict[str, Any]) -> dict[str, Any]:
    """Values or lists of them; what each setting takes is the sampler's to say."""
    for name, value in tree.items():
        if not all(one is None or isinstance(one, _SCALAR) for one in (value if isinstance(value, list) else [value])):
            raise ValueError(f"must be values or lists of them, not {reprlib.repr(value)} for {reprlib.repr(name)}")
    return tree


_SCALAR = (bool, int, float, str)


class _Command(BaseModel):
    """A command without anything to it."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    do: str


class _Stop(_Command):
    checkpoint: bool = True


class _LearningRate(_Command):
    value: Annotated[float, Field(gt=0, le=HIGHEST_RATE)]


class _Prompt(_Command):
    prompt: InstanceOf[str]
    settings: Annotated[dict[str, Any], AfterValidator(_settings)] = {}
    alternatives: Annotated[int, Field(ge=0, le=MAX_ALTERNATIVES)] = 0
    top: Annotated[int, Field(ge=0, le=MAX_TOP)] = 0
    forced: list[Annotated[int, Field(ge=0, lt=1 << 31)]] = []


_KINDS: dict[str, type[_Command]] = {
    "pause": _Command,
    "resume": _Command,
    "stop": _Stop,
    "checkpoint": _Command,
    "sample": _Command,
    "learning_rate": _LearningRate,
    "prompt": _Prompt,
    "ping": _Command,
}
COMMANDS = tuple(_KINDS)


def check_command(command: object) -> Command:
    """`command` as a trainer can carry it out, of what it says only what is known; RunError in one line otherwise."""
    if not isinstance(command, dict):
        raise RunError(f'a command is an object like {{"do": "pause"}}, not {type(command).__name__}')
    do = command.get("do")
    if not isinstance(do, str) or do not in _KINDS:
        raise RunError(f"no command {reprlib.repr(do)}; there are {', '.join(COMMANDS)}")
    try:
        checked = _KINDS[do].model_validate(command)
    except ValidationError as error:
        raise RunError(f"{do}: {what_is_wrong(error.errors()[0])}") from None
    return checked.model_dump(exclude_unset=True)


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
