from __future__ import annotations

import threading

import pytest
import torch

from engine.model import threads
from engine.model.threads import one_thread


def test_only_the_thread_that_asks_computes_alone() -> None:
    seen: dict[str, int] = {}
    inside, looked = threading.Event(), threading.Event()

    def alone() -> None:
        torch.set_num_threads(3)
        with one_thread():
            seen["alone"] = torch.get_num_threads()
            inside.set()
            looked.wait(30)
        seen["after"] = torch.get_num_threads()
        with pytest.raises(ZeroDivisionError), one_thread():
            raise ZeroDivisionError
        seen["after an error"] = torch.get_num_threads()

    def other() -> None:
        inside.wait(30)
        seen["other"] = torch.get_num_threads()  # one that computes for the first time meanwhile
        looked.set()

    before = torch.get_num_threads()
    pair = [threading.Thread(target=alone), threading.Thread(target=other)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    torch.set_num_threads(before)
    if threads._openmp() is None:
        pytest.skip("no OpenMP to be told")
    assert seen == {"alone": 1, "after": 3, "after an error": 3, "other": 3}


def test_without_openmp_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_openmp", lambda: None)
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == before
