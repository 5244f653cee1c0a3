"""What the screen asks for comes back in its own thread, the newest question counts, and nothing that fails ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import RunError
from tui.state.worker import LEFT_BEHIND, Ticket, Worker, nothing


@pytest.fixture
def complaints() -> list[str]:
    return []


@pytest.fixture
def worker(complaints: list[str]) -> Iterator[Worker]:
    made = Worker("test", complaints.append)
    yield made
    made.end()


def deliver(worker: Worker, done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "it did not come"
        worker.deliver()
        time.sleep(0.001)


def test_work_is_done_elsewhere_and_told_here(worker: Worker) -> None:
    told: list[tuple[int, int]] = []
    worker.ask("a", lambda _: threading.get_ident(), lambda there: told.append((there, threading.get_ident())))
    deliver(worker, lambda: bool(told))
    assert told[0][0] != told[0][1] == threading.get_ident()
    assert not worker.asked("a")


def test_the_newest_question_counts(worker: Worker) -> None:
    begun, go, told = threading.Event(), threading.Event(), list[str]()

    def slow(ticket: Ticket) -> str:
        begun.set()
        go.wait(60)
        return "old, cancelled" if ticket.cancelled else "old"

    worker.ask("a", slow, told.append)
    assert begun.wait(60)
    worker.ask("other", lambda _: "waits its turn", lambda _: None)
    worker.ask("a", lambda _: "never begun", told.append)
    worker.ask("a", lambda _: "new", told.append)
    worker.ask("b", lambda _: "other", told.append)
    go.set()
    deliver(worker, lambda: len(told) == 2)
    assert told == ["new", "other"]


def test_what_failed_is_told_in_a_line_and_the_next_is_done(worker: Worker, complaints: list[str]) -> None:
    told: list[str] = []

    def broken(_: Ticket) -> str:
        raise RunError("no such run; runs list shows them")

    def bug(_: Ticket) -> str:
        raise ZeroDivisionError("one\ntwo")

    worker.ask("a", broken, told.append)
    worker.ask("b", bug, told.append, failed=lambda said: told.append(f"b: {said}"))
    worker.ask("c", lambda _: "c", told.append)
    deliver(worker, lambda: "c" in told)
    assert complaints == ["no such run; runs list shows them"]
    assert told[0].startswith("b: this is a bug: ZeroDivisionError: one two") and told[1:] == ["c"]


def test_what_is_looked_at_again_and_again_says_only_what_is_new(worker: Worker) -> None:
    looks, told = list[int](), list[int]()

    def look(_: Ticket) -> int | None:
        looks.append(len(looks))
        return len(looks) if len(looks) % 3 == 0 else None

    worker.ask("a", look, told.append, every=0.001)
    deliver(worker, lambda: len(told) >= 2)
    worker.drop("a")
    seen = list(told)
    count = len(looks)
    time.sleep(0.02)
    worker.deliver()
    assert told == seen and len(looks) <= count + 1
    assert all(number % 3 == 0 for number in told)


def test_of_what_is_published_on_the_way_the_newest_is_shown(worker: Worker) -> None:
    published, go, told = threading.Event(), threading.Event(), list[int]()

    def count(ticket: Ticket) -> int:
        for number in range(100):
            ticket.publish(number)
        published.set()
        go.wait(60)
        return 100

    worker.ask("a", count, told.append)
    assert published.wait(60)
    worker.deliver()
    assert told == [99]
    go.set()
    deliver(worker, lambda: told == [99, 100])


def test_what_nobody_wants_any_more_and_does_not_end_keeps_nothing_waiting(worker: Worker) -> None:
    go, begun, told = threading.Event(), threading.Semaphore(0), list[int]()

    def stuck(_: Ticket) -> int:
        begun.release()
        go.wait(60)
        return -1

    for _ in range(LEFT_BEHIND):
        worker.ask("run", stuck, told.append)
        assert begun.acquire(timeout=60)
    worker.ask("run", lambda _: 1, told.append)
    deliver(worker, lambda: told == [1])
    worker.ask("run", stuck, told.append)
    assert begun.acquire(timeout=60)
    worker.ask("run", lambda _: 2, told.append)
    assert not worker.deliver()  # so many threads and no more
    go.set()
    deliver(worker, lambda: told == [1, 2])


def test_nothing_is_new_when_what_nobody_waits_for_is_done(worker: Worker) -> None:
    woken = threading.Event()
    worker.wake = woken.set
    worker.ask("a", lambda _: 1, nothing)
    assert woken.wait(60) and not worker.deliver() and not worker.asked("a")


def test_it_wakes_who_waits_and_ends(worker: Worker) -> None:
    woken = threading.Event()
    worker.wake = woken.set
    worker.ask("a", lambda _: 1, lambda _: None)
    assert woken.wait(60)
    worker.end()
    worker.ask("b", lambda _: 1, lambda _: pytest.fail("ended"))
    assert not worker.deliver()


@settings(max_examples=30)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30))
def test_however_often_is_asked_each_key_is_told_its_last_answer(keys: list[str]) -> None:
    worker = Worker("test", lambda said: pytest.fail(said))
    told: dict[str, list[int]] = {}
    for number, key in enumerate(keys):
        worker.ask(key, lambda _, n=number: n, lambda n, k=key: told.setdefault(k, []).append(n))  # type: ignore[misc]
    last = {key: number for number, key in enumerate(keys)}
    deliver(worker, lambda: {key: found[-1] for key, found in told.items()} == last)
    assert all(found == sorted(found) for found in told.values())
    worker.end()
