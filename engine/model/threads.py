"""How many threads a computation takes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """What this thread computes inside, it computes alone; other threads go on with as many as they have.

    For small work beside training: a thread that helps with it may wait a hundred times as long for a core as the work
    takes. `torch.set_num_threads` is for the whole process. Where OpenMP cannot be told, nothing changes.
    """
    tell = _openmp()
    before = torch.get_num_threads()  # of this thread; asked first, or torch would set it anew
    if tell is None or before == 1:
        yield
        return
    tell(1)
    try:
        yield
    finally:
        tell(before)


@cache
def _openmp() -> Callable[[int], object] | None:
    """OpenMP's `omp_set_num_threads`, which is for the calling thread."""
    try:
        tell = ctypes.CDLL(None).omp_set_num_threads
    except (AttributeError, OSError, TypeError):
        return None
    tell.argtypes, tell.restype = [ctypes.c_int], None
    return lambda n: tell(n)
