"""Where a passage stands in a text, and what stands around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import CorpusError
from engine.files import reason
from engine.text.corpus import Text

BLOCK = 1 << 22  # bytes looked through at a time
AROUND = 400  # bytes of the text to either side


@dataclass(frozen=True)
class Place:
    """Bytes [start, end) of a text, which are `passage`, with what stands before and after."""

    start: int
    end: int
    before: str
    passage: str
    after: str


def find_passage(
    text: Text, passage: str, end: int | None = None, cancelled: Callable[[], bool] = lambda: False
) -> Place | None:
    """Where `passage` first stands in the bytes [0, end) of the text; None where it does not, or when `cancelled`.

    Read in blocks: memory does not grow with the text. Raises CorpusError when the file cannot be read.
    """
    wanted = passage.encode("utf-8", "surrogatepass")
    end = text.n_bytes if end is None else end
    if not wanted:
        return None
    try:
        with text.path.open("rb") as file:
            for low in range(0, max(1, end - len(wanted) + 1), BLOCK):
                if cancelled():
                    return None
                file.seek(low)
                found = file.read(min(BLOCK + len(wanted) - 1, end - low)).find(wanted)
                if found >= 0:
                    start = low + found
                    file.seek(max(0, start - AROUND))
                    before = file.read(min(AROUND, start))
                    file.seek(start + len(wanted))
                    after = file.read(AROUND)
                    return Place(
                        start,
                        start + len(wanted),
                        before.decode("utf-8", "ignore"),  # less half a character at an end
                        passage,
                        after.decode("utf-8", "ignore"),
                    )
    except OSError as error:
        raise CorpusError(f"cannot read {text.path}: {reason(error)}") from None
    return None
