"""A training so small that it can be tried hundreds of times, and what it must come to whatever happens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.preset_files import load_config
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.status import ALIVE, read_status
from engine.training.host import TrainingHost
from engine.training.start import resume_run, start_run
from engine.training.verify import verify_checkpoint

SETTINGS = (
    *("model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.block_size=16"),
    *("train.batch_size=2", "train.max_steps=12", "train.eval_every=6", "train.checkpoint_every=3"),
    *("train.sample_tokens=4", "train.keep_last=2"),
)
TEXT = "".join(f"a cat sees {number} fish in the water.\n" for number in range(60))


def start(folder: Path, name: str, *sets: str) -> RunDir:
    """A run of 12 steps in `folder`/runs, not yet trained."""
    corpus = folder / "tiny.txt"
    if not corpus.exists():
        corpus.write_text(TEXT, encoding="ascii")
    config = load_config("nano", sets=(*SETTINGS, *sets))
    return start_run(str(corpus), config, folder / "runs", name=name, device="cpu")


def train(run: RunDir, seconds: float = 60.0) -> TrainingHost:
    """Train to the end, in a thread of this process."""
    host = TrainingHost(run, device="cpu")
    host.start()
    host.join(seconds)
    assert not host.alive, "it still trains"
    return host


@dataclass(frozen=True)
class Outcome:
    """What a whole training leaves: the numbers of each step, of each evaluation, the texts, the last weights."""

    losses: dict[int, float]
    val_losses: dict[int, float]
    texts: dict[int, str]
    weights: str

    @classmethod
    def of(cls, run: RunDir) -> Outcome:
        """Read from the run, which must be sound: nothing torn, doubled, or left lying about."""
        reader = RunReader(run)
        reader.poll()
        assert reader.problems == [], reader.problems
        for name in ("metrics", "samples", "events"):
            _check_lines(getattr(run, name))
        left = [path.name for folder in (run.path, run.checkpoints) for path in folder.glob(".*")]
        assert left == [], f"left behind: {left}"
        series = reader.series
        last = verify_checkpoint(run.checkpoint(run.checkpoint_steps()[-1]))
        assert last.ok, last.problem
        steps = series.step.tolist()
        assert steps == list(range(1, len(steps) + 1)), steps
        return cls(
            dict(zip(steps, series.loss.tolist(), strict=True)),
            dict(zip(series.val_step.tolist(), series.val_loss.tolist(), strict=True)),
            {sample["step"]: sample["text"] for sample in reader.samples},
            last.weights_sha256,
        )


def _check_lines(path: Path) -> None:
    """Every line is a record and none stands twice, but for lines cut by a kill, which are marked."""
    lines = path.read_bytes().split(b"\n")
    assert lines[-1] == b"", f"{path.name} ends in half a line"
    seen: set[tuple[Any, ...]] = set()
    for number, line in enumerate(lines[:-1]):
        if line == b"":
            continue
        if number + 1 < len(lines) and lines[number + 1] == b'{"torn":true}':
            continue
        record = json.loads(line)
        if "resumed" in record:
            seen.clear()
        elif "step" in record:
            key = (record["step"], "val_loss" in record, record.get("kind"), record.get("time"))
            assert key not in seen, f"{path.name} line {number + 1} stands twice: {line!r}"
            seen.add(key)


def state_of(run: RunDir) -> str:
    """The run's state as it stands in its status and as readers make it true; they must not differ."""
    status = read_status(run)
    assert not run.live or status["state"] in ALIVE
    return str(status["state"])


def go_on(run: RunDir) -> TrainingHost:
    """Resume as `tinytui train --resume` does."""
    return train(resume_run(run))
