"""Writes what `make faults` counted into docs/reliability.md: `python -m tests.faults.report ROWS.jsonl`.

The table stands between two marks; the words around it are written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.machine import describe

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(rows: list[dict[str, object]]) -> str:
    """Promise, tries, failures and the command that tries again; a promise tried twice counts as it was last."""
    last = {str(row["promise"]): row for row in rows}
    lines = ["| promise | tries | failures | again with `FAULTS=whole python -m pytest` |", "|---|---|---|---|"]
    for promise, row in sorted(last.items(), key=lambda item: str(item[1]["test"])):
        test = str(row["test"]).partition("[")[0]
        lines.append(f"| {promise} | {row['tries']:,} | {row['failures']} | `{test}` |")
    return "\n".join(lines)


def main(rows: Path) -> None:
    measured = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\nOn: {describe()}.\n\n{table(measured)}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
