"""Another name and a note: whole or not at all, told to the children, never under a trainer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import LockedError, RunError, UserError
from engine.runs import naming
from engine.runs.layout import RunDir, find_run, list_runs, remove_run
from engine.runs.lock import RunLock
from engine.runs.naming import rename_run, write_note
from engine.runs.schema import MAX_NAME
from engine.runs.status import overview, read_info, read_note
from engine.runs.summary import summary
from engine.runs.writer import RunWriter

MakeRun = Callable[..., RunDir]


def child_of(make_run: MakeRun, parent: RunDir, name: str, **more: Any) -> RunDir:
    return make_run(name, parent={"run": parent.name, "path": str(parent.path), "step": 5, "how": "fork", **more})


def names(run: RunDir) -> dict[str, Any]:
    """All names there are in the folder: of the runs, by themselves and by their children."""
    return {
        each.name: (info["name"], info["parent"] and (info["parent"]["run"], Path(info["parent"]["path"]).name))
        for each in list_runs(run.path.parent)
        if (info := read_info(each))
    }


def test_a_run_is_renamed_with_all_it_has_and_its_children_are_told(run: RunDir, make_run: MakeRun) -> None:
    with RunWriter(run) as writer:
        writer.metric(step=1, loss=2.0)
        writer.status(state="finished", step=1)
    write_note(run, "the best one")
    child, other = child_of(make_run, run, "child"), make_run("other")
    grandchild = child_of(make_run, child, "grandchild")
    before = [path.run_json.stat().st_mtime_ns for path in (run, child, other, grandchild)]
    order = [each.name for each in list_runs(run.path.parent)]
    renamed = rename_run(run, "better")
    assert not run.path.exists() and renamed.name == "better"
    assert names(renamed) == {
        "better": ("better", None),
        "child": ("child", ("better", "better")),
        "other": ("other", None),
        "grandchild": ("grandchild", ("child", "child")),
    }
    assert read_info(child)["parent"]["step"] == 5
    assert [path.run_json.stat().st_mtime_ns for path in (renamed, child, other, grandchild)] == before
    assert [each.name.replace("better", run.name) for each in list_runs(run.path.parent)] == order
    assert summary(renamed)["step"] == 1 and read_note(renamed) == "the best one"
    with RunWriter(renamed) as writer:  # and it is trained on
        writer.status(state="running", step=2)
    assert rename_run(renamed, "better").path == renamed.path
    assert rename_run(renamed, "soap-1").name == "soap-1"


@pytest.mark.parametrize("holder", ["run", "child"])
def test_nobody_is_renamed_while_it_or_a_child_is_trained(run: RunDir, make_run: MakeRun, holder: str) -> None:
    child = child_of(make_run, run, "child")
    held = run if holder == "run" else child
    before = names(run)
    with RunWriter(held) as writer:
        writer.status(state="running")
        with pytest.raises(LockedError, match=f"run {held.name} is being trained; stop it first"):
            rename_run(run, "new")
    with RunLock(held.path), pytest.raises(LockedError, match=f"run {held.name} is being trained"):
        rename_run(run, "new")
    assert names(run) == before


def test_a_trainer_on_another_machine_is_respected(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.status_json.write_text(json.dumps({"state": "running", "host": "far", "heartbeat": 2e9}))
    from engine.runs import status

    monkeypatch.setattr(status.time, "time", lambda: 2e9)
    with pytest.raises(LockedError, match="stop it first"):
        rename_run(run, "new")


def test_a_name_that_is_taken_or_none_is_refused(run: RunDir, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("other")
    (tmp_path / "runs" / "link").symlink_to("nowhere")
    before = names(run)
    for name in ("other", "link"):
        with pytest.raises(RunError, match="exists; choose another name"):
            rename_run(run, name)
    for name in ("", "../x", ".x", "a/b", "x" * 101, "a b"):
        with pytest.raises(RunError, match="cannot name a run"):
            rename_run(run, name)
    with pytest.raises(RunError, match="is not a run"):
        rename_run(RunDir(tmp_path / "runs" / "none"), "new")
    assert names(run) == before


def test_a_name_of_a_run_elsewhere_is_not_taken_for_this_one(run: RunDir, make_run: MakeRun, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / run.name
    shutil.copytree(run.path, elsewhere)
    theirs = child_of(make_run, RunDir(elsewhere), "theirs")
    moved = child_of(make_run, RunDir(tmp_path / "before" / run.name), "moved")  # the folder of the runs was moved
    nameless = make_run("nameless", parent={"run": run.name, "step": 3})
    renamed = rename_run(run, "new")
    assert read_info(theirs)["parent"]["path"] == str(elsewhere)
    assert read_info(theirs)["parent"]["run"] == "soap-1"
    assert read_info(moved)["parent"]["path"] == str(renamed.path)
    assert read_info(nameless)["parent"] == {"run": "new", "step": 3}


def test_a_failure_at_any_write_leaves_all_names_as_they_were(
    run: RunDir, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        child_of(make_run, run, f"child-{number}")
    before, plain = names(run), naming.write_atomic
    for failing in range(3):
        calls = iter(range(100))

        def write(path: Path, data: bytes, at: int = failing, calls: Any = calls) -> None:
            if next(calls) == at:
                raise UserError(f"cannot write {path}: no space left on device; free some space")
            plain(path, data)

        monkeypatch.setattr(naming, "write_atomic", write)
        with pytest.raises(UserError, match="no space left"):
            rename_run(run, "new")
        assert names(run) == before
    monkeypatch.setattr(naming, "write_atomic", plain)

    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match=r"cannot rename .*: permission denied; check its permissions"):
        rename_run(run, "new")
    monkeypatch.undo()
    assert names(run) == before


def test_a_kill_between_is_mended_by_the_same_command(
    run: RunDir, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        child_of(make_run, run, f"child-{number}")

    class Killed(BaseException):
        pass

    for at in range(4):
        calls, plain = iter(range(100)), naming._tell

        def tell(path: Path, tree: dict[str, Any], at: int = at, calls: Any = calls, plain: Any = plain) -> None:
            if next(calls) == at:
                raise Killed
            plain(path, tree)

        with monkeypatch.context() as patch:
            patch.setattr(naming, "_tell", tell)
            if at < 3:
                with pytest.raises(Killed):
                    rename_run(find_run("soap-1", run.path.parent), "new")
        renamed = rename_run(find_run("soap-1", run.path.parent), "new")
        assert names(renamed) == {"new": ("new", None)} | {
            f"child-{number}": (f"child-{number}", ("new", "new")) for number in range(2)
        }
        rename_run(renamed, "soap-1")


def test_a_note_is_kept_shown_and_taken_away(run: RunDir) -> None:
    assert read_note(run) == "" and overview(run)["note"] == ""
    write_note(run, "  try a higher rate\n\x1b[31m ")
    assert read_note(run) == "try a higher rate\n\x1b[31m"  # as it is; whoever shows it makes it safe
    assert overview(run)["note"] == summary(run)["note"] == read_note(run)
    with RunWriter(run):
        write_note(run, "while it is trained")
    assert read_note(run) == "while it is trained"
    with pytest.raises(RunError, match="at most 5,000 characters"):
        write_note(run, "x" * (MAX_NAME + 1))
    assert read_note(run) == "while it is trained"
    write_note(run, " ")
    assert read_note(run) == "" and not run.note_json.exists()
    write_note(run, "x" * MAX_NAME)
    assert len(read_note(run)) == MAX_NAME
    remove_run(run)
    with pytest.raises(RunError, match="is not a run"):
        write_note(run, "x")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"text": 3}', b'{"time": 1}', b"\xff", b'{"text": "x", "time": "y"}']
)
def test_a_damaged_note_hides_no_run(run: RunDir, data: bytes) -> None:
    run.note_json.write_bytes(data)
    assert read_note(run) == "" and overview(run)["state"] == "new"


def test_a_run_beside_it_whose_description_is_damaged_is_no_child(run: RunDir, make_run: MakeRun) -> None:
    child, damaged = child_of(make_run, run, "child"), child_of(make_run, run, "damaged")
    damaged.run_json.write_text("{")
    renamed = rename_run(run, "new")
    assert read_info(child)["parent"]["run"] == "new" and renamed.exists and damaged.run_json.read_text() == "{"


def test_a_parent_whose_path_no_disk_can_have_is_told_by_its_name(run: RunDir, make_run: MakeRun) -> None:
    child = make_run("child", parent={"run": run.name, "path": "/" + 300 * "x", "step": 5, "how": "fork"})
    rename_run(run, "new")
    assert read_info(child)["parent"]["run"] == "new"


def test_a_note_that_cannot_be_taken_away_is_told(run: RunDir) -> None:
    run.note_json.mkdir()
    with pytest.raises(UserError, match=f"cannot write {run.note_json}"):
        write_note(run, " ")
