"""Which tests run which lines of the engine, found by running them under coverage, and kept while these files stand.

A fixture that several tests share is run by the first of them and counts for all. What runs at the import of a file (a
constant, a default) is tried by the tests that run the lines which use it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.faults.changes import ROOT, Mutant

WORK = ROOT / "build" / "mutants"
FAULTS = ("damage", "disk", "fetch", "imports", "memory", "socket", "text")
TESTS = ("tests/engine", "tests/kept", "tests/tui/cli", *(f"tests/faults/test_{name}.py" for name in FAULTS))
OF_ALL = (
    "tests/engine/test_values.py",
    "tests/engine/test_bounds.py",
    "tests/engine/runs/test_run_schema.py::test_the_bounds",
)
"""Tests that look at every file without running its lines."""
ELSEWHERE = {
    "tests/engine/training/test_ranks.py": (
        "batches beside checkpoint crew evaluate host memory optim processes ranks saving sharded "
        "shares state step trainer verify"
    ),
    "tests/engine/tokenizers/test_prepare.py": "documents pieces prepare shards",
    "tests/engine/tokenizers/test_encoding_workers.py": "encoding process",
}
"""Modules of tests that have other processes run lines of these files, where coverage does not look."""
MOST_SECONDS = 120.0
"""Of tests, by the time that each took: what they do not notice is alive, whatever further ones would say."""


class Covered:
    """Lines by the tests that run them: `lines[file][line]`, and what each test took, in seconds."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.took: dict[str, float] = {}
        self.lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        for module in found:
            for test, facts in module.items():
                self.took[test] = facts["took"]
                for runs in facts["lines"]:
                    for file, lines in runs.items():
                        for line in lines:
                            self.lines[file][line].add(test)

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Those that may notice it: of its lines, its file, its name; of its module and room and the quick first."""
        ran = self.lines.get(mutant.file, {})
        direct = {test for line in _users(mutant) for test in self._of(*line)}
        stem, room = Path(mutant.file).stem, f"tests/{Path(mutant.file).parent}"
        modules = {test.partition("::")[0] for test in self.took}
        near = {each for each in modules if stem in Path(each).stem or stem in ELSEWHERE.get(each, "").split()}
        own = {test for test in self.took if test.partition("::")[0] in near}  # also: some fail before any line
        of_all = {test for test in self.took if test.startswith(OF_ALL) and not _inside(mutant)}
        groups = (of_all, direct, own, {test for tests in ran.values() for test in tests})

        def rank(test: str) -> tuple[bool, bool, float]:
            module = test.partition("::")[0]
            return stem not in Path(module).stem, not test.startswith(room), self.took[test]

        ordered = dict.fromkeys(test for group in groups for test in sorted(group & self.took.keys(), key=rank))
        chosen: list[str] = []
        seconds = 0.0
        for test in ordered:
            seconds += self.took[test]
            if chosen and seconds > MOST_SECONDS:
                break
            chosen.append(test)
        return chosen

    def _of(self, file: str, line: int) -> set[str]:
        return self.lines.get(file, {}).get(line, set())


def _users(mutant: Mutant) -> Iterator[tuple[str, int]]:
    """The lines that run what was changed: its own, and where it is run at import, those that use what it makes."""
    if _inside(mutant):
        yield from ((mutant.file, line) for line in mutant.lines)
        return
    bodies, names = [], []
    for node in _around(mutant):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            bodies.append(node)
        elif isinstance(node, ast.ClassDef) and mutant.lines[0] < node.body[0].lineno:
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    for node in bodies:
        yield from ((mutant.file, line) for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1))
    if names:
        used = re.compile(rf"\b(?:{'|'.join(names)})\b")
        for path in sorted((ROOT / "engine").rglob("*.py")):
            for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if used.search(text):
                    yield str(path.relative_to(ROOT)), number


def _inside(mutant: Mutant) -> bool:
    """Whether it is in a function's body."""
    functions = (node for node in _around(mutant) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(mutant.lines[0] >= node.body[0].lineno for node in functions)


def _around(mutant: Mutant) -> Iterator[ast.stmt]:
    """The statements it is in, with their decorators."""
    for node in ast.walk(_tree(mutant.file)):
        if isinstance(node, ast.stmt):
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            if first <= mutant.lines[0] <= (node.end_lineno or node.lineno):
                yield node


@cache
def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


# -- finding out -------------------------------------------------------------------------------------------------------


def covered(workers: int) -> Covered:
    """As it is now: tests are run again where they have changed, or a file of the engine whose lines they run."""
    modules = [str(path.relative_to(ROOT)) for name in TESTS for path in _tests(ROOT / name)]
    places = {module: _place(module) for module in modules}
    wanted = [module for module in modules if not _stands(places[module])]
    for old in set((WORK / "covered").glob("*.json")) - set(places.values()):
        old.unlink()
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.faults.covering", *wanted[part::workers]], cwd=ROOT)
        for part in range(min(workers, len(wanted)))
    ]
    for process in running:
        process.wait()
    found = [json.loads(place.read_text(encoding="utf-8"))["tests"] for place in places.values() if place.exists()]
    if not found:
        raise SystemExit("no test could be run under coverage")
    return Covered(found)


