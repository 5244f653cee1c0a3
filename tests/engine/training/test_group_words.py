"""What the ranks of a group say to each other, and how they come together; by hand, without a network."""

from __future__ import annotations

import os
import socket
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist

from engine import process
from engine.errors import ConfigError
from engine.training import ranks
from engine.training.ranks import ALONE, ORDERED, SILENCE, LostRankError, Member, Ranks

from .hands import Hands

HERE = socket.gethostname()


# -- talking -----------------------------------------------------------------------------------------------------------


def test_an_order_comes_with_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = [(what, [7.5 + number for number in range(count)]) for what, count in ORDERED.items()]

    def do(here: Ranks) -> list[tuple[str, list[float]]]:
        if here.leads:
            for what, numbers in orders:
                here.tell(what, *numbers)
            return orders
        return [here.hear() for _ in orders]

    assert Hands(3, monkeypatch).run(do) == [orders] * 3


def test_what_rank_0_gives_is_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    things: list[Any] = [{"a": [1, None]}, "", b"", (1.5, 3), "x" * 70_000]

    def do(here: Ranks) -> list[Any]:
        return [here.share(thing if here.leads else f"of {here.rank}") for thing in things]

    assert Hands(2, monkeypatch).run(do) == [things] * 2


def test_what_each_gives_is_told_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def do(here: Ranks) -> Any:
        tensor = torch.tensor([here.rank, 5])
        here.broadcast(tensor)
        here.introduce(f"cuda:{here.rank}")
        third = 1 / 3 + here.rank  # which float32 has not
        return tensor.tolist(), here.collect(f"of {here.rank}"), here.gather((here.rank, third)), here.members

    told = Hands(3, monkeypatch).run(do)
    members = [Member(rank, os.getpid(), HERE, f"cuda:{rank}") for rank in range(3)]
    assert told == [([0, 5], ["of 0", "of 1", "of 2"], [[rank, 1 / 3 + rank] for rank in range(3)], members)] * 3


def test_who_is_alone_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("broadcast", "all_gather", "all_gather_object", "destroy_process_group"):
        monkeypatch.delattr(dist, name)
    tensor = torch.tensor([1.0])
    ALONE.broadcast(tensor), ALONE.introduce("cpu"), ALONE.leave()
    assert tensor.tolist() == [1.0] and ALONE.members == [] and ALONE.collect("it") == ["it"]
    assert (ALONE.rank, ALONE.size, ALONE.local, ALONE.leads, ALONE.alone) == (0, 1, 0, True, True)
    assert (Ranks(1, 2).leads, Ranks(1, 2).alone, Ranks(0, 2).leads) == (False, False, True)


