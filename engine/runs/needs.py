"""Which runs need a corpus: to go on with them, to evaluate them, to see where their samples come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import RunError
from engine.runs.layout import RunDir, list_runs
from engine.runs.status import ALIVE, read_info, read_status


@dataclass(frozen=True)
class Need:
    """A run that was made with a corpus; `state` as in `read_status`."""

    run: RunDir
    state: str

    @property
    def training(self) -> bool:
        """Whether it is being trained now: it goes on with the tokens it has, and cannot be resumed after."""
        return self.state in ALIVE


def runs_that_need(names: Iterable[str], sha256: str | None = None, runs_dir: Path | None = None) -> list[Need]:
    """The runs in `runs_dir` whose corpus has one of these names, or this text, the most recently active first.

    With `sha256` a run of the same name but of another text does not count: it cannot go on with this one. Runs whose
    description cannot be read are left out. Reads two small files a run.
    """
    wanted, found = set(names), []
    for run in list_runs(runs_dir):
        try:
            corpus = read_info(run).get("corpus") or {}
            text = corpus.get("sha256")
            named = corpus.get("name") in wanted
            if text == sha256 if sha256 and text else named:
                found.append(Need(run, str(read_status(run).get("state", ""))))
        except RunError:
            continue
    return found
