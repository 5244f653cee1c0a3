"""Which runs a corpus is needed by, before it is removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.config import load_preset
from engine.runs.layout import RunDir, create_run
from engine.runs.status import runs_that_need
from engine.runs.writer import RunWriter


def test_runs_that_need_a_corpus_are_found_by_its_text_and_else_by_its_name(
    make_run: Callable[..., RunDir], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"

    def make(run: str, **corpus: str) -> RunDir:
        return create_run(runs, run, load_preset("nano"), corpus=corpus)

    make("same", name="soap", sha256="a" * 64)
    make("renamed", name="other", sha256="a" * 64)
    make("older", name="soap", sha256="b" * 64)
    make("imported", name="soap", sha256="")
    make("nothing", name="else", sha256="c" * 64)
    (runs / "damaged").mkdir()
    (runs / "damaged" / "run.json").write_text("{")

    def found(*args: object) -> set[str]:
        return {need.run.name for need in runs_that_need(*args, runs_dir=runs)}  # type: ignore[arg-type]

    assert found({"soap"}, "a" * 64) == {"same", "renamed", "imported"}
    assert found({"soap"}) == {"same", "older", "imported"}
    assert found({"none"}) == found({"none"}, "d" * 64) == set()
    assert runs_that_need({"soap"}, runs_dir=tmp_path / "no runs") == []
    with RunWriter(RunDir(runs / "same")) as writer:
        writer.status(state="running")
        states = {need.run.name: (need.state, need.training) for need in runs_that_need({"soap"}, runs_dir=runs)}
        assert states == {"same": ("running", True), "older": ("new", False), "imported": ("new", False)}
