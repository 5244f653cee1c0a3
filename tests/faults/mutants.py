"""Do the tests notice? Small changes of the engine, one at a time: `python -m tests.faults.mutants --seed N`.

Cosmic Ray knows what can be changed and makes the change; the seed draws which. A mutant is run against the tests that
execute its lines, as a first run under coverage found them, in a copy of the tree, until one of them fails. What lives
on is printed with its change: a promise without a test, or a change that changes nothing, which is then named with the
reason in `equivalent.toml`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "mutants"
COVERED = WORK / "covered.json"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
ROOMS = ("model", "training", "runs", "text", "sampling", "control")
FAULTS = ("damage", "disk", "fetch", "imports", "memory", "socket", "text")
TESTS = ("tests/engine", "tests/kept", "tests/tui/cli", *(f"tests/faults/test_{name}.py" for name in FAULTS))
COPIED = ("engine", "tui", "tests", "bench", "docs", "pyproject.toml", "corpora")
ENDS = ("killed", "survived", "equivalent")
LONGEST = 300.0
"""Seconds after which a mutant that still runs counts as killed: it hangs, and a person would notice."""


@dataclass(frozen=True)
class Mutant:
    """One change: the text of `file` (from the root) with the change in it, and the lines it touches."""

    file: str
    lines: tuple[int, ...]
    operator: str
    code: str

    def diff(self) -> str:
        before = (ROOT / self.file).read_text(encoding="utf-8").splitlines()
        changes = difflib.unified_diff(before, self.code.splitlines(), lineterm="", n=0)
        return "\n".join(line for line in list(changes)[2:] if not line.startswith("@@"))

    @property
    def key(self) -> str:
        """What `equivalent.toml` names it by: it outlives lines that move."""
        return f"{self.file}: {self.diff()}"


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw(seed: int, wanted: int) -> Iterator[Mutant]:
    """Mutants without end: a file by its length, a place in it, one of the changes possible there."""
    rng = random.Random(seed)
    files = sorted(path for room in ROOMS for path in (ROOT / "engine" / room).glob("*.py"))
    weights = [len(path.read_text(encoding="utf-8").splitlines()) for path in files]
    places = {path: _places(path) for path in files}
    seen: set[tuple[str, str]] = set()
    while wanted:
        path = rng.choices(files, weights)[0]
        if not places[path]:
            continue
        span = rng.choice(sorted(places[path]))
        operator, occurrence = rng.choice(places[path][span])
        mutant = _mutate(path, operator, occurrence, span)
        if mutant is None or (mutant.file, mutant.code) in seen:
            continue
        seen.add((mutant.file, mutant.code))
        wanted -= 1
        yield mutant


Span = tuple[tuple[int, int], tuple[int, int]]


def _places(path: Path) -> dict[Span, list[tuple[str, int]]]:
    """Where `path` can be changed, and by which operators; annotations and words for people are let be."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names

    untouched = set(_annotations(path))
    tree = get_ast_from_path(path)
    nodes = list(ast_nodes(tree))
    places: dict[Span, list[tuple[str, int]]] = defaultdict(list)
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments():
            continue
        operator, number = kind(), count()
        for node in nodes:
            for start, end in operator.mutation_positions(node):
                occurrence = next(number)
                if start[0] not in untouched:
                    places[start, end].append((name, occurrence))
    return places


