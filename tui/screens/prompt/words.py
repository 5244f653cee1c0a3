"""How prompts, answers and weights are named on the screen."""

from __future__ import annotations

from textual.content import Content

from tui.state.conversation import Shown
from tui.state.history import Prompted
from tui.state.prompting import LIVE, PromptJob


def source_words(source: str | int, int8: bool = False) -> str:
    """Weights by name; of a checkpoint, whether in 8 bits."""
    word = {LIVE: "live weights", "best": "best checkpoint", "last": "last checkpoint"}.get(str(source))
    return (word or f"checkpoint {source:,}") + (" int8" if int8 and source != LIVE else "")


def asked_of(shown: Shown) -> str:
    """The prompt of an answer, where it stands before it: a template has a place of its own for it."""
    if shown is None:
        return ""
    asked = shown.request if isinstance(shown, PromptJob) else shown
    return "" if asked.templated else asked.prompt


def titled(*parts: tuple[str, str]) -> Content:
    """Parts of a border's title."""
    return Content.assemble(*parts)


def from_history(entry: Prompted) -> str:
    """What is known of an answer that was given before."""
    if entry.stop_reason == "not sent":
        return "from history: not sent"
    weights = f"step {entry.step:,}" if entry.step is not None else entry.source
    return f"from history: {weights}  seed {entry.settings.get('seed')}"
