"""A run being read beside the screen, which a run of a million steps would keep waiting for a second."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from engine.errors import UserError

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from engine.runs.reader import RunReader


class Reading:
    """One read of `run`, in a thread of its own. What came of it stays here, so whoever asked for another run since
    cannot take it for that one: `reader`, or in one line why there is none as `error`, once it is `done`."""

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.reader: RunReader | None = None
        self.error = ""
        self._ended = threading.Event()
        threading.Thread(target=self._read, name="read-run", daemon=True).start()

    @property
    def done(self) -> bool:
        return self._ended.is_set()

    def wait(self, seconds: float) -> None:
        """Wait until it is done, `seconds` at most."""
        self._ended.wait(seconds)

    def _read(self) -> None:
        try:
            from engine.runs.reader import RunReader

            reader = RunReader(self.run)
            reader.poll()
            self.reader = reader
        except Exception as error:  # damage that the reader does not know of; the screen lives on and names it
            self.error = one_line(error)
        finally:
            self._ended.set()


def one_line(error: Exception) -> str:
    """What went wrong, as a person reads it; a bug by its name."""
    if isinstance(error, UserError | OSError):
        return str(error)
    return f"this is a bug: {' '.join(f'{type(error).__name__}: {error}'.split())}"
