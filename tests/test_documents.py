"""What README and docs name is there: files, tests, settings, commands and their options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from engine.config import SECTIONS
from tui.cli.app import make_app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "corpora" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OLD = {"engine/model/kernels.py"}
"""What a document tells the end of."""


@pytest.fixture(scope="module")
def there() -> list[str]:
    """All files of the project."""
    rooms = ("engine", "tui", "bench", "tests", "corpora", "docs")
    return [str(path.relative_to(ROOT)) for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_files_and_links_are_there(document: Path, there: list[str]) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (document.parent / link).exists()]
    named = re.findall(r"`([\w./-]+\.py)(?:::(\w+))?`", text)
    found = {name: [each for each in there if f"/{each}".endswith(f"/{name}")] for name, _ in named}
    lost = [name for name, at in found.items() if not at and name not in OLD]
    tests = [
        test for name, test in named if test and not any(f"def {test}" in (ROOT / at).read_text() for at in found[name])
    ]
    modules = [f"bench/{name}.py" for name in re.findall(r"python -m bench\.(\w+)", text)]
    assert (links, lost, tests, [name for name in modules if name not in there]) == ([], [], [], [])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_settings_are_there(document: Path) -> None:
    named = re.findall(r"(?:`|--set )(model|data|train)\.([a-z][a-z0-9_]*)(?=[`=\s])", document.read_text())
    assert [name for section, name in named if name not in SECTIONS[section].model_fields | {"md": None}] == []


def command(program: Any, words: list[str]) -> tuple[list[str], set[str]]:
    """The commands that these words name, and the options they have together."""
    each = program
    path: list[str] = []
    options = {"--help", "-h"}
    while True:
        options |= {name for given in each.params for name in given.opts}
        if not words or words[0] not in getattr(each, "commands", {}):
            return path, options
        each = each.commands[words[0]]
        path.append(words.pop(0))


def test_commands_and_options_are_there() -> None:
    wrong, program = [], typer.main.get_command(make_app())
    for document in DOCUMENTS:
        for line in re.findall(r"(?:^|`)tinytui ([a-z][^`\n#|·]*)", document.read_text(), re.M):
            path, options = command(program, re.sub(r"--runs \S+ ", "", line).split())
            given = re.findall(r"(?<!\S)(--?[a-z][a-z0-9-]*)", line)
            if not path or not options.issuperset(given):
                wrong.append(f"{document.name}: {line}")
    assert wrong == []
