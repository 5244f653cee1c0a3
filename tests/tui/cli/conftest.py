"""The command line as a user has it: in a folder of their own, with a small text and, where asked, a trained run."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tui.cli.app import app

ROOT = Path(__file__).parents[3]
TINY = (
    "--set", "model.n_layer=1", "--set", "model.n_head=2", "--set", "model.n_embd=16", "--set", "model.block_size=8",
    "--set", "train.batch_size=4", "--set", "train.eval_every=10", "--set", "train.sample_tokens=8", "--device", "cpu",
)  # fmt: skip

Cli = Callable[..., Result]


def small_text(seed: int = 0) -> str:
    rng = random.Random(seed)
    words = "one small step after another goes on and on".split()
    return "".join(" ".join(rng.choices(words, k=8)) + ".\n" for _ in range(200))


def invoke(*args: object, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], input=input)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the user's is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYTUI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TINYTUI_CORPORA", str(tmp_path_factory.mktemp("corpora")))
        patch.setenv("COLUMNS", "100")
        patch.delenv("TINYTUI_RUNS", raising=False)
        yield


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("runs", "list")` runs that command in an empty folder with `small.txt` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.txt").write_text(small_text(), encoding="utf-8")
    return invoke


@dataclass(frozen=True)
class Trained:
    """A folder of runs with one finished run in it."""

    runs: Path
    name: str
    text: Path

    @property
    def path(self) -> Path:
        return self.runs / self.name


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of 20 steps on question and answer pairs, made by `tinytui train` itself."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "pairs.csv"
    rows = "".join(f"how far is it {n}?,it is {n} steps away\n" for n in range(200))
    text.write_text("prompt,response\n" + rows, encoding="utf-8")
    runs = folder / "runs"
    result = invoke("--runs", runs, "train", text, *TINY, "--steps", 20, "--name", "first", "--set", "block_size=32")
    assert result.exit_code == 0, result.output
    assert "first: finished at step 20 of 20" in result.stdout
    return Trained(runs, "first", text)


@pytest.fixture
def trained(trained_once: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A copy of that run, to do with as one likes, in ./runs of the working folder."""
    shutil.copytree(trained_once.runs, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Trained(tmp_path / "runs", trained_once.name, trained_once.text)


def process_environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, "TERM": "xterm-256color"}


def spawn(*args: object, **kwargs: object) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "tui.cli", *map(str, args)]
    return subprocess.Popen(command, text=True, env=process_environment(), **kwargs)  # type: ignore[call-overload, no-any-return]
