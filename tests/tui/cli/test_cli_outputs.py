"""Every path that a command writes to, and everything that may stand there: only regular files are ever replaced."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_for_tests import Trained, invoke, one_complaint

FILES: dict[str, Callable[[Path, Trained], tuple[object, ...]]] = {
    "sample": lambda path, run: ("sample", "first", "--prompt", "a", "--tokens", 2, "--seed", 1, "--out", path),
    "figures": lambda path, run: ("runs", "export", "first", path),
    "tokenizer": lambda path, run: ("tokenizer", "train", run.text, "--kind", "char", "--out", path),
}
FOLDERS: dict[str, tuple[str, ...]] = {"model": ("--hf",), "tensorboard": ("--tensorboard",), "adapter": ("--adapter",)}

on_files = pytest.mark.parametrize("command", FILES)


def write(command: str, path: Path, trained: Trained) -> str | None:
    """Runs the command; what it complains about, or None when all went well."""
    result = invoke(*FILES[command](path, trained))
    return one_complaint(result) if result.exit_code else None


def is_whole(command: str, data: bytes) -> bool:
    return {
        "sample": 1 < len(data) < 100 and data.endswith(b"\n"),
        "figures": data.startswith(b"step,") and data.count(b"\n") > 20,
        "tokenizer": data.startswith(b"{") and b'"char"' in data,
    }[command]


@on_files
def test_a_regular_file_is_replaced_whole_and_keeps_its_mode(trained: Trained, tmp_path: Path, command: str) -> None:
    path = tmp_path / "out"
    assert write(command, path, trained) is None
    assert is_whole(command, path.read_bytes())
    path.write_bytes(b"x" * 100_000)
    path.chmod(0o640)
    before = path.stat().st_ino
    assert write(command, path, trained) is None
    assert is_whole(command, path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and path.stat().st_ino != before
    assert not list(tmp_path.glob(".*"))


@on_files
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_written_through(trained: Trained, tmp_path: Path, command: str, there: bool) -> None:
    target, link, second = tmp_path / "deep" / "target", tmp_path / "link", tmp_path / "second"
    target.parent.mkdir()
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    second.symlink_to("link")
    assert write(command, second, trained) is None
    assert second.is_symlink() and link.is_symlink() and is_whole(command, target.read_bytes())


@on_files
def test_a_fifo_is_written_into(trained: Trained, tmp_path: Path, command: str) -> None:
    path, got = tmp_path / "fifo", list[bytes]()
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    assert write(command, path, trained) is None
    reader.join(60)
    assert is_whole(command, got[0]) and stat.S_ISFIFO(path.stat().st_mode)


@on_files
def test_a_device_stays_a_device(trained: Trained, tmp_path: Path, command: str) -> None:
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        path.write_bytes(b"x")
    except OSError:
        path.unlink(missing_ok=True)
        path = Path(os.devnull)  # who may not make one may not replace one either
    assert write(command, path, trained) is None
    assert stat.S_ISCHR(path.stat().st_mode)
    if os.path.exists("/dev/full"):  # noqa: PTH110
        said = write(command, Path("/dev/full"), trained)
        assert said is not None and "no space left on device" in said
        assert stat.S_ISCHR(os.stat("/dev/full").st_mode)  # noqa: PTH116


@on_files
@pytest.mark.parametrize("kind", ["folder", "socket", "circle", "link to a folder", "in no folder", "under a file"])
def test_the_rest_is_refused_in_one_line(trained: Trained, tmp_path: Path, command: str, kind: str) -> None:
    path = tmp_path / "there"
    server = socket.socket(socket.AF_UNIX)
    if kind == "folder":
        path.mkdir()
    elif kind == "socket":
        server.bind(os.path.relpath(path))
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "link to a folder":
        path.symlink_to(tmp_path / "runs")
    elif kind == "in no folder":
        path = tmp_path / "none" / "out"
    elif kind == "under a file":
        path.write_bytes(b"")
        path = path / "out"
    try:
        before = sorted(tmp_path.rglob("*"))
        said = write(command, path, trained)
        if command == "tokenizer" and kind == "in no folder":
            assert said is None and is_whole(command, path.read_bytes())
            return
        assert said is not None and str(path.parent) in said and ";" in said, said
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        server.close()


@pytest.mark.parametrize("what", FOLDERS)
@pytest.mark.parametrize("kind", ["holds something", "file", "fifo", "device", "socket", "link to nothing"])
def test_a_folder_is_not_overwritten_unasked(trained: Trained, tmp_path: Path, what: str, kind: str) -> None:
    path = tmp_path / "there"
    server = socket.socket(socket.AF_UNIX)
    if kind == "holds something":
        path.mkdir()
        (path / "config.json").write_text("mine")
    elif kind == "file":
        path.write_text("mine")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path(os.devnull)
    elif kind == "socket":
        server.bind(os.path.relpath(path))
    else:
        path.symlink_to(tmp_path / "nothing")
    try:
        before = {each: each.lstat().st_ino for each in tmp_path.rglob("*")}
        result = invoke("runs", "export", "first", path, *FOLDERS[what])
        said = one_complaint(result)
        assert str(path) in said and ("--force" in said if kind == "holds something" else "no folder" in said)
        assert {each: each.lstat().st_ino for each in tmp_path.rglob("*")} == before
    finally:
        server.close()


@pytest.mark.parametrize("what", ["model", "tensorboard"])
@pytest.mark.parametrize("kind", ["new", "empty", "link", "forced"])
def test_a_folder_is_filled(trained: Trained, tmp_path: Path, what: str, kind: str) -> None:
    if what == "tensorboard":
        pytest.importorskip("tensorboard")
    path, target = tmp_path / "out", tmp_path / "target"
    if kind == "link":
        target.mkdir()
        path.symlink_to(target)
    elif kind != "new":
        path.mkdir()
    if kind == "forced":
        (path / "mine.txt").write_text("mine")
        (path / "config.json").symlink_to(tmp_path / "linked.json")
    result = invoke("runs", "export", "first", path, *FOLDERS[what], *(["--force"] if kind == "forced" else []))
    assert result.exit_code == 0, result.output
    names = {each.name for each in path.iterdir()}
    assert not [name for name in names if name.startswith(".")]
    wanted = ("config.json", "model.safetensors") if what == "model" else ("tfevents",)
    assert all(any(part in name for name in names) for part in wanted)
    assert path.is_symlink() == (kind == "link")
    if kind == "forced":
        assert (path / "mine.txt").read_text() == "mine"
        assert (path / "config.json").is_symlink()
        assert what != "model" or (tmp_path / "linked.json").read_text().startswith("{")


def test_a_device_among_the_files_of_a_forced_folder_stays(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    os.mkfifo(path / "config.json")
    said = one_complaint(invoke("runs", "export", "first", path, "--hf", "--force"))
    assert "config.json: it is no regular file" in said
    assert [each.name for each in path.iterdir()] == ["config.json"]
