"""Every prompt of a run with its settings, seed, checkpoint and output: `RUN/prompts.jsonl`, newest last."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Prompted:
    """One prompt and what came of it. `step` is the weights' step; `source` how they were asked for."""

    prompt: str
    text: str
    source: str
    step: int | None
    settings: dict[str, Any]
    templated: bool = False
    time: float = 0.0
    stop_reason: str = ""
    tokens: int = 0
    tokens_per_second: float = 0.0


FIELDS = frozenset(Prompted.__dataclass_fields__)


class PromptHistory:
    """Read once, then appended to. Damaged lines are skipped; a folder that cannot be written to keeps it in memory."""

    def __init__(self, path: Path, keep: int = 500) -> None:
        self.path = path
        self.entries: list[Prompted] = _read(path)[-keep:]

    def append(self, entry: Prompted) -> None:
        self.entries.append(entry)
        line = json.dumps(asdict(entry)) + "\n"
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError:
            return
        try:
            os.write(fd, line.encode("utf-8", "replace"))
        except OSError:
            pass  # a full disk costs the history, never the prompt
        finally:
            os.close(fd)

    def prompts(self) -> list[str]:
        """The prompts, newest last, each once."""
        return list(dict.fromkeys(reversed([entry.prompt for entry in self.entries])))[::-1]


def _read(path: Path) -> list[Prompted]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            record = json.loads(line)
            entries.append(Prompted(**{name: record[name] for name in FIELDS if name in record}))
        except (ValueError, TypeError):
            continue
    return entries
