"""What came of a download that broke off, kept so that the next one goes on there.

downloads/<address>.part in the cache: a line of JSON (address, the server's mark of this version), then the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path
from typing import BinaryIO

from engine.errors import CorpusError
from engine.files import FORGOTTEN, open_cached, sweep
from engine.folders import cache_dir

LEAST = 1 << 20
"""Bytes of a download that are worth keeping."""
_HEAD = 1 << 12


class Partial:
    """The beginning of what lies at `url`; `size` bytes of it, 0 for none, of the version `mark`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = cache_dir() / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:32]}.part"
        self.size, self.mark, self._start = 0, "", 0
        with contextlib.suppress(OSError, ValueError, RecursionError), self.path.open("rb") as file:
            line = file.readline(_HEAD)
            said = json.loads(line)
            if line.endswith(b"\n") and isinstance(said, dict) and said.get("url") == url:
                mark, whole = said.get("mark"), self.path.stat().st_size - len(line)
                if (
                    isinstance(mark, str)
                    and mark.isascii()
                    and mark.isprintable()
                    and mark
                    and whole == said.get("size")
                ):
                    self.size, self.mark, self._start = whole, mark, len(line)

    @property
    def asks(self) -> dict[str, str]:
        """The headers of a request for the rest: for all of it where that has changed meanwhile."""
        return {"Range": f"bytes={self.size}-", "If-Range": self.mark} if self.size else {}

    def begin(self, file: BinaryIO) -> None:
        """Put what came before into `file`. Raises OSError."""
        with self.path.open("rb") as before:
            before.seek(self._start)
            shutil.copyfileobj(before, file, 1 << 20)

    def keep(self, file: BinaryIO, mark: str) -> None:
        """Keep what came by now, as it is; where that cannot be done the next download begins anew."""
        with contextlib.suppress(OSError, CorpusError, ValueError):
            size = file.tell()
            if size < LEAST or not mark:
                return
            file.flush()
            sweep(self.path.parent, "*.part", older_than=FORGOTTEN)
            head = json.dumps({"url": self.url, "mark": mark, "size": size}).encode() + b"\n"
            if len(head) > _HEAD:
                return
            with Path(str(file.name)).open("rb") as came, open_cached(self.path, CorpusError) as part:
                part.write(head)
                shutil.copyfileobj(came, part, 1 << 20)

    def drop(self) -> None:
        """It is not needed any more, or of no use."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
