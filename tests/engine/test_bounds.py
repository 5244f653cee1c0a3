"""The bounds that `docs/bounds.md` tells are those of the program."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "bounds.md").read_text(encoding="utf-8").split())
MIB, GIB = 1 << 20, 1 << 30

ROOMS = {"text": ("text", "tokenizers"), "training": ("training", "plan")}
"""Rooms that are looked through together."""

BOUNDS = {
    "text": {
        "LONGEST": [
            (16_777_216, "a line, field or object of a table | 16,777,216 characters"),
            (65_536, "one by one | 65,536"),
        ],
        "WIDEST": [(10_000, "columns of a table | 10,000 ")],
        "MOST_PARTS": [(200_000, "an archive | 200,000 ")],
        "TIMES": [(100, "unpacks to | 100 times its size")],
        "ALWAYS": [(GIB, "its size, or 1 GiB ")],
        "_ZSTD_WINDOW": [(128 * MIB, "asks for | 128 MiB ")],
        "MOST": [(128 * MIB, "a vocabulary is made from | 128 MiB "), (16 * GIB, "a download | 16 GiB ")],
        "SILENCE": [(30.0, "says nothing | 30 s")],
        "ANSWER": [(60.0, "; 60 s until its answer begins")],
        "SLOWEST": [(256, "is slow | 256 bytes/s")],
        "WATCHED": [(60.0, " over 60 s ")],
        "LEAST": [
            (MIB, "that broke off | from 1 MiB on"),
            (1_000_000, "as a corpus | from 1,000,000 bytes on"),
            (8 * MIB, "encode a text | 8; from 8 MiB on"),
        ],
        "REACH": [(64 * MIB, "around the split | 64 MiB to")],
        "HEAD": [(100, "Gutenberg text | 100 lines"), (4096, "")],
        "MOST_WORKERS": [(8, "encode a text | 8; ")],
        "RACY_NS": [(2_000_000_000, "is believed | after 2 s ")],
        "_LONGEST": [(64, "a word of the vocabulary | 64 characters"), (64, "")],
        "NAMES": [(12, "named in an error | 12, of")],
        "AROUND": [(20, "unknown character | 20 characters to"), (400, "was found | 400 bytes to")],
        "TOP": [(50, "tokens named | 50 ")],
        "MOST_WORD_BYTES": [(64 * MIB, "words are counted | 64 MiB ")],
        "MOST_WORDS": [(131_072, "counted at a time | 131,072 ")],
        "LONG_WORD": [(200, "a word | 200 characters")],
        "MOST_DISTINCT": [(262_144, "told apart | 262,144 ")],
        "BINS": [(24, "a histogram | 24 ")],
        "WINDOW": [(48, "training share | from 48 bytes on"), (4096, "compared at a time | 4,096 ")],
        "MOST_WINDOWS": [(262_144, "looked up | 262,144 ")],
        "SIZE": [(4096, "a page | 4,096 bytes"), (50_256, "")],
        "ROWS": [(20, "is added | 20; ")],
        "CELL": [(200, ", 200 characters of a value")],
        "MOST_COLUMNS": [(200, "; 200 columns")],
    },
    "training": {
        "TOKENS_PER_BATCH": [({"cpu": 2048, "cuda": 65_536}, "| 2,048 on a CPU, 65,536 on a GPU")],
        "LOGITS_BYTES": [({"cpu": 256 * MIB, "cuda": 2 * GIB}, "| 256 MiB on a CPU, 2 GiB on a GPU")],
        "FEWEST": [(16, "of 16 tokens at least")],
        "BEYOND": [(2.0, "twice the memory of the machine")],
        "EARLY_LEAST": [(20, "before its turn | from step 20 on")],
        "SCALE_START": [(65_536.0, "fp16 | 65,536 at first")],
        "SCALE_GROWTH_STEPS": [(2000, "after 2,000 good steps")],
        "SCALE_LEAST": [(1.0, ", 1 at least")],
        "MAX_ROLLBACKS": [(3, "a spike of the loss | 3 ")],
        "NOISE_ERRORS": [(4.0, "| 4 standard errors")],
        "NOISE_SHARE": [(0.02, "and 2% above the best")],
        "SPIKE_MEMORY": [(0.98, "compared with | 2% of each step")],
        "AT_ONCE": [(2, "copy of the weights | 2 ")],
        "PATIENCE": [(120.0, "they wait, 120 s for")],
        "RETRY_SECONDS": [(0.5, "again after 0.5 s")],
        "DISK_RETRY_SECONDS": [(5.0, "again after 5 s")],
        "MOST_STATE": [(16 * MIB, "state.json of a checkpoint | 16 MiB")],
        "MOST_TOKENIZER": [(512 * MIB, "tokenizer.json of a checkpoint | 512 MiB")],
        "LONG": [(100, "in a sample | 100 characters")],
        "HALF": [(50, "or 50 and over half of the sample")],
        "MOST_BYTES": [(32 * MIB, "is compared with | 32 MiB")],
        "MOST_CHARACTERS": [(8192, "with 8,192 characters")],
        "CLOSE": [((0.05, 0.05), "may be off | 5%; ")],
        "CLOSE_WITH_DROPOUT": [((0.25, 0.75), "with dropout 25% and 75%")],
    },
    "runs": {
        "PATIENCE": [(0.5, "lock of a run | tried for 0.5 s")],
        "SILENCE": [(120.0, "believed for 120 s")],
        "HEARTBEAT": [(0.5, "written at most every 0.5 s")],
        "MOST": [(8, "as they were read | of 8 runs |")],
        "LONG": [(16 * MIB, "metrics of a run, from 16 MiB on, kept")],
        "MAX_VIEWED": [(5000, "events shown | 5,000, ")],
        "MAX_PROBLEMS": [(20, "lines named | 20 of a file")],
        "SMOOTHED": [(0.02, "the last 2% of the steps")],
        "LEAST_SMOOTHED": [(10, "steps, 10 at least")],
        "MOST_UNSYNCED": [(MIB, "for good | 1 MiB ")],
    },
    "sampling": {
        "MOST_BEAMS": [(64, "beams | 64 ")],
        "KEPT": [(0.75, "it is full | 75% of it")],
        "ANSWER_SHARE": [(4, "a quarter at least")],
        "BUDGET": [(64 * MIB, "other rules on | 64 MiB ")],
        "MOST": [(8192, "or 8,192 tokens ")],
        "SEEDS": [(2**63, "a seed | 9,223,372,036,854,775,807 ")],
    },
    "control": {
        "HIGHEST_RATE": [(10.0, "set while training | 10 ")],
        "MAX_QUEUED": [(1000, "wait for a run | 1,000 ")],
        "IDLE": [(30.0, "does not read | 30 s ")],
        "DRAIN": [(30.0, "does not read | 30 s ")],
        "MAX_SAID": [(2000, "to a client | 2,000 characters")],
    },
}
"""Rooms, names, and each value of that name in the room with the words of the page; none where nobody need know."""


def numbers(room: str) -> dict[str, list[object]]:
    """Constants of the files of a room that are numbers, by name, sorted."""
    found: dict[str, list[object]] = {}
    for path in (path for each in ROOMS.get(room, [room]) for path in (ROOT / "engine" / each).rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign):
                names = [part.id for part in ast.walk(node.targets[0]) if isinstance(part, ast.Name)]
                values = node.value.elts if isinstance(node.targets[0], ast.Tuple) else [node.value]  # type: ignore[attr-defined]
                for name, value in zip(names, values, strict=True):
                    try:
                        known = eval(compile(ast.Expression(value), path.name, "eval"), {"__builtins__": {}})
                    except (NameError, TypeError, AttributeError):
                        continue
                    found.setdefault(name, []).append(known)
    return found


@pytest.mark.parametrize("room", BOUNDS)
def test_the_page_tells_the_bounds_of_the_program(room: str) -> None:
    found = numbers(room)
    for name, told in BOUNDS[room].items():
        assert sorted(map(repr, found[name])) == sorted(repr(value) for value, _ in told), name
        for _, words in told:
            assert words in PAGE, (name, words)
