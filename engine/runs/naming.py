"""What a person calls a run and says of it: another name, a note."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from engine.errors import LockedError, RunError, UserError
from engine.files import cannot, sync_folder, write_atomic
from engine.runs.layout import RunDir, check_name, list_runs
from engine.runs.lines import pretty_json
from engine.runs.lock import RunLock
from engine.runs.schema import MAX_NAME
from engine.runs.status import ALIVE, read_info, read_status


def write_note(run: RunDir, text: str) -> None:
    """Notes `text` of a run, in place of what was noted before; nothing but blanks takes the note away.

    Also while the run is trained: its trainer has no part in it. Raises RunError for a note that is too long.
    """
    text = text.strip()
    if not run.exists:
        raise RunError(f"{run.path} is not a run; see tinytui runs list")
    if len(text) > MAX_NAME:
        raise RunError(f"a note has at most {MAX_NAME:,} characters, not {len(text):,}; give a shorter one")
    try:
        if text:
            write_atomic(run.note_json, pretty_json({"text": text, "time": round(time.time(), 3)}))
        else:
            run.note_json.unlink(missing_ok=True)
    except OSError as error:
        raise cannot("write", run.note_json, error) from None


def rename_run(run: RunDir, name: str) -> RunDir:
    """Gives a run another name, and tells it to the runs beside it that were forked or fine-tuned from it.

    All that can stand in the way is found first, under the locks of the run and of those runs: a name that is taken,
    a trainer at work, a description that cannot be read. Then the children are told, then the folder is renamed. A
    kill in between leaves the run under its old name, and the same command does the rest.
    Raises RunError, LockedError, or UserError when something cannot be written; then all names are as they were.
    """
    check_name(name)
    target = RunDir(run.path.with_name(name))
    if run.path.is_symlink() or not run.exists:
        raise RunError(f"{run.path} is not a run; nothing was renamed")
    if target.path == run.path:
        return run
    with contextlib.ExitStack() as locks:
        info = _held(run, locks, run)
        children = [(child, _held(child, locks, run)) for child in _children(run)]
        if target.path.is_symlink() or target.path.exists():
            raise RunError(f"{target.path} exists; choose another name")
        told: list[tuple[Path, dict[str, Any]]] = []
        try:
            for child, tree in children:
                told.append((child.run_json, tree))
                parent = {**tree["parent"], "run": name}
                if parent.get("path"):
                    parent["path"] = str(target.path)
                _tell(child.run_json, {**tree, "parent": parent})
            told.append((run.run_json, info))
            _tell(run.run_json, {**info, "name": name})
            run.path.rename(target.path)
        except (OSError, UserError) as error:
            for path, tree in told:
                with contextlib.suppress(UserError, OSError):
                    _tell(path, tree)
            if isinstance(error, UserError):
                raise
            raise cannot("rename", run.path, error) from None
        with contextlib.suppress(OSError):
            sync_folder(target.path.parent)
    return target


def _held(run: RunDir, locks: contextlib.ExitStack, wanted: RunDir) -> dict[str, Any]:
    """`run.json` of a run that nobody trains until `locks` are given back."""
    why = "" if run == wanted else f"{wanted.name} is its parent and cannot be renamed: "
    if read_status(run)["state"] in ALIVE:
        raise LockedError(f"{why}run {run.name} is being trained; stop it first: tinytui runs stop {run.name}")
    locks.enter_context(RunLock(run.path))
    return read_info(run)


def _children(run: RunDir) -> list[RunDir]:
    """The runs beside `run` whose parent it is. One whose description cannot be read has none."""
    found = []
    for other in list_runs(run.path.parent):
        try:
            parent = read_info(other).get("parent") or {}
        except RunError:
            continue
        if parent.get("run") == run.name and not _another(run, parent.get("path")):
            found.append(other)
    return found


def _another(run: RunDir, path: str | None) -> bool:
    """Whether a parent's path is that of a run elsewhere; one where nothing lies was written before `run` was moved."""
    try:
        return bool(path) and RunDir(Path(str(path))).exists and not Path(str(path)).samefile(run.path)
    except (OSError, ValueError):
        return False


def _tell(path: Path, tree: dict[str, Any]) -> None:
    """Writes a `run.json` that counts as old as it was: a name is no activity."""
    before = path.stat()
    write_atomic(path, pretty_json(tree))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
