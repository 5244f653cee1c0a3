"""Small changes of the engine, drawn by a seed; Cosmic Ray knows what can be changed, and makes the change."""

from __future__ import annotations

import ast
import difflib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("model", "training", "plan", "runs", "text", "tokenizers", "sampling", "control")


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


def draw(seed: int, wanted: int, only: Sequence[str] = ()) -> Iterator[Mutant]:
    """Different mutants: a file by its length, a place in it, one of the changes possible there.

    `only` names files or rooms, from `engine/`, where not all are meant; they must hold as many as are wanted.
    """
    rng = random.Random(seed)
    files = sorted(path for room in ROOMS for path in (ROOT / "engine" / room).glob("*.py"))
    if only:
        files = [path for path in files if any(path.relative_to(ROOT / "engine").is_relative_to(name) for name in only)]
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


IDENTITY = ("core/ReplaceComparisonOperator_Eq_Is", "core/ReplaceComparisonOperator_NotEq_IsNot")
"""What these find hangs on which constants Python keeps once."""

Span = tuple[tuple[int, int], tuple[int, int]]


def _places(path: Path) -> dict[Span, list[tuple[str, int]]]:
    """Where `path` can be changed, and by which operators; annotations and `zip`'s `strict`, which says what always
    holds, are let be."""
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.plugins import get_operator, operator_names

    untouched, asserted = set(_annotations(path)), set(_asserted(path))
    tree = get_ast_from_path(path)
    nodes = list(ast_nodes(tree))
    places: dict[Span, list[tuple[str, int]]] = defaultdict(list)
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments() or name in IDENTITY:
            continue
        operator, number = kind(), count()
        for node in nodes:
            for start, end in operator.mutation_positions(node):
                occurrence = next(number)
                if start[0] not in untouched and start not in asserted:
                    places[start, end].append((name, occurrence))
    return places


def _annotations(path: Path) -> Iterator[int]:
    """Lines of annotations (with `from __future__ import annotations` they are not run), overloads, TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        marked: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marked = [node.returns, *(arg.annotation for arg in ast.walk(node.args) if isinstance(arg, ast.arg))]
            if any(ast.unparse(each) == "overload" for each in node.decorator_list):
                marked += [node, *node.decorator_list]
        elif isinstance(node, ast.AnnAssign):
            marked = [node.annotation]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            marked = [node]
        for part in marked:
            if part is not None:
                yield from range(part.lineno, (part.end_lineno or part.lineno) + 1)


def _asserted(path: Path) -> Iterator[tuple[int, int]]:
    """Where `True` is said in `zip(..., strict=True)`: the parts are of one length, and this is how a reader knows."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
            for word in node.keywords:
                if word.arg == "strict":
                    line, column = word.value.lineno, word.value.col_offset
                    yield line, len(lines[line - 1].encode()[:column].decode())


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
