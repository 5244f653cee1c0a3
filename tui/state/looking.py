"""One token of an answer looked at: what could have stood there, by the rules as they are set now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tui.state.nexttoken import NextToken, next_token
from tui.state.prompting import LoadedModels, PromptJob

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.sampling.settings import SamplingSettings
    from engine.tokenizers.base import Tokenizer
    from tui.state.history import Prompted
    from tui.state.tokens import Token

GONE = "its logits are no longer kept; r asks again"
FROM_HISTORY = "an answer of before has no logits; r asks again"


@dataclass(frozen=True)
class Look:
    """The distribution, or why there is none."""

    next: NextToken | None = None
    why: str = ""


def look(
    models: LoadedModels,
    run: RunDir,
    shown: PromptJob | Prompted,
    tokens: Sequence[Token],
    settings: SamplingSettings,
) -> Look:
    """The place of the last of `tokens`, those of the answer up to it. No model is asked. For threads that may wait."""
    from engine.errors import UserError

    *before, token = tokens
    logits = models.logits.get(token.kept)
    if logits is None:
        old = token.kept is None and not isinstance(shown, PromptJob)
        return Look(why=FROM_HISTORY if old else GONE)
    tokenizer = models.vocabularies.of(run)
    names = shown.labels if isinstance(shown, PromptJob) else {}

    def label(id: int) -> str:
        return tokenizer.token_label(id) if tokenizer is not None else names.get(id, f"#{id}")

    history: list[int] = []
    if settings.repetition_penalty != 1 and isinstance(shown, PromptJob) and tokenizer is not None:
        history = [*prompt_ids(tokenizer, shown.applied), *(each.id for each in before)]
    try:
        return Look(next_token(logits, settings, history, token.id, label))
    except UserError as error:
        return Look(why=str(error))


def prompt_ids(tokenizer: Tokenizer, applied: str) -> list[int]:
    """What the model was given, as `generate` has it."""
    from engine.sampling.generate import start_token

    return [int(id) for id in tokenizer.encode(applied)] if applied else [start_token(tokenizer)]
