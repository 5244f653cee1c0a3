"""Which runs a corpus is needed by, before it is removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run
from engine.runs.status import runs_that_need


def test_runs_that_need_a_corpus_are_found_by_its_name(make_run: Callable[..., RunDir], tmp_path: Path) -> None:
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

    def found(*names: str) -> set[str]:
        return {run.name for run in runs_that_need(names, runs)}

    assert found("soap") == {"same", "older", "imported"}
    assert found("none", "other") == {"renamed"} and found() == found("none") == set()
    assert runs_that_need({"soap"}, tmp_path / "no runs") == []
