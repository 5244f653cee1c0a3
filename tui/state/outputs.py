"""What a person keeps of a run's answers: `RUN/outputs/0001.txt`, numbered, never replaced."""

from __future__ import annotations

from pathlib import Path

from engine.errors import RunError
from engine.files import cannot
from engine.runs.layout import RunDir


def save_output(run: RunDir, text: str) -> Path:
    """Write `text` under the next free number; returns the file. Raises RunError, and then leaves none."""
    folder = run.path / "outputs"
    try:
        folder.mkdir(exist_ok=True)
        number = 1 + max((int(path.stem) for path in folder.glob("*.txt") if path.stem.isdecimal()), default=0)
        while True:
            path = folder / f"{number:04d}.txt"
            try:
                file = path.open("x", encoding="utf-8", errors="replace")
                break
            except FileExistsError:  # another workbench was quicker
                number += 1
        try:
            with file:
                file.write(text + "\n")
        except OSError:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot("save to", folder, error, RunError) from None
    return path
