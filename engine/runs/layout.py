"""Where things lie in a run directory, and how a run is found, listed, named, created and removed.

A run is a directory that holds `run.json`; everything else in it may be missing. Nothing here reads the logs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import RunError
from engine.files import FORGOTTEN, cannot, open_folder, remove_folder, write_atomic
from engine.machine import environment as this_environment
from engine.runs.lines import pretty_json
from engine.runs.lock import RunLock, is_locked

if TYPE_CHECKING:
    from engine.config import Config

FORMAT = 1
"""Version of the run directory's contract, in `run.json` as `format`; a reader says so when it meets a newer one."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_LEFT = re.compile(r"\.[A-Za-z0-9_][A-Za-z0-9._-]*\.(\d+|[0-9a-f]{8})\.(tmp|removed)")
_ENTRIES = re.compile(
    r"\..*|(run|status|note)\.json|(metrics|samples|events|prompts)\.jsonl|checkpoints|outputs|lock|log\.txt"
)
_CHECKPOINT = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class RunDir:
    """One run directory; `path` is absolute. The files need not exist."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def file(self, name: str) -> str:
        """Where a file of the run lies, as text: of a thousand runs, joining paths takes as long as reading them."""
        return f"{self.path}/{name}"

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def status_json(self) -> Path:
        return self.path / "status.json"

    @property
    def note_json(self) -> Path:
        """What a person wrote about the run."""
        return self.path / "note.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples.jsonl"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """Where a detached trainer's stdout and stderr go."""
        return self.path / "log.txt"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint of `step`: `checkpoints/step-00000500`."""
        return self.checkpoints / f"step-{step:08d}"

    def checkpoint_steps(self) -> list[int]:
        """Steps that have a checkpoint folder, ascending; temporary folders of an unfinished write are not counted."""
        try:
            names = [entry.name for entry in os.scandir(self.checkpoints) if entry.is_dir()]
        except OSError:
            return []
        return sorted(int(match[1]) for name in names if (match := _CHECKPOINT.fullmatch(name)))

    @property
    def exists(self) -> bool:
        return self.run_json.is_file()

    @property
    def live(self) -> bool:
        """True while a trainer on this machine holds the lock."""
        return is_locked(self.lock) is True


def default_runs_dir() -> Path:
    """`$TINYTUI_RUNS`, else `./runs`."""
    return Path(os.environ.get("TINYTUI_RUNS") or "runs").expanduser()


def find_run(name_or_path: str | Path, runs_dir: Path | None = None) -> RunDir:
    """The run of that name in `runs_dir`, or at that path.

    Raises RunError when there is none, with the nearest names.
    """
    runs_dir = default_runs_dir() if runs_dir is None else runs_dir
    text = str(name_or_path)
    if text.strip("./"):
        for path in (runs_dir / text, Path(text).expanduser()):
            run = RunDir(Path(os.path.normpath(path.absolute())))
            if run.exists:
                return run
    names = [run.name for run in list_runs(runs_dir)]
    if not names:
        raise RunError(f"no run {text!r}: there are no runs in {runs_dir}; start one with tinytui train CORPUS")
    here = Path(text).absolute()
    if text and here.exists() and (within := [path.name for path in here.parents if RunDir(path).exists]):
        raise RunError(f"{text} is a part of run {within[0]}; name the run, and a checkpoint of it by its step")
    if close := get_close_matches(Path(text).name, names, n=3, cutoff=0.4):
        raise RunError(f"no run {text!r} in {runs_dir}; did you mean {' or '.join(close)}?")
    more = ", ..." if len(names) > 3 else ""
    raise RunError(f"no run {text!r} in {runs_dir}; there are {', '.join(names[:3])}{more}: see tinytui runs list")


def list_runs(runs_dir: Path | None = None) -> list[RunDir]:
    """Every run in `runs_dir`, the most recently active first; a missing folder has none. Only stats files."""
    found: list[tuple[float, str]] = []
    for path in run_folders(runs_dir):
        stamps = stamps_of(path, "run.json", "status.json")
        if stamps[0] is not None:
            found.append((-max(stamp[-1] for stamp in stamps if stamp is not None), path))
    return [RunDir(Path(path)) for _, path in sorted(found)]


def any_runs(runs_dir: Path | None = None) -> bool:
    """Whether there is a run in `runs_dir`; looks no further than the first. Raises UserError as `list_runs`."""
    return any(stamps_of(path, "run.json") != [None] for path in run_folders(runs_dir))


def run_folders(runs_dir: Path | None = None) -> list[str]:
    """The absolute paths of what may be runs in `runs_dir`, in no order. Raises UserError where it cannot be read."""
    runs_dir = default_runs_dir() if runs_dir is None else runs_dir
    try:
        names = os.listdir(runs_dir)  # noqa: PTH208 - names are all that is wanted
    except FileNotFoundError:
        return []
    except OSError as error:
        raise cannot("list the runs in", runs_dir, error) from None
    folder = runs_dir.absolute()
    return [os.path.join(folder, name) for name in names if not name.startswith(".")]  # noqa: PTH118


Stamp = tuple[int, int, int]
"""Inode, size and time of change in nanoseconds of a file: another where it was replaced or written."""


def stamps_of(folder: str, *names: str) -> list[Stamp | None]:
    """Of these files in `folder`; None for one that is not there."""
    found: list[Stamp | None] = []
    for name in names:
        try:
            facts = os.stat(f"{folder}/{name}")  # noqa: PTH116 - of text
        except OSError:
            found.append(None)
        else:
            found.append((facts.st_ino, facts.st_size, facts.st_mtime_ns))
    return found


def new_name(runs_dir: Path | None, corpus: str, preset: str) -> str:
    """The next free name such as `soap-notes-nano-1`: one above the highest number in use."""
    runs_dir = default_runs_dir() if runs_dir is None else runs_dir
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", f"{Path(corpus).stem}-{preset}").strip("-")[:90] or "run"
    pattern = re.compile(re.escape(stem) + r"-(\d+)")
    try:
        names = os.listdir(runs_dir)  # noqa: PTH208 - names are all that is wanted
    except OSError:
        names = []
    taken = [int(match[1]) for name in names if (match := pattern.fullmatch(name))]
    return f"{stem}-{max(taken, default=0) + 1}"


def check_name(name: str) -> str:
    """`name`, or RunError when it cannot be a run's name."""
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{name!r} cannot name a run; use letters, digits, '.', '_' and '-', starting with a letter, digit or '_'"
        )
    return name


