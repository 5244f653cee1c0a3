"""Where a corpus runs along with a sample, neighbour by neighbour."""

from __future__ import annotations

import random

import numpy as np
import pytest

from engine.sampling import overlap


def expected(sample: bytes, corpus: bytes, width: int) -> list[tuple[int, int]]:
    known = {sample[at : at + width] for at in range(len(sample) - width + 1)}
    runs: list[tuple[int, int]] = []
    for at in range(len(corpus) - width + 1):
        if corpus[at : at + width] in known:
            if runs and runs[-1][1] == at + width - 1:
                runs[-1] = (runs[-1][0], at + width)
            else:
                runs.append((at, at + width))
    return runs


@pytest.mark.parametrize("width", overlap.WIDTHS)
def test_runs_are_whole_and_end_where_they_end(width: int) -> None:
    rng = random.Random(width)
    for size in (20, 60, 200):
        sample = bytes(rng.choices(b"abcdefgh", k=30))
        corpus = b"".join(
            sample[at : at + 12] if rng.random() < 0.6 else bytes(rng.choices(b"abcdefgh", k=6))
            for at in rng.choices(range(20), k=size // 8)
        )
        starts, ends = overlap._runs(sample, np.frombuffer(corpus, np.uint8), width)
        assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == expected(sample, corpus, width)
