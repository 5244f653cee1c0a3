"""Errors meant for the person at the keyboard.

Every message is one line that says what is wrong and what to do about it. The CLI prints it and exits 1; the
workbench shows it where the mistake was made. Anything that is not a `UserError` is a bug and keeps its traceback.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any


class UserError(Exception):
    """Something the user can mend; the message says how, in one line."""


class ConfigError(UserError):
    """A preset, a setting or a combination of settings that cannot work."""


class CorpusError(UserError):
    """A corpus that is missing, empty, not text, or too short."""


class TokenizerError(UserError):
    """A tokenizer that cannot be built, loaded, or cannot encode a text."""


class UnknownCharacterError(TokenizerError):
    """A character that the tokenizer never saw: `place` is where it stands in the text, counted from 0."""

    def __init__(self, what: str, where: str, around: str, place: int) -> None:
        super().__init__(
            f"{what}; it is {where}{around}; write it otherwise, "
            "or train with --set data.unknown=skip (leaves such out) or unk (one token for all)"
        )
        self.what, self.around, self.place = what, around, place

    def moved(self, where: str, place: int) -> UnknownCharacterError:
        """The same, in words and in number standing elsewhere: the text was a piece of a longer one."""
        return UnknownCharacterError(self.what, where, self.around, place)


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or of another shape."""


class RunError(UserError):
    """A run that does not exist, or cannot be used this way."""


class LockedError(RunError):
    """The run has a living trainer already."""


class TrainingError(UserError):
    """Training had to stop: a non-finite loss, no memory."""


_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "ALLOC_FAILED",  # cuBLAS, cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there was no memory left: Python's, PyTorch's own, or an allocator's RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without loading it
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def in_one_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind; of a compiler's error, that of its cause."""
    cause = getattr(error, "inner_exception", None)
    if isinstance(cause, BaseException):
        return in_one_line(cause)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return said if len(said) <= 200 else said[:199] + "…"


def plain(found: object, most: int = 150) -> str:
    """What was found in a file, for a line of a message: short, and nothing in it but what can be printed."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(found)[:most])


_MUST = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "must be text",
    "is_instance_of": "must be text",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must be 64 hexadecimal digits",
}


def _number(limit: float) -> str:
    """A whole number with all its digits, another as short as it goes."""
    return f"{int(limit):,}" if limit == int(limit) else f"{limit:g}"


def what_is_wrong(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors in our words: `corpus must be an object, not -1`."""
    where = ".".join(str(part) for part in error["loc"])[:80] or "it"
    where = where if where.isprintable() else ascii(where)[1:-1][:80]  # names of its own may hold anything
    limits = error.get("ctx") or {}
    match error["type"]:
        case "missing":
            return f"{where} is missing"
        case "greater_than_equal":
            must = f"must be at least {_number(limits['ge'])}"
        case "less_than_equal":
            must = f"must be at most {_number(limits['le'])}"
        case "greater_than":
            must = f"must be above {_number(limits['gt'])}"
        case "less_than":
            must = f"must be below {_number(limits['lt'])}"
        case "too_short":
            return f"{where} must have at least {limits['min_length']:,}, not {limits['actual_length']:,}"
        case "too_long":
            return f"{where} must have at most {limits['max_length']:,}, not {limits['actual_length']:,}"
        case "string_too_long":
            return f"{where} must be at most {limits['max_length']:,} characters, not {len(error['input']):,}"
        case "literal_error":
            must = f"must be one of {limits['expected'].replace(' or ', ', ').replace(chr(39), '')}"
        case "value_error":
            said = str(limits.get("error", "is damaged"))[:120]
            return f"{where} {said}" if error["loc"] else said
        case kind:
            must = _MUST.get(kind) or error["msg"].lower().removeprefix("input ").partition(", unable")[0]
    return f"{where} {must}, not {reprlib.repr(error['input'])[:120]}"
