"""The corpus `python-stdlib`: real source code that every machine with tinytui has already."""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from engine.errors import CorpusError
from engine.files import open_cached
from engine.text.scan import Progress

# Not the library itself, or tables rather than prose and code.
LEFT_OUT = {
    "__pycache__", "config-3", "dist-packages", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data",
    "site-packages", "test", "tests", "turtledemo",
}  # fmt: skip
LEAST = 1_000_000  # bytes; less means the sources are not installed


def source_files(library: Path) -> list[Path]:
    """The .py files of the standard library under `library`, sorted by their relative names."""
    found = (path.relative_to(library) for path in library.rglob("*.py"))
    kept = (path for path in found if not any(part in LEFT_OUT or part.startswith("config-") for part in path.parts))
    return [library / path for path in sorted(kept, key=Path.as_posix)]


def _sources(files: list[Path], library: Path, progress: Progress | None) -> Iterator[str]:
    for number, path in enumerate(files, 1):
        try:
            text = path.read_text(encoding="ascii").replace("\f", "")
        except (OSError, UnicodeDecodeError):
            continue  # the few files beyond ASCII would bring characters that a training split may lack
        if all(character.isprintable() or character in "\n\t" for character in set(text)) and text.strip():
            yield f"# file: {path.relative_to(library).as_posix()}\n\n{text.strip()}\n\n\n"
        if progress is not None:
            progress("collecting the standard library", number / len(files))


def build_stdlib(cache: Path, progress: Progress | None = None, library: Path | None = None) -> Path:
    """One text of the ASCII modules of this Python's standard library, each after a line `# file: NAME`.

    Built once for each Python and kept in `cache`; the same Python always gives the same bytes. Raises CorpusError when
    this Python came without its sources.
    """
    library = Path(sysconfig.get_path("stdlib")) if library is None else library
    version = platform.python_version()
    where = hashlib.sha256(os.fsencode(library.resolve())).hexdigest()[:8]
    path = cache / "built" / f"python-stdlib-{version}-{where}.txt"
    if path.is_file():
        return path
    with open_cached(path, CorpusError) as file:
        written = sum(file.write(piece.encode()) for piece in _sources(source_files(library), library, progress))
        if written < LEAST:
            raise CorpusError(
                f"this Python ({version}) has no standard library sources in {library}; "
                "use another corpus, or a Python with them"
            )
    return path
