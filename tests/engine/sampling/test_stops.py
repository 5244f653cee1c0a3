from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sampling.generate import StopFilter


def through(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    stop = StopFilter(stops)
    out = "".join(stop.push(piece) for piece in pieces)
    return out + stop.flush(), stop.stopped


LETTERS = st.text("ab\n", max_size=12)


@given(st.lists(LETTERS, max_size=8), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
@settings(max_examples=400)
def test_the_result_does_not_depend_on_where_the_pieces_are_cut(pieces: list[str], stops: list[str]) -> None:
    text = "".join(pieces)
    # what it means, letter by letter: the first place at which some stop string is complete
    ends = [end for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)]
    longest = max((len(stop) for stop in stops if ends and text[: ends[0]].endswith(stop)), default=0)
    expected = (text[: ends[0] - longest], True) if ends else (text, False)
    assert through(pieces, stops) == expected
    assert through(list(text), stops) == expected
    assert through([text], stops) == expected


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    stop = StopFilter(["###"])
    assert stop.push("one #") == "one "
    assert stop.push("#") == ""
    assert stop.push("2") == "##2"
    assert stop.push("#" * 3 + "rest") == "" and stop.stopped
    assert stop.push("more") == "" and stop.flush() == ""


def test_without_stop_strings_text_goes_straight_through() -> None:
    stop = StopFilter()
    assert stop.push("any") == "any" and stop.flush() == ""
