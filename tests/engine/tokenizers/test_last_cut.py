"""Where a text may be cut for the last time, however far from its end."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.tokenizers.cutting import CUT, _last_cut


@given(st.text(st.sampled_from("ab \n\t"), max_size=40))
@example("")
@example("ab")
@example("a b")
def test_it_is_the_last_of_all(text: str) -> None:
    assert _last_cut(text) == max((found.start() for found in CUT.finditer(text)), default=-1)


@pytest.mark.parametrize("after", [0, 1, 1021, 1022, 1023, 1024, 65534, 65535, 65536, 70000])
def test_it_is_found_at_any_distance(after: int) -> None:
    assert _last_cut("a b c " + "x" * after) == 5 and _last_cut("a " + "x" * after) == 1