def _tests(path: Path) -> list[Path]:
    return [path] if path.suffix else sorted(path.rglob("test_*.py"))


def _place(module: str) -> Path:
    """What was found for a module of tests, as it and what all tests share stand now."""
    digest = hashlib.sha256(_shared() + (ROOT / module).read_bytes()).hexdigest()[:16]
    return WORK / "covered" / f"{module.replace('/', '.')}-{digest}.json"


def _stands(place: Path) -> bool:
    """Whether the files of the engine that its tests ran are those of now."""
    if not place.exists():
        return False
    files: dict[str, str] = json.loads(place.read_text(encoding="utf-8"))["engine"]
    return all(_digest(file) == digest for file, digest in files.items())


@cache
def _digest(file: str) -> str:
    path = ROOT / file
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


@cache
def _shared() -> bytes:
    files = [*(ROOT / "tests" / "engine").rglob("*.py"), ROOT / "tests/conftest.py"]
    own = [path for path in files if not path.name.startswith("test_")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(own))).digest()


def cover(modules: list[str]) -> None:
    """Run tests under coverage, and write what was found for each module; for a process of its own."""
    import coverage
    import pytest

    took: dict[str, float] = {}
    failed: set[str] = set()
    users: dict[str, set[str]] = defaultdict(set)
    measured = coverage.Coverage(data_file=None, include=[str(ROOT / "engine" / "*")], concurrency="thread")

    def shared(fixture: pytest.FixtureDef[Any]) -> str:
        return "" if fixture.scope == "function" else f"fixture {fixture.baseid}:{fixture.argname}"

    class Contexts:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            for item in session.items:
                if isinstance(item, pytest.Function):
                    for fixtures in item._fixtureinfo.name2fixturedefs.values():
                        for fixture in fixtures:
                            users[shared(fixture)].add(item.nodeid)

        def pytest_runtest_logstart(self, nodeid: str) -> None:
            measured.switch_context(nodeid)

        @pytest.hookimpl(wrapper=True)
        def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Any:
            if name := shared(fixturedef):
                measured.switch_context(name)
            try:
                return (yield)
            finally:
                if name:
                    measured.switch_context(request._pyfuncitem.nodeid)

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            took[report.nodeid] = took.get(report.nodeid, 0.0) + report.duration
            if report.failed:
                failed.add(report.nodeid)

    measured.start()
    pytest.main([*modules, "-q", "-p", "no:cacheprovider", "-o", "addopts="], plugins=[Contexts()])
    measured.stop()
    data = measured.get_data()
    lines: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))  # by test or fixture, then by file
    for file in data.measured_files():
        for line, contexts in data.contexts_by_lineno(file).items():
            for context in contexts:
                lines[context][str(Path(file).relative_to(ROOT))].append(line)
    (WORK / "covered").mkdir(parents=True, exist_ok=True)
    for module in modules:
        found: dict[str, dict[str, Any]] = {}
        for test in took.keys() - failed:
            if test.partition("::")[0] == module:
                runs = [context for context, who in users.items() if context and test in who] + [test]
                found[test] = {"took": took[test], "lines": [lines[each] for each in runs if each in lines]}
        ran = sorted({file for facts in found.values() for each in facts["lines"] for file in each})
        place = _place(module)
        beside = place.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps({"engine": {file: _digest(file) for file in ran}, "tests": found}), "utf-8")
        beside.rename(place)


if __name__ == "__main__":
    cover(sys.argv[1:])
