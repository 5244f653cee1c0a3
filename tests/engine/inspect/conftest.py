from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from engine.config import ModelConfig
from engine.model import build_model
from engine.model.gpt import GPT
from engine.runs.layout import RunDir

KEPT = Path(__file__).parents[2] / "kept" / "format-1"
VOCAB = 23
KINDS: dict[str, dict[str, object]] = {
    "gpt": {"position": "rope", "embd_window": 3},
    "grouped": {"n_kv_head": 1, "qk_norm": True, "softcap": 9.0, "vocab_multiple": 8},
    "bigram": {"kind": "bigram", "position": "none"},
    "single-head": {"kind": "single-head"},
    "multi-head": {"kind": "multi-head"},
    "blocks": {"kind": "blocks"},
    "decoder": {"kind": "decoder"},
}
MakeModel = Callable[..., GPT]


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Models this small only wait for their threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make() -> MakeModel:
    """Makes a small model of one of KINDS, its weights large enough to have opinions."""

    def build(kind: str = "gpt", vocab: int = VOCAB, **changes: object) -> GPT:
        shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8, "position": "learned", "init": "xavier"}
        config = ModelConfig.model_validate({**shape, **KINDS[kind], **changes})
        model = build_model(config, vocab, torch.Generator().manual_seed(3))
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, 0.6, generator=torch.Generator().manual_seed(weight.numel()))
        return model.eval()

    return build


@pytest.fixture
def kept_run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A trained run, its corpus found again; the parameter names it."""
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    run = RunDir(tmp_path / "runs" / request.param)
    shutil.copytree(KEPT / "runs" / request.param, run.path)
    info = json.loads(run.run_json.read_text())
    info["corpus"]["path"] = str(KEPT / "corpora" / "kept.txt")
    run.run_json.write_text(json.dumps(info))
    return run
