"""A damaged checkpoint is named with its file; where another may stand for it, the next best that is whole does."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import CheckpointError
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training.checkpoint import (
    choose_checkpoint,
    fill_model,
    known_losses,
    load_checkpoint,
    load_model,
    newest_good,
)
from engine.training.fork import fork_run
from engine.training.verify import OPTIMIZER, newest_tokenizer, read_loss, verify_checkpoint
from tui.state.prompting import LoadedModels

KEPT = Path(__file__).parents[2] / "kept" / "format-1" / "runs" / "adamw-average"
LOSSES = {5: 2.9, 10: 2.1, 20: 2.5}
"""10 is the best of three, 20 the next best."""


def edit(path: Path, name: str, **fields: Any) -> None:
    """Change what a JSON file of a checkpoint says, with a sum that fits."""
    file = path / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    manifest = json.loads((path / "manifest.json").read_text())
    if name != "manifest.json":
        manifest["sha256"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
        (path / "manifest.json").write_text(json.dumps(manifest))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A kept run with three checkpoints of the same weights, whose losses are LOSSES."""
    run = RunDir(tmp_path / "kept")
    shutil.copytree(KEPT, run.path)
    for step, loss in LOSSES.items():
        path = run.checkpoint(step)
        if step != 20:
            shutil.copytree(run.checkpoint(20), path)
        edit(path, "manifest.json", step=step)
        edit(path, "state.json", step=step, val_loss=loss)
    return run


FILES = sorted(path.name for path in next(KEPT.glob("checkpoints/*")).iterdir())


