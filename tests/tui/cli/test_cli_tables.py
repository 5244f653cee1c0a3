"""Tables are printed as Rich prints them, without it where they fit."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tui.cli import output

CELLS = st.none() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["日本", "é"])


@given(st.data(), st.lists(st.sampled_from(["run", ">step", ">", "", "名前"]), min_size=1, max_size=4))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_that_fits_looks_as_rich_would_print_it(
    capsys: pytest.CaptureFixture[str], data: st.DataObject, columns: list[str]
) -> None:
    rows = data.draw(st.lists(st.tuples(*[CELLS] * len(columns)), max_size=4))
    output.print_table(columns, rows)
    plain = capsys.readouterr().out
    cells = [["–" if cell is None else output.one_line(str(cell)) for cell in row] for row in rows]
    output._print_wrapped(columns, cells, None)
    assert plain == capsys.readouterr().out
