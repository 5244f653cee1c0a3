"""A table: the columns to train on (two, one, or a conversation), and the text that its rows become.

Conversations are OpenAI's `messages` (role, content) or ShareGPT's `conversations` (from, value).
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import CorpusError
from engine.text.rows import columns_of
from engine.text.source import Source
from engine.text.template import Template

# Pairs of columns that mean a prompt and its response, and single columns that are the text, the surest first.
PAIRS = (
    ("prompt", "response"),
    ("input", "output"),
    ("question", "answer"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "completion"),
)
SINGLES = ("text", "content")
SEPARATOR = "\n\n"  # between records that have no template
CHAT_END = "\n"  # after the last turn of a conversation
NAMES, NAME = 12, 40  # columns listed in an error, and characters of each

KEYS = ("messages", "conversations", "conversation")  # where a record keeps its conversation, the surest first
_ASKS = ("user", "human", "prompter")
_ANSWERS = ("assistant", "gpt", "chatgpt", "bot", "model", "ai", "bing", "bard")
_LEFT_OUT = ("system", "developer", "tool", "tools", "function", "function_call", "observation")

Columns = tuple[str, ...]  # (prompt, response), or (text,), or what holds a conversation
Turn = tuple[str, str]  # what was asked, and the answer


def choose_columns(source: Source, prompt: str | None = None, response: str | None = None) -> tuple[Columns, bool]:
    """The columns of a table to train on, and whether they hold conversations; see `choose_among`."""
    found, first = columns_of(source, source.parts[0])
    advice = f"tinytui corpora add {shlex.quote(str(source.path))} --prompt-column NAME --response-column NAME"
    return choose_among(found, first, source.path.name, prompt, response, advice)


def choose_among(
    found: Sequence[str], first: Mapping[str, Any], name: str, prompt: str | None, response: str | None, advice: str
) -> tuple[Columns, bool]:
    """Which of the columns `found` of a table to train on, and whether they hold conversations; `first` is a row.

    Those named, else a conversation, else guessed from common names: (prompt, response), or (text,) for one. Raises
    CorpusError that lists the columns there are, with `advice` where none is named or usual.
    """
    listed = f"{name} has columns {_names(found)}"
    if prompt is None and response is not None:
        raise CorpusError(f"--response-column {response} needs --prompt-column as well; {listed}")
    if prompt is not None:
        wanted = (prompt,) if response is None else (prompt, response)
        for column in wanted:
            if column not in found:
                raise CorpusError(f"no column {column!r}; {listed}")
        if len(set(wanted)) < len(wanted):
            raise CorpusError(f"prompt and response are both column {prompt!r}; {listed}")
        return wanted, response is None and chat_key({"messages": first.get(prompt)}) is not None
    if (key := chat_key(first)) is not None:
        return (key,), True
    return _guessed(found, f"{listed}; say which to use: {advice}"), False


def _names(columns: Iterable[str]) -> str:
    """The names of columns for an error: a few, and not all of a long one, which may be a whole text by mistake."""
    listed = list(columns)
    shown = [name if len(name) <= NAME else f"{name[:NAME]}..." for name in listed[:NAMES]]
    return ", ".join([*shown, *([f"{len(listed) - NAMES:,} more"] if len(listed) > NAMES else [])]) or "(none)"


def _guessed(found: Sequence[str], otherwise: str) -> Columns:
    by_name = {name.lower(): name for name in reversed(found)}
    for names in (*PAIRS, *((name,) for name in SINGLES)):
        if all(name in by_name for name in names):
            return tuple(by_name[name] for name in names)
    raise CorpusError(otherwise)


@dataclass(frozen=True)
class Recipe:
    """How a source becomes text: see `Corpus`."""

    columns: Columns = ()
    chat: bool = False
    template: Template | None = None
    boundary: str | None = None

    @property
    def ending(self) -> str:
        """What is put after a record that stands in no template."""
        return "" if self.template is not None else self.boundary or SEPARATOR

    def record(self, row: Mapping[str, Any], where: str, left_out: Counter[str]) -> str:
        """The training text of one row, without its `ending`; "" for one of only blanks.

        Two columns, and each turn of a conversation, stand in the template. Raises CorpusError that says `where` what
        is damaged or no text is; what is left out of conversations is counted.
        """
        values = [_value(row, name, where) for name in self.columns]
        if self.chat and self.template is not None:
            said = turns(values[0], where, left_out)
            return "".join(self.template.record(*turn) for turn in said) + CHAT_END if said else ""
        texts = [_text(value, name, where) for value, name in zip(values, self.columns, strict=True)]
        if not any(text.strip() for text in texts):
            return ""
        return self.template.record(*texts) if self.template is not None else texts[0]


def _value(row: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise CorpusError(f"{where}: no {name!r}; there is {_names(row)}")
    return row[name]


def _text(value: Any, name: str, where: str) -> str:
    if isinstance(value, str):
        return checked(value, where)
    if value is None:
        return ""
    if isinstance(value, bytes):
        raise CorpusError(f"{where}: {name!r} is bytes, not text")
    if isinstance(value, (dict, list)):
        raise CorpusError(f"{where}: {name!r} is a {type(value).__name__}, not text")
    return json.dumps(value) if isinstance(value, (bool, int, float)) else checked(str(value), where)


def chat_key(record: Mapping[str, Any]) -> str | None:
    """Where `record` keeps a conversation, if it does."""
    for key in KEYS:
        value = record.get(key)
        if isinstance(value, list) and (not value or isinstance(value[0], dict)):
            return key
    return None


def turns(value: Any, where: str, left_out: Counter[str]) -> list[Turn]:
    """The (prompt, answer) turns of a conversation: messages of one speaker on end are one, parted by a blank line.

    What a chat with the model will not have is left out and counted: messages of the system and of tools, images, a
    beginning that answers nothing, an end that nobody answered. Raises CorpusError, `where` named, for anything else.
    """
    if not isinstance(value, list):
        raise CorpusError(f"{where}: the conversation is a {type(value).__name__}, not a list of messages")
    said: list[tuple[bool, str]] = []
    for message in value:
        asks = _asks(message, where, left_out)
        text = _content(message, where, left_out) if asks is not None else ""
        if asks is None or not text.strip():
            continue
        if said and said[-1][0] == asks:
            said[-1] = (asks, f"{said[-1][1]}\n\n{text}")
        else:
            said.append((asks, text))
    if said and not said[0][0]:
        left_out["answer before any question"] += 1
        said = said[1:]
    if len(said) % 2:
        left_out["question without an answer"] += 1
    return [(asked, answer) for (_, asked), (_, answer) in zip(said[::2], said[1::2], strict=False)]


def _asks(message: Any, where: str, left_out: Counter[str]) -> bool | None:
    """Whether a message asks; None for one that is left out."""
    if not isinstance(message, dict):
        raise CorpusError(f"{where}: a message is a {type(message).__name__}, not an object with role and content")
    role = message.get("role", message.get("from"))
    name = role.lower() if isinstance(role, str) else ""
    if name in _ASKS or name in _ANSWERS:
        return name in _ASKS
    if name in _LEFT_OUT:
        left_out[f"{name} message"] += 1
        return None
    given = "no role" if role is None else f"role {role!r}"
    raise CorpusError(f"{where}: a message has {given}; roles are user and assistant (or human and gpt), and system")


def _content(message: Mapping[str, Any], where: str, left_out: Counter[str]) -> str:
    content = message.get("content", message.get("value"))
    if content is None:
        return ""
    if isinstance(content, str):
        return checked(content, where)
    if not isinstance(content, list):
        raise CorpusError(f"{where}: a message's content is a {type(content).__name__}, not text")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(checked(text, where))
        else:
            left_out["part of a message that is no text"] += 1
    return "\n\n".join(texts)


def checked(text: str, where: str) -> str:
    """`text`, its line ends LF. Raises CorpusError for what no UTF-8 text holds."""
    try:
        sound = b"\0" not in text.encode()
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise CorpusError(f"{where}: there is a NUL or half a surrogate pair in it, which is no text")
    return text.replace("\r\n", "\n")
