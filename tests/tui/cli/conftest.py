"""A folder of one's own with a small text, and where asked for a run trained by the command line itself."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_for_tests import TINY, Cli, Trained, environment, invoke, small_text


@pytest.fixture(autouse=True, scope="session")
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the user's is read or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYTUI_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TINYTUI_CORPORA", str(tmp_path_factory.mktemp("corpora")))
        patch.setenv("COLUMNS", "100")
        patch.setenv("PYTHONPATH", environment()["PYTHONPATH"])  # for the background processes the command line makes
        patch.setenv("OMP_NUM_THREADS", "1")  # several of these may train at once
        patch.delenv("TINYTUI_RUNS", raising=False)
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine would take most of these tests' time."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    yield
    if torch:
        torch.set_num_threads(before)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`cli("runs", "list")` runs that command in an empty folder with `small.txt` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.txt").write_text(small_text(), encoding="utf-8")
    return invoke


@pytest.fixture(scope="session")
def trained_once(own_folders: None, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of 20 steps on question and answer pairs, made by `tinytui train` itself."""
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "pairs.csv"
    rows = "".join(f"how far is it {n}?,it is {n} steps away\n" for n in range(200))
    text.write_text("prompt,response\n" + rows, encoding="utf-8")
    runs = folder / "runs"
    result = invoke("--runs", runs, "train", text, *TINY, "--steps", 20, "--name", "first")
    assert result.exit_code == 0, result.output
    assert "first: finished at step 20 of 20" in result.stdout
    return Trained(runs, "first", text)


@pytest.fixture
def trained(trained_once: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A copy of that run, to do with as one likes, in ./runs of the working folder."""
    shutil.copytree(trained_once.runs, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Trained(tmp_path / "runs", trained_once.name, trained_once.text)
