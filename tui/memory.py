"""Memory that threads freed is used again by the others, or given back; what lives for ever is not looked through."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

M_ARENA_MAX = -8
"""glibc's number for the greatest count of arenas."""
ARENAS = 2
GIVEN_BACK_SECONDS = 120.0
"""Between two times that free pages are given back: in an hour they came to 12 MB, half of what the program grew by."""

FEW = 100
"""Modules that are not worth a look."""
_seen = _kept = 0


def keep_imports() -> None:
    """Have no collection of garbage look through what imports made, once they have come to rest: it lives on anyway.

    To be called now and then. What PyTorch and Textual bring are some 100,000 objects and more, and a collection that
    looked through them held each key and each step up for 40 to 80 ms on a slow machine; without them it is 10 to 30.
    """
    global _seen, _kept
    before, _seen = _seen, len(sys.modules)
    if _seen == before and _seen - _kept >= FEW:
        gc.freeze()
        _kept = _seen


def few_arenas() -> None:
    """Have glibc's allocator keep `ARENAS` stores for all threads, where the user has not said how many.

    With its own eight for each core, 60 to 90 MB lay free in them after some minutes of training, samples, prompts and
    looking around (`bench.soak`); with two, 24. Elsewhere than on glibc nothing happens.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give whole pages that lie free in glibc's stores back to the system. Elsewhere nothing happens."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
