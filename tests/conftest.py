"""For every test: one thread a process, and no hurry, for the machine is shared by the tests themselves.

What a test process does over and over for nothing is done once: garbage is looked for seldom, and not among what was
loaded; style sheets are parsed once for all workbenches; folders are numbered without looking at all there are.
"""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest import tmpdir
from _pytest.assertion import rewrite
from hypothesis import HealthCheck, settings

from . import forked
from .idle import idle

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is loaded
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="tinytui-state-")  # a bug made on purpose is nobody's own

# a test run begun in the background of a script has these ignored, and so would every program that a test starts
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# under load an example may take any time, which is no defect; a test that uses one folder for all examples says so
UNHURRIED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
# a landing is judged by examples that are the same each time; every run by hand looks for new ones
ALWAYS_ALIKE = os.environ.get("CI") == "true"
WHOLE = os.environ.get("FAULTS") == "whole"
"""Whether each property is tried on all its examples, as `make faults` does, or on a part of them."""
PART = 3
settings.register_profile("unhurried", deadline=None, derandomize=ALWAYS_ALIKE, suppress_health_check=UNHURRIED)
settings.load_profile("unhurried")


def pytest_configure(config: pytest.Config) -> None:
    """Each of several test processes rewrites a part of the tests' assertions, and finds the other parts rewritten.

    That takes two thirds of the time in which a fresh checkout's tests are collected, and each would rewrite them all.
    """
    worker = getattr(config, "workerinput", None)
    if worker is None or sys.dont_write_bytecode:
        return
    files = sorted(path for path in Path(__file__).parent.rglob("*.py") if path.name.startswith(("test_", "conftest")))
    for path in files[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        kept = rewrite.get_cache_dir(path) / (path.stem + rewrite.PYC_TAIL)
        if rewrite._read_pyc(path, kept) is None:
            stat, code = rewrite._rewrite_test(path, config)
            kept.parent.mkdir(exist_ok=True)
            rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, stat, kept)


_numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)


def numbered_folder(root: Path, prefix: str, mode: int) -> Path:
    """A new folder of a test process' own; pytest reads all that there are each time, to find the next number."""
    for number in _numbers[prefix]:
        with suppress(FileExistsError):
            folder = root / f"{prefix}{number}"
            folder.mkdir(mode)
            return folder
    raise AssertionError


tmpdir.make_numbered_dir = numbered_folder


TOGETHER = tuple(
    f"{name}.py"
    for name in (
        *("interop/test_exports", "interop/test_imports", "interop/test_tokenizers", "faults/test_imports"),
        *("sampling/test_beam", "sampling/test_sampling_rules", "training/test_imported"),
        *("training/test_compile", "training/test_answers_only", "training/test_ranks", "training/test_waits"),
    )
)
"""Files whose tests load transformers, or torch's compiler, or need a group: seconds of work, once a test process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that are to be together come first, and so all to one of several test processes, which each begin at a
    place of their own and take from the others' end.

    Of each property one of PART examples is tried, at least ten, unless all of them are asked for.
    """
    items.sort(key=lambda item: not str(item.path).endswith(TOGETHER))
    found = [item.obj for item in items if isinstance(item, pytest.Function)]
    properties = {each for each in found if getattr(each, "is_hypothesis_test", False)}
    for each in () if WHOLE else properties:
        own = getattr(each, "_hypothesis_internal_use_settings", None) or settings()
        fewer = min(own.max_examples, max(10, own.max_examples // PART))
        each._hypothesis_internal_use_settings = settings(own, max_examples=fewer)


def pytest_collection_finish(session: pytest.Session) -> None:
    """All modules are loaded now; as Python does it, all of them are looked through for each workbench's garbage."""
    forked.serve()
    if sheet := sys.modules.get("textual.css.stylesheet"):
        parse_once(sheet)
    for name in ("textual.app", "textual.pilot"):
        if module := sys.modules.get(name):
            module.wait_for_idle = idle  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def parse_once(sheet: Any) -> None:
    """Rules are not changed once they are parsed: Textual keeps them too, for one app."""
    parse, known = sheet.Stylesheet._parse_rules, dict[object, object]()

    def parsed(self: Any, *source: object, **more: object) -> object:
        key = (source, tuple(more.items()), frozenset(self._variables.items()))
        if key not in known:
            known[key] = parse(self, *source, **more)
        return known[key]

    sheet.Stylesheet._parse_rules = parsed
