"""Writes what `make faults` counted into docs/reliability.md: `python -m tests.faults.report ROWS.jsonl`.

The table stands between two marks; the words around it are written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench.machine import describe

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
Row = dict[str, Any]
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(rows: list[Row]) -> str:
    """Promise, tries, failures and the command that tries again; the parts of a campaign are added up."""
    whole: dict[str, Row] = {}
    for row in rows:
        before = whole.get(row["promise"], {**row, "tries": 0, "failures": 0})
        added = {key: before[key] + row[key] for key in ("tries", "failures")}
        whole[row["promise"]] = {**row, **added}
    lines = ["| promise | tries | failures | again with `FAULTS=whole python -m pytest` |", "|---|---|---|---|"]
    for promise, row in sorted(whole.items(), key=lambda item: item[1]["test"]):
        test = row["test"].partition("[")[0]
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
