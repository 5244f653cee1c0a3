"""The table of runs: its order, its filter, its marks, and a cursor that is a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tui.state.runstable import MOST_MARKED, SORTS, RunsTable, as_tree, follow, in_order


def facts(name: str, state: str = "finished", parent: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "path": f"/runs/{name}", "state": state, "created": 0.0, "corpus": "notes", "preset": "nano",
        "parent": None if parent is None else {"run": parent}, **{key: None for key, _ in SORTS.values() if key not in
        ("created", "name", "corpus", "preset")}, **more,
    }  # fmt: skip


def names(table: RunsTable) -> list[str]:
    return [line.facts["name"] for line in table.lines]


@given(
    st.permutations(list("abcdef")),
    st.permutations(list("abcdef")),
    st.sampled_from("abcdef"),
    st.sets(st.sampled_from("abcdef")),
)
def test_the_cursor_follows_its_run_or_goes_to_a_neighbour(
    before: list[str], mixed: list[str], cursor: str, gone: set[str]
) -> None:
    after = [path for path in mixed if path not in gone]
    place = follow(before, cursor, after)
    at = before.index(cursor)
    if cursor in after:
        assert place == cursor
    elif after:
        below = [path for path in before[at:] if path in after]
        assert place == (below or [path for path in before[:at] if path in after][-1:])[0]
    else:
        assert place == ""
    assert follow([], "", after) == (after[0] if after else "")


runs = st.lists(
    st.tuples(st.sampled_from(["running", "paused", "finished", "failed"]), st.none() | st.floats(0, 9)), max_size=12
)


@given(runs, st.sampled_from(["val", "params", "when"]), st.booleans())
def test_live_runs_come_first_and_what_has_no_value_last(
    found: list[tuple[str, float | None]], sort: str, backwards: bool
) -> None:
    key = SORTS[sort][0]
    given_facts = [facts(f"r{i}", state, **{key: value}) for i, (state, value) in enumerate(found)]
    given_facts = (
        [{**each, "created": each["created"] or 0.0} for each in given_facts] if sort == "when" else given_facts
    )
    ordered = in_order(given_facts, sort, backwards)
    assert sorted(each["name"] for each in ordered) == sorted(each["name"] for each in given_facts)
    live = [each["state"] in ("running", "paused") for each in ordered]
    assert live == sorted(live, reverse=True)
    for group in (True, False):
        values = [each[key] for each, is_live in zip(ordered, live, strict=True) if is_live is group]
        known = [value for value in values if value is not None]
        assert values == known + [None] * (len(values) - len(known))
        assert known == sorted(known, reverse=SORTS[sort][1] != backwards)


def test_the_filter_holds_while_it_is_wrong_and_the_cursor_stays(tmp_path: Path) -> None:
    table = RunsTable()
    table.take([facts("soap-1", last_val_loss=1.2), facts("soap-2", last_val_loss=1.9), facts("word", "running")])
    table.go(names(table).index("soap-2"))
    table.filter("soap")
    assert sorted(names(table)) == ["soap-1", "soap-2"] and table.chosen is not None
    assert table.chosen["name"] == "soap-2"
    table.filter("soap val<")
    assert "val" in table.wrong and sorted(names(table)) == ["soap-1", "soap-2"]
    table.filter("soap val<1.5")
    assert table.wrong == "" and names(table) == ["soap-1"] and table.chosen["name"] == "soap-1"
    table.filter("")
    assert len(table.lines) == 3 and table.chosen["name"] == "soap-1"
    table.filter("nothing like it")
    assert table.lines == [] and table.chosen is None and table.run is None and "no run" in table.mark()


@given(
    st.permutations(list("abcdef")),
    st.lists(st.integers(1, 5), max_size=3),
    st.sampled_from(["", *"abcdef"]),
    st.none() | st.tuples(st.integers(0, 3), st.integers(0, 5)),
)
def test_a_list_that_comes_in_parts_is_in_the_end_as_if_it_had_come_at_once(
    order: list[str], ends: list[int], last: str, moved: tuple[int, int] | None
) -> None:
    """Unless somebody moved the cursor before all was there: then it stays on that run."""
    found = [facts(name) for name in order]
    whole = RunsTable(last=f"/runs/{last}")
    whole.take(found)
    table, chosen, marked = RunsTable(last=f"/runs/{last}"), "", "/runs/e"
    table.marked.append(marked)  # before the runs are read anew
    for number, end in enumerate([*sorted(set(ends)), len(found)]):
        table.take(found[:end], left=len(found) - end)
        if moved is not None and moved[0] == number:
            table.go(moved[1])
            chosen = table.cursor
        assert table.cursor in [line.path for line in table.lines] and marked in table.marked
    assert [line.path for line in table.lines] == [line.path for line in whole.lines]
    assert table.cursor == (chosen or whole.cursor)
    table.take(found[:2])
    assert table.marked == [marked] * ("e" in order[:2])


def test_marks_are_runs_and_there_are_so_many_and_no_more() -> None:
    table = RunsTable()
    table.take([facts(f"r{number}") for number in range(MOST_MARKED + 1)])
    for index in range(MOST_MARKED):
        table.go(index)
        assert table.mark() == ""
    table.go(MOST_MARKED)
    assert str(MOST_MARKED) in table.mark() and len(table.marked) == MOST_MARKED
    first = table.marked[0]
    table.take([each for each in table.facts or [] if each["path"] != first])
    assert first not in table.marked and len(table.marked) == MOST_MARKED - 1  # what is gone is marked no more
    table.go(table.lines.index(next(line for line in table.lines if line.path == table.marked[0])))
    assert table.mark() == "" and len(table.marked) == MOST_MARKED - 2


def test_forks_hang_below_their_parents() -> None:
    found = [facts("a"), facts("b", parent="a"), facts("c", parent="b"), facts("d", parent="a"), facts("e", parent="?")]
    drawn = [(line.branch, line.facts["name"]) for line in as_tree(found)]
    assert drawn == [("", "a"), ("├ ", "b"), ("│ └ ", "c"), ("└ ", "d"), ("", "e")]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.sampled_from("abcdefg")), unique_by=lambda t: t[0]))
def test_whatever_parents_are_claimed_every_run_is_shown_once(claims: list[tuple[str, str | None]]) -> None:
    lines = as_tree([facts(name, parent=parent) for name, parent in claims])
    assert sorted(line.facts["name"] for line in lines) == sorted(name for name, _ in claims)
