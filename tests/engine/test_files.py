"""Files are whole or as they were; what is no file is written into; what killed writers left is swept."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import files
from engine.errors import CheckpointError, UserError
from engine.files import (
    beside,
    cannot,
    open_atomic,
    open_folder,
    open_output,
    open_output_folder,
    open_regular,
    read_regular,
    read_small,
    sweep,
    write_atomic,
    write_output,
)
from tests.faults.shim import Shim, failing


@pytest.mark.parametrize("write", [write_atomic, write_output])
def test_a_call_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with Shim(tmp_path).in_force() as shim:
        write(path, b"old")
    steps = [(number, name) for number, (name, _) in enumerate(shim.calls) if name != "unlink"]
    assert {"open", "write", "fsync", "replace"} <= {name for _, name in steps}
    replaced = next(number for number, name in steps if name == "replace")
    for number, name in steps:
        with (
            Shim(tmp_path, failing(range(number, number + 1), errno.ENOSPC)).in_force(),
            pytest.raises(UserError, match="no space left on device; free some space"),
        ):
            write(path, b"new")
        assert path.read_bytes() == (b"old" if number <= replaced else b"new"), name  # not yet synced, but there
        assert [each.name for each in tmp_path.iterdir()] == ["file"]
        path.write_bytes(b"old")


def test_an_error_inside_leaves_the_old_file_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for opened in (open_atomic, open_output):
        with pytest.raises(ZeroDivisionError), opened(path) as file:
            file.write(b"half")
            raise ZeroDivisionError
        assert path.read_bytes() == b"old" and [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    for folder in (tmp_path / "new", tmp_path / "old"):
        if folder.name == "old":
            folder.mkdir()
        with pytest.raises(ZeroDivisionError), open_output_folder(folder) as place:
            (place / "file").write_bytes(b"half")
            raise ZeroDivisionError
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "old"]


def test_a_whole_folder_or_none_whatever_fails(tmp_path: Path) -> None:
    target = tmp_path / "made"

    def make() -> None:
        with open_folder(target) as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / "file").write_bytes(b"whole")

    with Shim(tmp_path).in_force() as shim:
        make()
    assert [name for name, _ in shim.calls].count("fsync") >= 4, "file, both folders, and where it got its name"
    for number in range(len(shim.calls)):
        shutil.rmtree(target, ignore_errors=True)
        shim = Shim(tmp_path, failing(range(number, number + 1), errno.EIO))
        try:
            with shim.in_force():
                make()
        except OSError as error:
            assert error.errno == errno.EIO
            assert list(tmp_path.iterdir()) == [], shim.calls[number]
        else:
            assert (target / "inner" / "file").read_bytes() == b"whole", shim.calls[number]


def test_a_folder_that_is_there_by_then_stays(tmp_path: Path) -> None:
    for there in ("folder", "file"):
        target = tmp_path / there
        with pytest.raises(FileExistsError), open_folder(target) as folder:
            (folder / "mine").touch()
            target.touch() if there == "file" else (target / "theirs").mkdir(parents=True)
    assert {path.name for path in tmp_path.rglob("*")} == {"folder", "theirs", "file"}


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for name, what in {"pipe": "pipe", "folder": "folder", "zero": "device", "socket": "socket"}.items():
            with pytest.raises(OSError, match=f"it is a {what}"):
                open_regular(tmp_path / name)
            said = f"cannot read {tmp_path / name}: it is a {what}; choose the name of a file"
            with pytest.raises(CheckpointError, match=f"^{said}$"):
                read_small(tmp_path / name, 10, CheckpointError)
    (tmp_path / "file").write_bytes(b"12345")
    assert read_small(tmp_path / "file", 5) == b"12345"
    with pytest.raises(UserError, match="is larger than"):
        read_small(tmp_path / "file", 4)
    with pytest.raises(UserError, match="it is not there; check its name"):
        read_small(tmp_path / "none", 4)


def test_a_small_file_is_read_whole_however_its_bytes_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = tmp_path / "file", os.read
    file.write_bytes(b"12345678")
    assert [read_regular(file, most) for most in (1, 8, 9)] == [b"1", b"12345678", b"12345678"]
    monkeypatch.setattr(files.os, "read", lambda fd, most: read(fd, min(most, 3)))
    assert [read_regular(file, most) for most in (1, 7, 8, 9)] == [b"1", b"1234567", b"12345678", b"12345678"]
    file.write_bytes(b"")
    assert read_regular(file, 9) == b""
    if (told := Path("/proc/self/status")).exists():  # a size of 0, whatever it holds
        assert len(read_regular(told, 100)) == 100


def test_no_other_room_has_its_own_way_to_write_a_whole_file() -> None:
    """Appended logs and shards sync themselves, a checkpoint's files are summed as they are written; nothing else."""
    own = {"fsync", "mkstemp", "mkdtemp", "NamedTemporaryFile", "fdatasync"}
    allowed = {"files.py", "runs/log.py", "tokenizers/shards.py", "training/saving.py"}
    engine = Path(files.__file__).parent
    for path in engine.rglob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Attribute)}
        assert not names & own or str(path.relative_to(engine)) in allowed, path


def test_a_name_of_any_length_that_may_be_may_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write_atomic(path, b"1")
    write_output(path, b"2")
    assert path.read_bytes() == b"2"
    with pytest.raises(UserError, match="file name too long; choose a shorter name"):
        write_output(tmp_path / ("x" * 256), b"")


def test_the_words_are_one_line_of_the_kind_asked_for() -> None:
    error = cannot("write", "x", OSError(errno.EDQUOT, "Disk quota exceeded"), CheckpointError)
    assert type(error) is CheckpointError
    assert str(error) == "cannot write x: disk quota exceeded; free some of your quota"


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/stderr", "/dev/fd/1", "/proc/self/fd/2"])
def test_the_own_streams_are_written_into_where_they_stand(tmp_path: Path, name: str) -> None:
    """Into a pipe; and behind what a file holds already, which opening it anew would cut off."""
    code = f"from pathlib import Path; from engine.files import write_output; write_output(Path({name!r}), b'text')"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (piped.stderr if name.endswith(("err", "2")) else piped.stdout) == b"text"
    path = tmp_path / "log"
    path.write_bytes(b"before ")
    with path.open("ab") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, stderr=log, check=True)
    assert path.read_bytes() == b"before text"


def test_sweeping_takes_what_is_old_enough_and_nothing_else(tmp_path: Path) -> None:
    old, new, folder = beside(tmp_path / "a"), beside(tmp_path / "a"), beside(tmp_path / "b")
    kept = [tmp_path / "a", tmp_path / ".hidden", tmp_path / "a.tmp"]
    for path in (old, new, *kept):
        path.write_bytes(b"")
    (folder / "inside").mkdir(parents=True)
    for path in (old, folder):
        os.utime(path, (0, 0))
    sweep(tmp_path, older_than=60)
    assert sorted(tmp_path.iterdir()) == sorted([new, *kept])
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
