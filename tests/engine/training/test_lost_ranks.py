"""What is said when a rank is gone, and when none is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest
import torch

from engine.training import ranks
from engine.training.ranks import ORDERED, LostRankError, Member, Ranks

HERE = socket.gethostname()


class Store:
    """Stands for the group's own."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.kept[key] = value

    def check(self, keys: list[str]) -> bool:
        return all(key in self.kept for key in keys)

    def get(self, key: str) -> bytes:
        return self.kept[key].encode()


@pytest.fixture
def dead() -> int:
    """A process that was there a moment ago."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return child.pid


def group(*members: Member, store: Any = None) -> Ranks:
    made = Ranks(0, len(members), store=store)
    made.members = list(members)
    return made


def test_what_became_of_a_rank(dead: int) -> None:
    store = Store()
    us, gone = Member(0, os.getpid(), HERE, "cpu"), Member(1, dead, HERE, "cpu")
    far, alive = Member(2, dead, "another machine", "cpu"), Member(3, os.getpid(), HERE, "cpu")
    made = group(us, gone, far, alive, store=store)
    assert made._end_of(us) == made._end_of(far) == made._end_of(alive) == ""
    assert made._end_of(gone) == f"rank 1 (process {dead} on {HERE}) has died"
    Ranks(2, 4, store=store).say_the_end("the disk is full")
    assert made._end_of(far) == f"rank 2 (process {dead} on another machine) ended: the disk is full"
    Ranks(2, 4).say_the_end("nobody keeps it")
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert made._end_of(Member(3, child.pid, HERE, "cpu")).endswith("has died"), "it waits for its parent"
    child.wait()


def test_only_what_tells_of_a_connection_or_a_death_is_a_lost_rank(monkeypatch: pytest.MonkeyPatch, dead: int) -> None:
    monkeypatch.setattr(ranks, "LOOK_SECONDS", 0.0)
    us, other = Member(0, os.getpid(), HERE, "cpu"), Member(1, os.getpid(), HERE, "cpu")
    made = group(us, other)
    plain = RuntimeError("shapes do not fit")
    assert made._lost(plain) is plain
    for said in ("Connection reset by peer", "gloo: rank 1", "Timed out", "lost connection"):
        found = made._lost(RuntimeError(f"[1] {said}\nwith more"))
        assert isinstance(found, LostRankError) and str(found) == f"a rank does not answer any more: [1] {said}"
    found = group(us, Member(1, dead, HERE, "cpu"))._lost(plain)
    assert isinstance(found, LostRankError) and "has died" in str(found)
    assert group(Member(0, dead, HERE, "cpu"), other)._lost(plain) is plain, "this one is here"


def test_who_is_alone_loses_nobody() -> None:
    for error in (RuntimeError("gloo"), torch.OutOfMemoryError("gloo")):
        with pytest.raises(type(error), match="gloo"), Ranks().exchange():
            raise error


def test_so_many_numbers_go_with_an_order() -> None:
    """Ranks of one version read what rank 0 sends: a name, and the numbers that belong to it."""
    alone = ("end", "idle", "evaluate", "put", "load", "weights", "save", "settle")
    assert {**dict.fromkeys(alone, 0), "step": 3, "which": 1, "compile": 1} == ORDERED
    assert max(ORDERED.values()) < ranks.NUMBERS
