from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.errors import LockedError, RunError, UserError
from engine.files import open_atomic, write_atomic
from engine.machine import environment
from engine.preset_files import load_preset
from engine.runs.layout import (
    RunDir,
    any_runs,
    create_run,
    default_runs_dir,
    find_run,
    list_runs,
    new_name,
    remove_run,
)
from engine.runs.status import read_status
from engine.runs.writer import RunWriter

NANO = load_preset("nano")


def make(runs: Path, name: str) -> RunDir:
    return create_run(runs, name, NANO, corpus={"name": "soap"}, preset="nano")


def test_a_new_run_tells_all_that_made_it(tmp_path: Path) -> None:
    run = create_run(
        tmp_path / "deep" / "runs",
        "fork-1",
        NANO,
        corpus={"name": "soap", "sha256": "ab"},
        preset="nano",
        template={"prefix": "### Input:"},
        tokenizer={"kind": "char", "fingerprint": "cd"},
        parent={"run": "soap-1", "step": 500},
    )
    info = json.loads(run.run_json.read_text())
    assert info["config"] == NANO.model_dump(mode="json")
    assert (info["format"], info["name"], info["preset"], info["seed"]) == (1, "fork-1", "nano", NANO.train.seed)
    assert info["corpus"]["sha256"] == "ab" and info["tokenizer"]["kind"] == "char"
    assert info["parent"] == {"run": "soap-1", "step": 500} and info["template"] == {"prefix": "### Input:"}
    assert info["environment"]["threads"] >= 1
    assert read_status(run)["state"] == "new"
    assert [path.name for path in run.path.parent.iterdir()] == ["fork-1"]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-n", "a/b", "a b", "é", "x" * 101, "a\n", "a\x1b[2J"])
def test_names_that_cannot_be_a_folders_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot name a run"):
        make(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_a_taken_name_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    run = make(tmp_path, "one")
    before = run.run_json.read_bytes()
    with pytest.raises(RunError, match=r"run one exists; .*--resume one"):
        make(tmp_path, "one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="is not a run"):
        make(tmp_path, "two")
    assert run.run_json.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_new_names_count_up_and_never_reuse_one_below(tmp_path: Path) -> None:
    assert new_name(tmp_path / "none", "soap-notes", "nano") == "soap-notes-nano-1"
    for name in ("soap-notes-nano-1", "soap-notes-nano-10", "soap-notes-nano-x"):
        make(tmp_path, name)
    assert new_name(tmp_path, "soap-notes", "nano") == "soap-notes-nano-11"
    odd = new_name(tmp_path, "/home/me/été & more.txt", "my preset")
    assert make(tmp_path, odd).exists


def test_a_run_is_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path / "runs", "soap-nano-1")
    make(tmp_path / "runs", "dialogues-1")
    assert find_run("soap-nano-1", tmp_path / "runs") == run
    assert find_run(str(run.path)) == run
    assert find_run(f"{run.path}/") == run
    monkeypatch.chdir(run.path.parent)
    assert find_run("./soap-nano-1", tmp_path / "elsewhere") == run
    monkeypatch.setenv("TINYTUI_RUNS", str(tmp_path / "runs"))
    assert default_runs_dir() == tmp_path / "runs"
    assert find_run("soap-nano-1") == run
    with pytest.raises(RunError, match="did you mean soap-nano-1"):
        find_run("soap-nan-1")
    with pytest.raises(RunError, match=r"there are no runs in .* tinytui train"):
        find_run("x", tmp_path / "empty")
    for nothing in ("", ".", "..", "/"):
        with pytest.raises(RunError, match="no run"):
            find_run(nothing)


def test_the_list_holds_runs_only_the_last_active_first(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []
    (tmp_path / "no-run").mkdir()
    assert not any_runs(tmp_path / "none") and not any_runs(tmp_path)
    for age, name in enumerate(("c", "a", "b")):
        run = make(tmp_path, name)
        os.utime(run.run_json, (1000 - age, 1000 - age))
    (tmp_path / "notes").mkdir()
    (tmp_path / ".half.tmp").mkdir()
    (tmp_path / "file").write_text("x")
    assert [run.name for run in list_runs(tmp_path)] == ["c", "a", "b"] and any_runs(tmp_path)
    with RunWriter(RunDir(tmp_path / "b")) as writer:
        writer.status(state="finished")
    assert [run.name for run in list_runs(tmp_path)] == ["b", "c", "a"]


def test_removing_takes_a_run_and_nothing_else(tmp_path: Path, impatient: None) -> None:
    run, other = make(tmp_path, "one"), make(tmp_path, "two")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "link").symlink_to(other.path)
    for path in (tmp_path / "thesis", tmp_path / "link", tmp_path):
        with pytest.raises(RunError, match="nothing was removed"):
            remove_run(RunDir(path))
    with RunWriter(other), pytest.raises(LockedError, match="run two is being trained"):
        remove_run(other)
    remove_run(run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "thesis", "two"]
    assert other.exists


def test_checkpoints_are_folders_named_for_their_step(run: RunDir) -> None:
    assert run.checkpoint_steps() == []
    for step in (1500, 500, 123_456_789):
        run.checkpoint(step).mkdir(parents=True)
    (run.checkpoints / ".step-00000700.tmp").mkdir()
    (run.checkpoints / "step-00000900").write_text("a file")
    assert run.checkpoint(500).name == "step-00000500"
    assert run.checkpoint_steps() == [500, 1500, 123_456_789]


def test_the_environment_names_what_decides_a_runs_numbers() -> None:
    facts = environment()
    assert {"python", "torch", "numpy", "platform", "cpu", "threads", "host"} <= set(facts)
    assert json.loads(json.dumps(facts)) == facts


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_atomic(file, b"old")
    with pytest.raises(ZeroDivisionError), open_atomic(file) as out:
        out.write(b"ne")
        raise ZeroDivisionError
    assert file.read_bytes() == b"old"
    write_atomic(file, b"new")
    assert file.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*gone/x: no such file or directory; its folder does not exist"):
        write_atomic(tmp_path / "gone" / "x", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder: "):
        write_atomic(tmp_path / "folder", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
