"""The run directory is a contract: runs as older programs wrote them open, verify, sample, evaluate and resume.

Each folder `format-N` holds runs as the program of its day wrote them (`make.py`); they are never made anew.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine import SamplingSettings, generate, load_model
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.status import overview
from engine.runs.summary import summary
from engine.training.host import TrainingHost
from engine.training.start import resume_run
from engine.training.verify import verify_checkpoint

HERE = Path(__file__).parent
KEPT = sorted(HERE.glob("format-*/runs/*"))


@pytest.fixture
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A copy of the kept run that can be written, its corpus found again."""
    path: Path = request.param
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    run = RunDir(tmp_path / "runs" / path.name)
    shutil.copytree(path, run.path)
    info = json.loads(run.run_json.read_text())
    info["corpus"]["path"] = str(path.parents[1] / "corpora" / "kept.txt")
    run.run_json.write_text(json.dumps(info))
    return run


every_kept_run = pytest.mark.parametrize(
    "kept", KEPT, indirect=True, ids=lambda path: f"{path.parents[1].name}-{path.name}"
)


@every_kept_run
def test_it_opens_with_all_its_records(kept: RunDir) -> None:
    reader = RunReader(kept)
    reader.poll()
    assert reader.problems == []
    assert reader.status["state"] == "finished"
    assert reader.series.step.tolist() == list(range(1, 21))
    assert reader.series.val_step.tolist() == [10, 20]
    assert {sample["step"] for sample in reader.samples} == {10, 20}
    assert overview(kept)["best_val_loss"] == pytest.approx(summary(kept)["best_val_loss"], rel=1e-5)


@every_kept_run
def test_it_verifies_and_samples(kept: RunDir) -> None:
    assert verify_checkpoint(kept.checkpoint(20)).ok
    model, tokenizer, step = load_model(kept, "best")
    *_, done = generate(model, tokenizer, "a cat", SamplingSettings(seed=1, max_tokens=12))
    assert step == 20
    assert len(done.text) > 0


@every_kept_run
def test_it_goes_on_where_it_stopped(kept: RunDir) -> None:
    before = summary(kept)
    resume_run(kept, max_steps=30)
    host = TrainingHost(kept, device="cpu")
    host.start()
    host.join(60)
    assert (host.state, host.error) == ("finished", None)
    after = summary(kept)
    assert after["step"] == 30
    assert after["problems"] == []
    # a wrong tokenizer, optimizer state or average would throw it back by whole nats
    assert after["last_val_loss"] < before["last_val_loss"] + 0.1


def test_there_is_a_kept_run_of_each_kind() -> None:
    assert len(KEPT) >= 3
