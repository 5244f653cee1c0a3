"""Counting: every test of this folder says a promise, tries to break it many times, and counts how often it did.

    def test_kills(campaign):
        promise = campaign("a kill -9 at any moment loses nothing that was saved", quick=4, whole=200)
        for number in promise:
            with promise.trial(f"kill {number}"):
                ...

`make test` runs the quick numbers, `make faults` the whole ones (FAULTS=whole), each drawn from the same seeds, and
writes what came of it into docs/reliability.md (see report.py).
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WHOLE = os.environ.get("FAULTS") == "whole"
PART, PARTS = (int(number) for number in os.environ.get("FAULTS_PART", "1/1").split("/"))
"""Of the tries there are to be only those of one part: several processes share a long campaign."""
FROM = int(os.environ.get("FAULTS_FROM", "0"))
"""The first try's number: a campaign that ended early goes on another time, and `report.py` adds up."""
SECONDS = float(os.environ.get("FAULTS_SECONDS", "inf"))
"""After which a campaign begins no further try; it is recorded with those that it made."""
REPORT = os.environ.get("FAULTS_REPORT")
"""File that a line of JSON is appended to for each campaign."""


class Campaign:
    """Tries at one promise, counted. Iterating gives the numbers 0, 1, ... of the tries there are to be."""

    def __init__(self, promise: str, quick: int, whole: int, test: str) -> None:
        self.promise, self.test = promise, test
        self.planned = whole if WHOLE else quick
        self.tries, self.failures = 0, list[str]()
        self.began = time.monotonic()

    def __iter__(self) -> Iterator[int]:
        for number in range(FROM + PART - 1, self.planned, PARTS):
            if time.monotonic() - self.began > SECONDS:
                return
            yield number

    @contextmanager
    def trial(self, what: str) -> Iterator[None]:
        """One try; an exception in it is a failure, noted under `what`, and the next try goes on."""
        self.tries += 1
        try:
            yield
        except (KeyboardInterrupt, pytest.skip.Exception):
            raise
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(str(error).split())[:400]
            self.failures.append(f"{what}: {type(error).__name__}: {said} ({Path(where.filename).name}:{where.lineno})")

    def end(self) -> None:
        if REPORT:
            row = {"promise": self.promise, "tries": self.tries, "failures": len(self.failures), "test": self.test}
            row |= {"seconds": round(time.monotonic() - self.began), "first_failures": self.failures[:3]}
            with Path(REPORT).open("ab", buffering=0) as file:
                file.write(json.dumps(row).encode() + b"\n")
        shown = "\n".join(self.failures[:20])
        assert not self.failures, f"{self.promise}: {len(self.failures)} of {self.tries} failed\n{shown}"
        assert self.tries or self.planned < FROM + PART, f"{self.promise}: nothing was tried"


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Callable[..., Campaign]]:
    """Makes campaigns; at the end of the test each is recorded, and fails when any of its tries did."""
    made: list[Campaign] = []

    def make(promise: str, *, quick: int, whole: int) -> Campaign:
        made.append(Campaign(promise, quick, whole, request.node.nodeid))
        return made[-1]

    yield make
    for one in made:
        one.end()
