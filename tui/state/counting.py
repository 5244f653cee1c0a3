"""How many tokens a prompt is, as it is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from tui.state.vocabulary import Vocabularies


@dataclass(frozen=True)
class Counted:
    """`tokens` is None while the run has no tokenizer to read; `problem` is why the text has none."""

    tokens: int | None = None
    problem: str = ""


def count(vocabularies: Vocabularies, run: RunDir, text: str) -> Counted:
    """The tokens that a model of `run` is given for `text`, at least one. For threads that may wait."""
    from engine.errors import TokenizerError

    tokenizer = vocabularies.of(run)
    if tokenizer is None:
        return Counted()
    try:
        return Counted(max(1, len(tokenizer.encode(text))))
    except TokenizerError as error:
        return Counted(problem=str(error))
