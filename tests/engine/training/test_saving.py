"""Old checkpoints go, the best and the newest stay, and nothing is left behind by whoever was killed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from engine.errors import CheckpointError
from engine.runs.layout import RunDir
from engine.training.saving import prune, remove_orphans, write_tensors
from engine.training.verify import verify_checkpoint

from .conftest import train


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def make(run: RunDir, *names: str) -> None:
    for name in names:
        (run.checkpoints / name).mkdir(parents=True)
        (run.checkpoints / name / "model.safetensors").write_bytes(name.encode())


def names(run: RunDir) -> set[str]:
    return {path.name for path in run.checkpoints.iterdir()}


STEPS = ("step-00000001", "step-00000002", "step-00000003", "step-00000004")


@pytest.mark.parametrize(
    ("step", "keep", "keep_last", "left"),
    [
        (4, set(), 1, (4,)),
        (4, {1}, 1, (1, 4)),
        (4, {4}, 2, (3, 4)),
        (4, {2}, 4, (1, 2, 3, 4)),
        (4, set(), 9, (1, 2, 3, 4)),
        (3, {1}, 1, (1, 3, 4)),  # 4 was taken back: it must not cost 3, which stands, its place
    ],
)
def test_the_best_and_the_newest_stay(
    run: RunDir, step: int, keep: set[int], keep_last: int, left: tuple[int, ...]
) -> None:
    make(run, *STEPS)
    gone = prune(run, step, keep, keep_last)
    assert run.checkpoint_steps() == list(left)
    assert set(gone) == {1, 2, 3, 4} - set(left)
    assert names(run) == {f"step-{each:08d}" for each in left}


LEFT = (
    *(".old-removed-2-4711", "removed-2", "removed-20000", ".writing-step-00000005-4711"),
    *(".writing-step-00000005", ".step-00000005.1f2e3d4c.tmp", ".old-step-00000001-4711"),
)


def test_what_killed_writers_left_goes_whatever_program_they_were_of(run: RunDir) -> None:
    make(run, *STEPS, *LEFT)
    (run.checkpoints / ".file.tmp").write_bytes(b"")
    remove_orphans(run)
    assert names(run) == set(STEPS)
    make(run, *LEFT)
    prune(run, 4, set(), 9)
    assert names(run) == set(STEPS)


def test_a_checkpoint_that_was_being_replaced_goes_back(run: RunDir) -> None:
    make(run, ".old-step-00000003-4711", ".step-00000003.1f2e3d4c.tmp", STEPS[0])
    remove_orphans(run)
    assert names(run) == {STEPS[0], STEPS[2]}
    assert (run.checkpoint(3) / "model.safetensors").read_bytes() == b".old-step-00000003-4711"


def test_what_cannot_be_removed_goes_the_next_time(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    make(run, *STEPS)
    real = os.rename

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "rename", refuse)
    prune(run, 4, set(), 1)
    remove_orphans(run)
    assert names(run) == set(STEPS)
    monkeypatch.setattr(os, "rename", real)
    monkeypatch.setattr(os, "rmdir", refuse)
    prune(run, 4, set(), 1)
    assert run.checkpoint_steps() == [4]
    monkeypatch.undo()
    prune(run, 4, set(), 1)
    assert names(run) == {STEPS[3]}


def test_no_folder_of_checkpoints_is_nothing_to_clear(run: RunDir) -> None:
    remove_orphans(run)
    assert prune(run, 4, set(), 1) == []
    assert not run.checkpoints.exists()


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(str.isprintable),
        st.tuples(
            st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        max_size=6,
    )
)
def test_tensors_are_written_as_safetensors_writes_them(
    shapes: dict[str, tuple[torch.dtype, list[int]]],
) -> None:
    tensors = {name: torch.ones(shape, dtype=dtype).cumsum(-1).to(dtype) for name, (dtype, shape) in shapes.items()}
    file = BytesIO()
    write_tensors(file, tensors)
    assert file.getvalue() == save(tensors)


def test_views_are_written_as_copies() -> None:
    flat = torch.arange(12.0)
    views = {"a": flat[:6].view(2, 3).t(), "b": flat[6:]}
    file = BytesIO()
    write_tensors(file, views)
    assert file.getvalue() == save({name: view.contiguous() for name, view in views.items()})


def test_a_fork_and_a_fine_tuning_are_there_whole_or_not_at_all(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch, corpus: Path
) -> None:
    from engine.training import saving
    from engine.training.fork import fine_tuning_config, fork_run
    from engine.training.start import start_run

    run = start("parent", "train.max_steps=4")
    assert train(run).error is None
    runs = run.path.parent

    def refuse(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", refuse)
        with pytest.raises(Exception, match="no space left on device; free some space") as caught:
            fork_run(run, "last", runs, name="fork")
        assert "\n" not in str(caught.value)
        patch.setattr(saving, "write_tensors", refuse)
        with pytest.raises(CheckpointError, match="no space left on device"):
            start_run(str(corpus), fine_tuning_config(run), runs, name="tuned", base=(run, "last"), device="cpu")
    assert [path.name for path in runs.iterdir()] == ["parent"]
    made = fork_run(run, "last", runs, name="fork")
    assert verify_checkpoint(made.checkpoint(4)).ok
    assert not list(made.path.rglob(".*"))
