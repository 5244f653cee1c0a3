"""Statistics of a large text: MB/s, and the most memory ever held by the process that counts.

python -m bench.corpus_statistics [--gigabytes 1] [--folder /somewhere/large]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from bench.large_corpus import watched, write_text
from bench.machine import describe, say


def count_here(path: str) -> None:
    """Prints how long the counting alone took, without the look whether the file is text."""
    from engine.text.catalog import find_corpus
    from engine.text.statistics import cached_statistics

    text = find_corpus(path).prepare()
    began = time.perf_counter()
    found = cached_statistics(text)
    assert found is not None
    print(json.dumps({"seconds": time.perf_counter() - began, "lines": found.lines, "gzip": found.gzip_bits_per_byte}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where the text is written; unset: a temporary one")
    parser.add_argument("--count", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        count_here(options.count)
        return
    print(describe())
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        path = Path(name) / "large.txt"
        write_text(path, int(options.gigabytes * 1e9))
        size = path.stat().st_size
        here = [sys.executable, "-m", "bench.corpus_statistics", "--count", str(path)]
        _, most, printed = watched(here, Path(name) / "cache")
        told = json.loads(printed)
    say("text", f"{size / 1e9:.2f} GB, {told['lines']:,} lines, {told['gzip']:.2f} bits a byte under gzip")
    say("statistics", f"{size / 1e6 / told['seconds']:.1f} MB/s")
    say("statistics, most memory", f"{most / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
