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


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or of another shape."""


class RunError(UserError):
    """A run that does not exist, or cannot be used this way."""


class LockedError(RunError):
    """The run has a living trainer already."""


class TrainingError(UserError):
    """Training had to stop: a non-finite loss, no memory."""
