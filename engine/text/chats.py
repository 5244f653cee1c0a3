"""Conversations as turns: OpenAI's `messages` (role, content) and ShareGPT's `conversations` (from, value)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from engine.errors import CorpusError

KEYS = ("messages", "conversations", "conversation")  # where a record keeps its conversation, the surest first
_ASKS = ("user", "human", "prompter")
_ANSWERS = ("assistant", "gpt", "chatgpt", "bot", "model", "ai", "bing", "bard")
_LEFT_OUT = ("system", "developer", "tool", "tools", "function", "function_call", "observation")
Turn = tuple[str, str]  # what was asked, and the answer


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


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked(text: str, where: str) -> str:
    """`text`, its line ends LF. Raises CorpusError for what no UTF-8 text holds."""
    if "\0" in text or not (text.isascii() or _encodes(text)):
        raise CorpusError(f"{where}: there is a NUL or half a surrogate pair in it, which is no text")
    return text.replace("\r\n", "\n")
