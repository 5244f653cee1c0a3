"""How a prompt and its answer stand in the training text, so that a prompt is given to the model in the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import CorpusError

PROMPT, RESPONSE = "{prompt}", "{response}"


@dataclass(frozen=True)
class Template:
    """One record of training text is `prefix + prompt + infix + response + suffix`.

    `stop` are the strings that end an answer; when none are given they follow from the suffix (see `stops`).
    """

    prefix: str = ""
    infix: str = ""
    suffix: str = ""
    stop: tuple[str, ...] = ()

    @classmethod
    def parse(cls, record: str, stop: Sequence[str] = ()) -> Template:
        """A template from one string that shows a record: `"You: {prompt}\\nBot: {response}<END>\\n"`.

        Raises CorpusError unless it has `{prompt}` once and, after it, `{response}` once.
        """
        prefix, found_prompt, rest = record.partition(PROMPT)
        infix, found_response, suffix = rest.partition(RESPONSE)
        if not (found_prompt and found_response) or PROMPT in infix + suffix or RESPONSE in prefix + suffix:
            raise CorpusError(f"a template needs {PROMPT} and then {RESPONSE}, once each, not {record!r}")
        return cls(prefix, infix, suffix, tuple(stop))

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end an answer: `stop`, or the suffix (`<END>`), or where the next record begins."""
        if self.stop:
            return self.stop
        end = self.suffix.rstrip("\n") or self.suffix + self._after
        return (end,) if end else ()

    @property
    def _after(self) -> str:
        """What follows the suffix, where that is but the end of a line and answers may have some."""
        return "" if self.suffix.rstrip("\n") or "\n\n" in self.suffix else self.prefix.rstrip()

    @property
    def marks(self) -> tuple[str, str, str] | None:
        """How answers are found in the training text: what stands before one, its end, and what follows that.

        None when nothing stands before an answer, or nothing after it.
        """
        found = self.infix, self.suffix, self._after
        return found if self.infix and self.suffix + self._after else None

    def apply(self, prompt: str) -> str:
        """What the model is given: the record up to the point where the answer begins."""
        return self.prefix + prompt + self.infix

    def record(self, prompt: str, response: str) -> str:
        """One whole record, as it stands in the training text."""
        return self.apply(prompt) + response + self.suffix

    def turns(self, history: Sequence[tuple[str, str]], prompt: str) -> str:
        """What the model is given in a chat: past (prompt, response) turns as whole records, then the new prompt."""
        return "".join(self.record(*turn) for turn in history) + self.apply(prompt)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` gives an equal template."""
        return {"prefix": self.prefix, "infix": self.infix, "suffix": self.suffix, "stop": list(self.stop)}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Template:
        """From `to_dict`, or from `{"record": "...{prompt}...{response}...", "stop": [...]}` as in a corpus.toml.

        Raises CorpusError for unknown names or values that are not text.
        """
        stop = tree.get("stop", [])
        stop = [stop] if isinstance(stop, str) else stop
        texts = {name: value for name, value in tree.items() if name != "stop"}
        if not isinstance(stop, Sequence) or not all(isinstance(x, str) and x for x in stop):
            raise CorpusError("a template's stop must be a list of texts that are not empty")
        if not all(isinstance(value, str) for value in texts.values()):
            raise CorpusError("a template's parts must be text")
        if set(texts) == {"record"}:
            return cls.parse(texts["record"], stop)
        if not set(texts) <= {"prefix", "infix", "suffix"}:
            raise CorpusError(f"a template has record and stop, or prefix, infix, suffix and stop, not {sorted(tree)}")
        return cls(**texts, stop=tuple(stop))


# Used for a CSV or JSONL file that brings no template of its own.
CHAT_TEMPLATE = Template.parse("You: {prompt}\nBot: {response}<END>\n")