def create_run(
    runs_dir: Path | None,
    name: str,
    config: Config,
    *,
    corpus: Mapping[str, Any],
    preset: str = "",
    template: Mapping[str, Any] | None = None,
    tokenizer: Mapping[str, Any] | None = None,
    parent: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    fill: Callable[[RunDir], None] | None = None,
) -> RunDir:
    """Makes the run directory with its `run.json`, both at once: no other process ever sees it without.

    `fill` puts what else it begins with (a fork's checkpoint) into the directory before it has its name.

    `corpus` holds at least name and sha256; `parent` is {run, step} of a fork; `environment` defaults to
    `environment()`. Facts known only later are added with `RunWriter.describe`.
    Raises RunError for a name that is taken or not allowed, UserError when the folder cannot be written.
    """
    check_name(name)
    runs_dir = default_runs_dir() if runs_dir is None else runs_dir
    run = RunDir((runs_dir / name).absolute())
    info = {
        "format": FORMAT,
        "name": name,
        "created": round(time.time(), 3),
        "preset": preset,
        "config": config.model_dump(mode="json"),
        "seed": config.train.seed,
        "corpus": dict(corpus),
        "tokenizer": None if tokenizer is None else dict(tokenizer),
        "template": None if template is None else dict(template),
        "parent": None if parent is None else dict(parent),
        "environment": dict(this_environment() if environment is None else environment),
    }
    if runs_dir.exists() and not runs_dir.is_dir():
        raise RunError(f"{runs_dir} is a file, and runs lie in a folder; name another one with --runs")
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        _sweep(runs_dir)
        if run.path.exists():
            raise FileExistsError
        with open_folder(run.path) as made:
            write_atomic(made / "run.json", pretty_json(info))
            if fill is not None:
                fill(RunDir(made.absolute()))
    except FileExistsError:
        raise _taken(run) from None
    except OSError as error:
        if run.path.exists():
            raise _taken(run) from None
        raise cannot("make the run", run.path, error) from None
    return run


def _taken(run: RunDir) -> RunError:
    if not run.exists:
        return RunError(f"{run.path} exists and is not a run; choose another name")
    return RunError(f"run {run.name} exists; choose another name, or go on with tinytui train --resume {run.name}")


def remove_run(run: RunDir) -> None:
    """Deletes the run and all in it.

    Raises LockedError while it is being trained, RunError for a folder that is not a run; UserError when files
    cannot be deleted. The run vanishes from listings first, so a failure midway never leaves half a run listed.
    """
    if run.path.is_symlink() or not run.exists:
        raise RunError(f"{run.path} is not a run; nothing was removed")
    with RunLock(run.path):
        try:
            _sweep(run.path.parent)
            remove_folder(run.path)
        except OSError as error:
            raise cannot("remove", run.path, error) from None


def _sweep(runs_dir: Path) -> None:
    """Removes runs that were being made or removed when their process was killed, long ago; only what is ours."""
    for entry in runs_dir.glob(".*"):
        with contextlib.suppress(OSError):
            if not _LEFT.fullmatch(entry.name) or entry.is_symlink() or not entry.is_dir():
                continue
            if time.time() - entry.stat().st_mtime < FORGOTTEN or is_locked(entry / "lock"):
                continue
            if all(_ENTRIES.fullmatch(inside.name) for inside in entry.iterdir()):
                shutil.rmtree(entry, ignore_errors=True)
