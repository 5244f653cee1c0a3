"""Small things about training: where compiled code is kept, when a rate set by hand holds, whose step a file is of."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.config import TrainConfig
from engine.model import build_model
from engine.plan.measure import median_seconds
from engine.preset_files import load_preset
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.schema import DamagedError
from engine.runs.status import read_info, read_status
from engine.tokenizers.char import CharTokenizer
from engine.training import compile as compiling
from engine.training import fork
from engine.training.fork import fine_tuning_config, import_run
from engine.training.optim import muon_dtype
from engine.training.saving import fresh_state
from engine.training.start import start_run
from engine.training.state import _scale_after
from engine.training.verify import _check_step

from .conftest import train


def test_what_is_compiled_is_kept_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    asked: list[dict[str, Any]] = []

    def compiles(function: Any, **how: Any) -> Any:
        asked.append(how)
        return function

    monkeypatch.setattr(torch, "compile", compiles)

    class Model:
        def loss(self) -> int:
            return 3

    compiler = compiling.Compiler()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert compiling.compile_loss(Model(), compiler)() == 3  # type: ignore[arg-type,call-arg]
        warnings.warn("TensorFloat32 tensor cores for float32 matrix multiplication available", stacklevel=1)
    assert not said, "it would be written over a screen"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "compiled")
    assert asked == [{"backend": compiler, "dynamic": False}]


UP = {"learning_rate": 1.0, "min_learning_rate": 0.5, "warmup_steps": 50, "decay_fraction": 0.9}
DOWN = {"learning_rate": 1e-9, "min_learning_rate": 0.0, "warmup_steps": 0, "decay_fraction": 0.01}


@pytest.mark.parametrize("sets", [{name: value} for each in (UP, DOWN) for name, value in each.items()])
def test_a_rate_set_by_hand_holds_for_its_schedule_alone(sets: dict[str, float]) -> None:
    def scale(changed: dict[str, float], by_hand: float = 0.25, at: int = 60) -> float:
        before = TrainConfig(max_steps=100, warmup_steps=10, min_learning_rate=1e-5, decay_fraction=0.5)
        trainer = SimpleNamespace(config=SimpleNamespace(train=before.model_copy(update=changed)))
        saved = SimpleNamespace(state={"lr_scale": by_hand}, config=SimpleNamespace(train=before), step=at)
        return _scale_after(trainer, saved)  # type: ignore[arg-type]

    assert scale(sets) == 1.0 and scale({}) == 0.25 and scale({"batch_size": 3}) == 0.25
    for steps in (50, 100, 200):
        assert scale({"max_steps": steps}) == 0.25
    assert scale({"max_steps": 50}, 4.0) == scale({}, 4.0) == 4.0
    assert scale({"max_steps": 200}, 1.5, at=99) == 1.0
    assert 1.0 <= scale({"max_steps": 200}, 4.0, at=99) < 4.0, "late in the old schedule the rate was low"


@pytest.mark.parametrize(
    ("name", "step", "good"),
    [("step-5", 5, True), ("step-5", 4, False), ("step-0", 1, False), ("step-0", 0, True), ("copy", 3, True)],
)
def test_a_checkpoint_is_of_the_step_in_its_name(name: str, step: int, good: bool) -> None:
    if good:
        _check_step(Path(name), "state.json", step)
    else:
        with pytest.raises(DamagedError, match=f"state.json: it is of step {step}, not of {name}"):
            _check_step(Path(name), "state.json", step)


def test_a_run_says_what_it_is_of(start: Callable[..., RunDir], corpus: Path, tmp_path: Path) -> None:
    run = start("one", "train.max_steps=1", "train.warmup_steps=0")
    info, text = read_info(run), corpus.read_bytes()
    cut = int(0.9 * len(text))
    kept = ("name", "path", "sha256", "bytes", "train_tokens", "val_tokens", "boundary")
    of = (corpus.stem, str(corpus), sha256(text).hexdigest(), len(text), cut, len(text) - cut, None)
    assert info["corpus"] == dict(zip(kept, of, strict=True))
    tokenizer = CharTokenizer("".join(sorted(set(text.decode()))))
    told = {"kind": "char", "vocab_size": tokenizer.vocab_size, "fingerprint": tokenizer.fingerprint}
    assert info["tokenizer"] == told and info.get("parent") is None and info.get("template") is None
    assert info["environment"]["device"] == "cpu"
    assert train(run).state == "finished"
    config = fine_tuning_config(run, "last")
    tuned = start_run(str(corpus), config, tmp_path / "runs", name="two", device="cpu", base=(run, "last"))
    assert read_info(tuned)["parent"] == {"run": "one", "path": str(run.path), "step": 1, "how": "fine-tune"}
    assert read_info(tuned)["tokenizer"] == told


def test_matrices_are_turned_in_bfloat16_where_that_is_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        assert muon_dtype(torch.device("cpu")) == dtype
        assert muon_dtype(torch.device("cuda")) == torch.bfloat16


def test_a_run_that_has_not_begun_has_done_nothing() -> None:
    state = fresh_state()
    watch = state.pop("watch")
    nothing = {"tokens": 0, "train_seconds": 0.0, "eval_seconds": 0.0, "lr_scale": 1.0, "rollbacks": 0}
    assert state == {**nothing, "val_loss": None, "environment": {}}
    sums = {"since_best": 0, "train_sum": 0.0, "train_count": 0, "overfits": False, "alarmed": False}
    assert {name: value for name, value in watch.items() if value is not None} == sums


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_work_is_timed_to_its_end_on_the_device(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda where: done.append(f"waited for {where}"))
    told: list[float] = []
    where = torch.device(device)
    assert median_seconds(lambda: done.append("work"), where, 1e-9, told.append) >= 0.0
    each = ["work"] if device == "cpu" else ["work", "waited for cuda"]
    assert done == each * (len(done) // len(each)) and told[-1] == 1.0 and len(told) == done.count("work")


def test_an_imported_model_is_a_run_that_ended_at_its_beginning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, tokenizer = load_preset("nano").model, CharTokenizer("abc")
    weights = {name: each.detach() for name, each in build_model(config, 3).named_parameters()}
    monkeypatch.setattr(fork, "read_tokenizer", lambda folder: tokenizer)
    monkeypatch.setattr(fork, "import_model", lambda folder: (config, weights))
    run = import_run(tmp_path / "their model", tmp_path / "runs")
    reader = RunReader(run)
    reader.poll()
    (event,) = reader.events
    assert (event["kind"], event["step"], event["path"]) == ("imported", 0, str(tmp_path / "their model"))
    status = read_status(run)
    params = sum(each.numel() for each in weights.values())
    assert [status[name] for name in ("state", "step", "steps", "params")] == ["finished", 0, 0, params]
    assert reader.info["corpus"] == {"name": "unknown", "path": None, "sha256": ""}
    assert run.checkpoint_steps() == [0]
