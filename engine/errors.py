"""Errors meant for the person at the keyboard.

Every message is one line that says what is wrong and what to do about it. The CLI prints it and exits 1; the
workbench shows it where the mistake was made. Anything that is not a `UserError` is a bug and keeps its traceback.
"""

from __future__ import annotations


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

    def __init__(self, what: str, where: str, around: str, character: str, place: int) -> None:
        super().__init__(
            f"{what}; it is {where}{around}; write it otherwise, "
            "or train with --set data.unknown=skip (leaves such out) or unk (one token for all)"
        )
        self.what, self.around, self.character, self.place = what, around, character, place

    def moved(self, where: str, place: int) -> UnknownCharacterError:
        """The same, in words and in number standing elsewhere: the text was a piece of a longer one."""
        return UnknownCharacterError(self.what, where, self.around, self.character, place)


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
