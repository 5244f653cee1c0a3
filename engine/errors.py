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