def _annotations(path: Path) -> Iterator[int]:
    """Lines of annotations (with `from __future__ import annotations` they are not run) and of TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        marked: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marked = [node.returns, *(arg.annotation for arg in ast.walk(node.args) if isinstance(arg, ast.arg))]
        elif isinstance(node, ast.AnnAssign):
            marked = [node.annotation]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            marked = [node]
        for part in marked:
            if part is not None:
                yield from range(part.lineno, (part.end_lineno or part.lineno) + 1)


def _mutate(path: Path, operator: str, occurrence: int, span: Span) -> Mutant | None:
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    before = path.read_text(encoding="utf-8")
    try:
        code = mutate_code(before, get_operator(operator)(), occurrence)
    except AttributeError:  # ExceptionReplacer stumbles over `except module.Name`
        return None
    if code is None or code == before:
        return None
    (first, _), (last, _) = span
    return Mutant(str(path.relative_to(ROOT)), tuple(range(first, last + 1)), operator, code)


# -- which tests run which lines ---------------------------------------------------------------------------------------


def cover() -> dict[str, dict[str, list[str]]]:
    """{file: {line: tests}}, quickest test first, from one run of the tests under coverage; kept while they stand."""
    newest = max(path.stat().st_mtime for folder in ("engine", "tests") for path in (ROOT / folder).rglob("*.py"))
    if not COVERED.exists() or COVERED.stat().st_mtime < newest:
        subprocess.run([sys.executable, "-m", "tests.faults.mutants", "--cover"], cwd=ROOT, check=True, env=_env(ROOT))
    found: dict[str, dict[str, list[str]]] = json.loads(COVERED.read_text(encoding="utf-8"))
    return found


def _cover() -> None:
    import coverage
    import pytest

    took: dict[str, float] = {}
    measured = coverage.Coverage(data_file=None, include=[str(ROOT / "engine" / "*")], concurrency="thread")

    class Contexts:
        def pytest_runtest_logstart(self, nodeid: str) -> None:
            measured.switch_context(nodeid)

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            took[report.nodeid] = took.get(report.nodeid, 0.0) + report.duration

    measured.start()
    pytest.main([*TESTS, "-q", "-p", "no:cacheprovider", "-o", "addopts="], plugins=[Contexts()])
    measured.stop()
    data = measured.get_data()
    found: dict[str, dict[str, list[str]]] = {}
    for file in data.measured_files():
        lines = data.contexts_by_lineno(file)
        found[str(Path(file).relative_to(ROOT))] = {
            str(line): sorted((test for test in tests if test in took), key=took.__getitem__)
            for line, tests in lines.items()
        }
    WORK.mkdir(parents=True, exist_ok=True)
    COVERED.write_text(json.dumps(found), encoding="utf-8")


# -- running -----------------------------------------------------------------------------------------------------------


def _env(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def trees(number: int) -> SimpleQueue[Path]:
    """Copies of the tree to change."""
    free: SimpleQueue[Path] = SimpleQueue()
    for index in range(number):
        tree = WORK / f"tree-{index}"
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, tree / name)
        free.put(tree)
    return free


def survives(mutant: Mutant, tests: list[str], tree: Path) -> bool:
    """Whether all `tests` pass with the mutant in its place."""
    if not tests:
        return True
    file = tree / mutant.file
    before = file.read_text(encoding="utf-8")
    own = f"tests/{Path(mutant.file).parent}"
    ordered = sorted(tests, key=lambda test: not test.startswith(own))  # stable: the quickest of its room first
    chosen = tree / "chosen.txt"
    chosen.write_text("\n".join(ordered), encoding="utf-8")
    try:
        file.write_text(mutant.code, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", f"@{chosen}"]
        ended = subprocess.run(command, cwd=tree, env=_env(tree), capture_output=True, timeout=LONGEST, check=False)
        return ended.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        file.write_text(before, encoding="utf-8")


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    asked.add_argument("--count", type=int, default=200)
    asked.add_argument("--seed", type=int, default=int(time.time()))
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--cover", action="store_true", help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.cover:
        _cover()
        return 0
    covered = cover()
    known = {entry["change"]: entry["why"] for entry in tomllib.loads(EQUIVALENT.read_text("utf-8")).get("mutant", [])}
    free = trees(options.workers)

    def judge(mutant: Mutant) -> str:
        if mutant.key in known:
            return "equivalent"
        lines = covered.get(mutant.file, {})
        tests = list(dict.fromkeys(test for line in mutant.lines for test in lines.get(str(line), [])))
        if not tests and any(str(line) in lines for line in mutant.lines):  # run once, by the import
            tests = list(dict.fromkeys(test for some in lines.values() for test in some))
        tree = free.get()
        try:
            alive = survives(mutant, tests, tree)
        finally:
            free.put(tree)
        if alive:
            what = f"alive ({mutant.operator}, {len(tests)} tests) {mutant.file}:{mutant.lines[0]}"
            print(f"\n{what}\n{mutant.diff()}", flush=True)
        return "survived" if alive else "killed"

    mutants = list(draw(options.seed, options.count))
    tally: dict[tuple[str, str], int] = defaultdict(int)
    with ThreadPoolExecutor(options.workers) as pool:
        for done, (mutant, came) in enumerate(zip(mutants, pool.map(judge, mutants), strict=True), 1):
            tally[Path(mutant.file).parts[1], came] += 1
            if done % 20 == 0:
                print(f"{done} of {len(mutants)}", file=sys.stderr, flush=True)
    for room in ROOMS:
        print(f"{room:10} " + ", ".join(f"{came} {tally[room, came]}" for came in ENDS))
    killed, survived, equivalent = (sum(n for (_, what), n in tally.items() if what == came) for came in ENDS)
    share = killed / max(1, killed + survived)
    print(f"seed {options.seed}: {killed} killed, {survived} survived, {equivalent} equivalent: {share:.1%}")
    return 0 if share >= 0.9 else 1


if __name__ == "__main__":
    raise SystemExit(main())
