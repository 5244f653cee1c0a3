"""The processes of a run, as the device pane shows them: one line for all, and each of them where there is room."""

from __future__ import annotations

from collections.abc import Sequence

from tui.state.estimate import fmt_step
from tui.state.several import Rank, Several
from tui.text import Part, clean, fit, fmt_bytes, width_of
from tui.widgets.rows import cut

GAP = 3
MARK = "! {:.1f}x slowest"
LEAST_HOST, MOST_HOST = 6, 16
LOST = "✖ lost"
HEADING = "a step's own work, memory, over the others'"


def ranks_line(several: Several, label: Part, width: int) -> list[Part]:
    """All in one line: `ranks 8 · ddp  140 to 151 ms  ! rank 5 1.4x slowest`; where it is narrow, what matters less is
    left out."""
    number, _, how = several.words.partition(" ranks")
    said, more = "", ""
    if (lost := several.lost) is not None:
        said = f"✖ rank {lost.rank} lost"
    elif (late := several.straggler) is not None:
        said, more = f"! rank {late.rank} {late.behind:.1f}x", " slowest"
    times = span([each.seconds for each in several.ranks])
    row: list[Part] = []
    for middle, end in (((how, times), more), ((how, times), ""), (("", times), ""), (("", ""), "")):
        row = [label, (number, "bright"), (middle[0], "foreground")]
        row += [(f"  {middle[1]}", "foreground")] if middle[1] else []
        row += [("  ", ""), (said + end, "alarm bold")] if said else []
        if width_of(row) <= width:
            break
    return cut(row, width)


def rank_rows(several: Several, width: int, height: int) -> list[list[Part]]:
    """Every rank in `height` rows, in columns where that helps; else a line for each host, else the lost one and those
    most behind."""
    if height < 2:
        return []
    first: list[Part] = [(several.words, "bright bold"), (f"  {HEADING}", "dim")]
    cells = _cells(several, several.ranks)
    rows = _columns(cells, width, height - 1)
    if rows is None and 1 < len(several.hosts) < len(several.ranks):
        cells = [_host_cell(several, host) for host in several.hosts]
        rows = _columns(cells, width, height - 1)
    if rows is None:
        slowest = sorted(several.ranks, key=lambda each: (each is not several.lost, -each.behind))
        many = max(1, _columns_in(cells, width)) * (height - 2)
        rows = _columns(_cells(several, slowest[:many]), width, height - 2) or []
        rows.append([(f"and {len(slowest) - many:,} more, none of them slower", "dim")])
    return [cut(row, width) for row in ([first, *rows])][:height]


def span(seconds: Sequence[float]) -> str:
    """`140 to 151 ms`."""
    least, most = fmt_step(min(seconds)), fmt_step(max(seconds))
    if least == most:
        return most
    same = least.partition(" ")[2] == most.partition(" ")[2]
    return f"{least.partition(' ')[0] if same else least} to {most}"


def _cells(several: Several, ranks: Sequence[Rank]) -> list[list[Part]]:
    """A cell for each, all of one width."""
    number = max(len(str(each.rank)) for each in several.ranks)
    hosts = [clean(each, keep_newlines=False) for each in several.hosts]
    host = min(MOST_HOST, max(LEAST_HOST, *(width_of([(each, "")]) for each in hosts))) if len(hosts) > 1 else 0
    device = max(width_of([(clean(each.device, keep_newlines=False), "")]) for each in several.ranks)
    found = []
    for each in ranks:
        late, lost = each is several.straggler, each is several.lost
        row: list[Part] = [(f"{each.rank:>{number}} ", "alarm bold" if late or lost else "bright")]
        row += [(fit(clean(each.host, keep_newlines=False), host) + " ", "foreground")] if host else []
        row.append((fit(clean(each.device, keep_newlines=False), device), "foreground"))
        row.append((f" {fmt_step(each.seconds):>7}", "bright"))
        row.append((f" {fmt_bytes(each.memory):>8} ", "foreground"))
        said, look = (MARK.format(each.behind), "alarm bold") if late else (f"{each.behind:.2f}x", "dim")
        if lost:
            said, look = LOST, "alarm bold"
        row.append((fit(said, len(MARK.format(1.0))), look))
        found.append(row)
    return found


def _host_cell(several: Several, host: str) -> list[Part]:
    """All the ranks of a host."""
    ranks = [each for each in several.ranks if each.host == host]
    row: list[Part] = [(fit(clean(host, keep_newlines=False), MOST_HOST), "bright")]
    row += [(f" {len(ranks):>3} ranks ", "foreground"), (f"{span([each.seconds for each in ranks]):<17}", "bright")]
    row.append((f" {fmt_bytes(max(each.memory for each in ranks)):>8} ", "foreground"))
    late, lost = several.straggler, several.lost
    if lost is not None and lost.host == host:
        row.append((fit(f"✖ rank {lost.rank} lost", 22), "alarm bold"))
    elif late is not None and late.host == host:
        row.append((fit(f"! rank {late.rank} {late.behind:.1f}x slowest", 22), "alarm bold"))
    else:
        row.append((fit(f"{max(each.behind for each in ranks):.2f}x", 22), "dim"))
    return row


def _columns_in(cells: Sequence[Sequence[Part]], width: int) -> int:
    return (width + GAP) // (width_of(cells[0]) + GAP)


def _columns(cells: Sequence[list[Part]], width: int, height: int) -> list[list[Part]] | None:
    """The cells in as few columns as fill at most `height` rows, each read downwards; None where there is no room."""
    many = -(-len(cells) // max(1, height))
    if height < 1 or many > max(1, _columns_in(cells, width)):
        return None
    deep = -(-len(cells) // many)
    rows = []
    for at in range(deep):
        row: list[Part] = []
        for cell in cells[at::deep]:
            row += [(" " * GAP, ""), *cell] if row else cell
        rows.append(row)
    return rows