@pytest.mark.parametrize("name", [name for name in FILES if name != OPTIMIZER])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_best_or_last_is_passed_over_and_named(run: RunDir, name: str, how: str) -> None:
    assert load_model(run, "best", say=pytest.fail)[2] == 10
    assert load_model(run, "last", say=pytest.fail)[2] == 20
    for which, step, instead in (("best", 10, 20), ("last", 20, 10)):
        hurt = run.checkpoint(step) / name
        good = hurt.read_bytes()
        if how == "flipped":
            flip(hurt)
        elif how == "cut":
            hurt.write_bytes(good[: len(good) // 2])
        else:
            hurt.unlink()
        said: list[str] = []
        assert load_model(run, which, say=said.append)[2] == instead
        assert len(said) == 1 and f"checkpoint {run.checkpoint(step)} cannot be used: " in said[0]
        assert name in said[0] or "its SHA-256 is not the manifest's" in said[0]
        assert said[0].endswith(f"; step-{instead:08d} is used") and "\n" not in said[0]
        with pytest.raises(CheckpointError, match="cannot be used"):
            load_model(run, step, say=pytest.fail)  # the one asked for, or none
        told: list[str] = []
        assert LoadedModels().get(run, which, told.append)[2] == instead and told == said
        found, problems = newest_good(run)
        assert found is not None and (found.step, len(problems)) == ((10, 1) if step == 20 else (20, 0))
        hurt.write_bytes(good)


def test_when_all_are_damaged_the_first_is_named(run: RunDir) -> None:
    for step in LOSSES:
        flip(run.checkpoint(step) / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"step-00000010 cannot be used: model\.safetensors is damaged"):
        load_model(run, "best", say=pytest.fail)
    assert newest_good(run)[0] is None


def test_a_library_is_warned_that_another_is_used(run: RunDir) -> None:
    flip(run.checkpoint(10) / "model.safetensors")
    with pytest.warns(UserWarning, match=r"model\.safetensors is damaged.*; step-00000020 is used"):
        load_model(run)


def test_a_damaged_state_of_the_optimizer_costs_a_resume_and_no_prompt(run: RunDir) -> None:
    """Twice as large as the weights, it is not even read for writing with them."""
    flip(run.checkpoint(20) / OPTIMIZER)
    assert load_model(run, "last", say=pytest.fail)[2] == 20
    found, problems = newest_good(run)
    assert found is not None and found.step == 10 and f"{OPTIMIZER} is damaged" in problems[0]


def test_a_loss_counts_only_where_its_sum_fits(run: RunDir) -> None:
    """A digit flipped in state.json must not make another checkpoint the best."""
    state = run.checkpoint(5) / "state.json"
    state.write_text(state.read_text().replace("2.9", "0.9"))
    assert choose_checkpoint(run, "best") == run.checkpoint(10)
    losses, _ = known_losses(run, run.checkpoint_steps())
    assert sorted(losses.values()) == [2.1, 2.5]
    said: list[str] = []
    assert load_model(run, "best", say=said.append)[2] == 10
    assert len(said) == 1 and "step-00000005 cannot be used: state.json is damaged" in said[0]


@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_a_loss_that_is_no_number_is_never_the_best(run: RunDir, loss: float | None) -> None:
    """Older programs wrote it as it is, which is no JSON."""
    edit(run.checkpoint(10), "state.json", val_loss=loss, watch={"best_loss": loss})
    assert read_loss(run.checkpoint(10)) is None
    assert load_model(run, "best", say=pytest.fail)[2] == 20
    assert verify_checkpoint(run.checkpoint(10)).ok
    assert load_checkpoint(run.checkpoint(10)).step == 10


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("manifest.json", {"step": 11}, "manifest.json: it is of step 11, not of step-00000010"),
        ("manifest.json", {"sha256": {}}, "manifest.json: it does not name model.safetensors"),
        (
            "manifest.json",
            {"sha256": {"../x": "0" * 64}},
            "manifest.json: sha256 must be by names of files, not '../x'",
        ),
        ("state.json", {"step": 20}, "state.json: it is of step 20, not of step-00000010"),
        ("state.json", {"tokens": "many"}, "state.json: tokens must be a whole number, not 'many'"),
        ("manifest.json", {"format": 4}, "manifest.json: format 4 is of a newer tinytui than this one; update it"),
        ("config.json", {"model": {"n_layer": 0}}, "model.n_layer"),
        ("config.json", {"train": 3}, "config.json: train must be an object, not 3"),
        ("tokenizer.json", {"kind": "runes"}, "its kind is 'runes'"),
        ("tokenizer.json", {"kind": "y" * 10_000}, "tokenizer.json: kind must be at most 5,000 characters"),
        ("tokenizer.json", {"kind": None}, "tokenizer.json: kind must be text, not None"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_fits_its_sum_and_cannot_be_is_named_with_its_field(
    run: RunDir, name: str, fields: dict[str, Any], said: str
) -> None:
    path = run.checkpoint(10)
    edit(path, name, **fields)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert f"checkpoint {path} cannot be used: " in str(caught.value)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert load_model(run, "best", say=lambda _: None)[2] == 20


def test_averaged_weights_that_no_sum_vouches_for_are_not_used(run: RunDir) -> None:
    path = run.checkpoint(10)
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["sha256"]["averaged.safetensors"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert verify_checkpoint(path).problem == "manifest.json: it does not name averaged.safetensors"


def test_a_tokenizer_is_of_the_newest_checkpoint_whose_sum_fits(run: RunDir) -> None:
    assert newest_tokenizer(run) == (run.checkpoint(20) / "tokenizer.json", [])
    flip(run.checkpoint(20) / "tokenizer.json")
    (run.checkpoint(10) / "manifest.json").unlink()
    found, problems = newest_tokenizer(run)
    assert found == run.checkpoint(5) / "tokenizer.json"
    assert ["tokenizer.json is damaged" in problems[0], "manifest.json is missing" in problems[1]] == [True, True]


def test_a_fork_takes_along_all_but_what_is_damaged(run: RunDir) -> None:
    deep, cut = b"[" * 100_000 + b"\n", b'{"step":4,"te'
    for path in (run.metrics, run.samples):
        path.write_bytes(deep + b"\xff\n" + path.read_bytes() + b'{"step":21}\n{"resumed":9}\n' + cut)
    fork = fork_run(run, 10, run.path.parent, name="forked")
    reader = RunReader(fork)
    reader.poll()
    assert reader.problems == []
    assert reader.series.step.tolist() == list(range(1, 10))  # the mark of a resume from 9 goes along
    assert [sample["step"] for sample in reader.samples] == []
    assert verify_checkpoint(fork.checkpoint(10)).ok


def test_weights_of_another_model_are_named_and_change_nothing() -> None:
    model = torch.nn.Linear(2, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ones = {name: torch.ones_like(tensor) for name, tensor in before.items()}
    for weights, said in (
        ({"weight": ones["weight"]}, "has no weights for bias"),
        ({**ones, "more": ones["bias"]}, "has weights more that this model has not"),
        ({**ones, "bias": torch.ones(4)}, r"bias is \(4,\), the model's is \(3,\)"),
    ):
        with pytest.raises(CheckpointError, match=said):
            fill_model(model, weights, Path("step-00000001"))
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items()), said
    fill_model(model, ones, Path("step-00000001"))
    assert all(torch.equal(ones[name], tensor) for name, tensor in model.state_dict().items())
