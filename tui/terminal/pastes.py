"""What is pasted is text, whatever it holds: Textual takes an escape sequence in it, as of a coloured log, for keys."""

from __future__ import annotations

BEGIN, END = "\x1b[200~", "\x1b[201~"
"""Marks that a terminal sets around what is pasted (bracketed paste)."""
SHOWN = "\N{SYMBOL FOR ESCAPE}"


class Pastes:
    """A terminal's input, piece by piece, in which no escape character stands inside a paste."""

    def __init__(self) -> None:
        self._inside = False
        self._before = ""  # the end of what was passed on, which may be half of a mark
        self._held = ""  # inside: what may be half of the last mark, for which nobody waits

    def cleaned(self, data: str) -> str:
        """What of the input so far can be passed on."""
        passed = ""
        while data:
            if self._inside:
                data, self._held = self._held + data, ""
                text, mark, data = data.partition(END)
                if not mark:
                    held = next((n for n in range(len(END) - 1, 0, -1) if text.endswith(END[:n])), 0)
                    text, self._held = text[: len(text) - held], text[len(text) - held :]
                passed += text.replace("\x1b", SHOWN) + mark
                self._inside = not mark
            else:
                seen = self._before + data
                at = seen.find(BEGIN)
                self._inside = at >= 0
                end = at + len(BEGIN) - len(self._before) if self._inside else len(data)
                self._before = "" if self._inside else seen[1 - len(BEGIN) :]
                passed, data = passed + data[:end], data[end:]
        return passed
