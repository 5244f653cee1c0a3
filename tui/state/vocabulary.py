"""The tokenizers of the runs looked at, and what is asked of them: how long a prompt is, what a token is called.

A run has its tokenizer in every checkpoint; before the first one there is none to read. All of this is for threads that
may wait: a vocabulary is read from a file.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.tokenizers.base import Tokenizer

KEPT = 4
"""Tokenizers held at a time; one of a million words takes some hundred megabytes."""


class Vocabularies:
    """May be used by several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._known: dict[tuple[str, int], Tokenizer] = {}

    def of(self, run: RunDir) -> Tokenizer | None:
        """The run's tokenizer, None while it has no checkpoint that is whole."""
        from engine.errors import UserError
        from engine.tokenizers.table import load_tokenizer
        from engine.training.verify import newest_tokenizer

        with self._guard:
            try:
                key = str(run.path), run.run_json.stat().st_mtime_ns
                found = self._known.pop(key, None)
                if found is None:
                    path, _ = newest_tokenizer(run)
                    found = load_tokenizer(path) if path is not None else None
            except (OSError, UserError):
                return None
            if found is not None:
                self._known[key] = found
                for old in list(self._known)[:-KEPT]:
                    del self._known[old]
            return found


def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """How many tokens the model is given for `text`; raises TokenizerError for what it cannot read."""
    return max(1, len(tokenizer.encode(text))) if text else 1