@pytest.mark.parametrize("fails", [False, True])
def test_who_leaves_minds_nobody(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    left: list[bool] = []

    def destroy() -> None:
        left.append(True)
        if fails:
            raise RuntimeError("the others are gone")

    monkeypatch.setattr(dist, "destroy_process_group", destroy)
    Ranks(0, 2).leave()
    assert left == [True]


# -- joining -----------------------------------------------------------------------------------------------------------


def joining(monkeypatch: pytest.MonkeyPatch, gpus: int, error: Exception | None = None) -> dict[str, Any]:
    """What a group is made with, of rank 2 of 5."""
    made: dict[str, Any] = {}

    def meets(url: str, timeout: Any) -> Any:
        assert (url, timeout) == ("env://", SILENCE)
        if error is not None:
            raise error
        return iter([("store", 2, 5)])

    def group(backend: str, **how: Any) -> None:
        made.update(how, backend=backend)

    monkeypatch.setattr(process, "rank", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(sys.modules["torch.distributed.rendezvous"], "rendezvous", meets)
    monkeypatch.setattr(dist, "init_process_group", group)
    monkeypatch.setattr(dist, "PrefixStore", lambda prefix, store: f"{prefix} of {store}")
    for name in ("LOCAL_RANK", "GROUP_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.mark.parametrize(
    ("gpus", "env", "local", "store"),
    [
        (0, {}, 0, "store"),
        (0, {"LOCAL_RANK": "3"}, 3, "store"),
        (2, {"LOCAL_RANK": "3"}, 3, "store"),
        (0, {"GROUP_WORLD_SIZE": "1"}, 0, "attempt 0 of store"),
        (0, {"GROUP_WORLD_SIZE": "1", "TORCHELASTIC_RESTART_COUNT": "4"}, 0, "attempt 4 of store"),
        (0, {"GROUP_WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "4"}, 0, "store"),
        (0, {"GROUP_WORLD_SIZE": "0"}, 0, "store"),
    ],
)
def test_a_group_is_joined_as_its_launcher_says(
    monkeypatch: pytest.MonkeyPatch, gpus: int, env: dict[str, str], local: int, store: str
) -> None:
    made = joining(monkeypatch, gpus)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    joined = Ranks.join()
    assert (joined.rank, joined.size, joined.local, joined._store) == (2, 5, local, store)
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    expected = {"backend": backend, "store": store, "rank": 2, "world_size": 5, "timeout": SILENCE}
    assert made == expected
    assert SILENCE.total_seconds() == 1800


@pytest.mark.parametrize("error", [RuntimeError("no\nroom"), ValueError("no\nroom"), KeyError("a bug")])
def test_who_does_not_come_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    joining(monkeypatch, 0, error)
    expected = KeyError if isinstance(error, KeyError) else LostRankError
    with pytest.raises(expected) as told:
        Ranks.join()
    if expected is LostRankError:
        assert str(told.value) == "the ranks did not come together: no"


def test_who_was_started_alone_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "rank", lambda: None)
    assert Ranks.join() is ALONE


@pytest.mark.parametrize(
    ("wanted", "gpus", "local", "size", "found"),
    [
        ("auto", 2, 1, 2, "cuda:1"),
        ("cuda", 2, 0, 2, "cuda:0"),
        ("cpu", 2, 1, 2, "cpu"),
        ("auto", 0, 1, 2, "auto"),
        ("cuda:1", 2, 0, 1, "cuda:1"),
        ("cuda:1", 2, 0, 2, "2 processes cannot train on one cuda:1; use --device cuda, a GPU for each"),
        ("auto", 2, 2, 3, "there are 2 GPUs here; start so many processes (--nproc 2), not more"),
    ],
)
def test_each_rank_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, wanted: str, gpus: int, local: int, size: int, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    here = Ranks(local, size, local)
    if ";" not in found:
        assert here.device_name(wanted) == found
    else:
        with pytest.raises(ConfigError) as told:
            here.device_name(wanted)
        assert str(told.value) == found


# -- when one is lost --------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; time goes on by them alone."""
    pauses: list[float] = []
    monkeypatch.setattr(ranks, "time", SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append))
    return pauses


def pair() -> Ranks:
    made = Ranks(0, 2)
    made.members = [Member(0, 1, HERE, "cpu"), Member(1, 2, HERE, "cpu")]
    return made


def test_for_three_seconds_it_is_looked_for_who_died(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process is gone a moment after its connections are."""
    monkeypatch.setattr(Ranks, "_end_of", lambda self, member: "it has died" if sum(clock) > 2.9 else "")
    with pytest.raises(LostRankError, match=r"^it has died$"), pair().exchange():
        raise RuntimeError("Connection reset by peer")
    assert set(clock) == {0.05} and sum(clock) == pytest.approx(2.95)
    clock.clear()
    monkeypatch.setattr(Ranks, "_end_of", lambda self, member: "it has died" if sum(clock) > 3.1 else "")
    with pytest.raises(LostRankError, match="a rank does not answer any more: Connection reset"), pair().exchange():
        raise RuntimeError("Connection reset by peer")
    assert 3.0 <= sum(clock) < 3.1


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (dist.DistBackendError("ncclSystemError: 2"), True),
        (dist.DistNetworkError("unreachable"), True),
        (RuntimeError("shapes do not fit"), False),
        (NotImplementedError("gloo has no such thing"), False),
        (torch.OutOfMemoryError("gloo is out of memory"), False),
        (ValueError("gloo"), False),
    ],
)
def test_what_is_no_lost_connection_is_told_as_it_is(clock: list[float], error: Exception, lost: bool) -> None:
    here = pair()
    here.members = []
    with pytest.raises(LostRankError if lost else type(error)) as told, here.exchange():
        raise error
    assert (told.value is error) is not lost
    with here.exchange():
        pass


@pytest.mark.parametrize("status", [psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD, psutil.STATUS_SLEEPING])
def test_a_process_that_waits_to_be_buried_has_died(monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """Also where the group's store, which rank 0 has, is gone with it."""
    fake = SimpleNamespace(**vars(psutil) | {"Process": lambda pid: SimpleNamespace(status=lambda: status)})
    monkeypatch.setattr(ranks, "psutil", fake)
    here = Ranks(0, 2, store=SimpleNamespace())
    told = here._end_of(Member(1, 77, HERE, "cpu"))
    assert told == ("" if status == psutil.STATUS_SLEEPING else f"rank 1 (process 77 on {HERE}) has died")
