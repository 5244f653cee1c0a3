"""What is in a text, in lines: figures with their names, lengths as bars, what comes most often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.text import Part, Row, clean, fmt_bytes, fmt_count, width_of
from tui.widgets.rows import wrapped

if TYPE_CHECKING:
    from engine.text.corpus import Corpus
    from engine.text.statistics import Statistics
    from engine.text.tally import Lengths, Share
    from tui.state.tokencounts import TokenCounts

LABEL = 13
BLOCKS = " ▁▂▃▄▅▆▇█"
BARS = 4
"""Lines that the bars of a histogram are high."""
NAMED = 12
"""Characters and words that are named."""


def card_rows(corpus: Corpus, width: int) -> list[Row]:
    """Where a corpus is from, and how it is used."""
    facts = [
        ("title", corpus.title),
        ("about", corpus.about),
        ("source", corpus.source),
        ("licence", corpus.license),
        ("format", f"{corpus.format}, columns {', '.join(corpus.columns)}" if corpus.columns else corpus.format),
        ("prompts", "in the corpus' own format" if corpus.template else ""),
        ("file", _file(corpus)),
    ]
    return [row for name, said in facts if said for row in fact(name, said, "", width)]


def fact(name: str, said: str, aside: str, width: int) -> list[Row]:
    """A name, what is said of it, and something more in dim, in as many lines as that takes."""
    said, aside = (clean(each, keep_newlines=False) for each in (said, aside))
    label = (f"{name:<{LABEL}}", "dim")
    if not aside:
        return list(wrapped([label, (said, "bright")], width))
    row: list[Part] = [label, (said, "bright"), (f"  {aside}", "dim")]
    if width_of(row) > width < 2 * width_of(row[:2]):  # no room for a third column
        return [row[:2], *wrapped([("  ", ""), (aside, "dim")], width)]
    return list(wrapped(row, width))


def statistics_rows(told: Statistics, width: int) -> list[Row]:
    """All that was counted."""
    rows: list[Row] = []

    def add(name: str, said: str, aside: str = "") -> None:
        rows.extend(fact(name, said, aside, width))

    add("characters", f"{told.characters:>11,}", f"{told.distinct_characters:,} distinct")
    add(
        "words",
        f"{told.words:>11,}",
        "" if told.words_in_bytes == told.n_bytes else f"in {fmt_bytes(told.words_in_bytes)}",
    )
    add("lines", f"{told.lines:>11,}", of_lengths(told.line_lengths))
    if told.records is not None and told.record_lengths is not None:
        add("records", f"{told.records:>11,}", of_lengths(told.record_lengths))
    add("gzip", f"{told.gzip_bits_per_byte:>11.3f}", "bits per byte")
    zstd = told.zstd_bits_per_byte
    add(
        "zstd",
        f"{'–' if zstd is None else f'{zstd:.3f}':>11}",
        "bits per byte" if zstd is not None else "needs tinytui[zstd]",
    )
    rows.extend(wrapped([(" " * LABEL, ""), ("a model that needs more has learned less than they know", "dim")], width))
    rows.append([])
    add("repeated", *share(told.repeated_lines, "lines"))
    if told.repeated_records is not None:
        add("", *share(told.repeated_records, "records"))
    rows.append([("validation text that training has, too", "dim")])
    add("", *share(told.shared_lines, "lines"))
    if told.shared_records is not None:
        add("", *share(told.shared_records, "records"))
    add("", *share(told.shared_windows, "passages of 48 bytes"))
    controls = "  ".join(f"U+{ord(each):04X} {count:,}" for each, count in told.top_controls[:6])
    rows.append([])
    add("controls", f"{told.control_characters:>11,}", controls)
    if told.record_lengths is not None:
        rows += [[], *histogram("characters of a record", told.record_lengths, width)]
    rows += [[], *histogram("characters of a line", told.line_lengths, width)]
    rows += [[], [("most frequent words", "dim"), ("  counts may be low" if told.some_words_dropped else "", "dim")]]
    rows += bars(told.top_words[:NAMED], width)
    rows += [[], [("most frequent characters", "dim")]]
    rows += bars([(visible(each), count) for each, count in told.top_characters[:NAMED]], width)
    return rows


def token_rows(told: TokenCounts | str, width: int) -> list[Row]:
    """The most frequent tokens of a tokenizer, or what keeps them from being told."""
    if isinstance(told, str):
        bad = told.startswith("✖")
        return [*wrapped([(clean(told, keep_newlines=False), "alarm" if bad else "dim")], width), []]
    each = f"{told.n_bytes / max(1, told.tokens):.2f} bytes each"
    rows: list[Row] = [
        *wrapped([("most frequent tokens", "dim"), (f"  {told.name}", "bright")], width),
        *wrapped(
            [(f"{told.tokens:,}", "bright"), (f" tokens in the first {fmt_bytes(told.n_bytes)}, {each}", "dim")], width
        ),
        *wrapped([(f"{told.distinct:,}", "bright"), (f" of {told.vocab_size:,} occur there", "dim")], width),
    ]
    return [*rows, *bars(told.top, width), []]


def visible(character: str) -> str:
    """A character with a form."""
    return {" ": "␣", "\n": "⏎", "\t": "⇥"}.get(character, character)


def of_lengths(lengths: Lengths) -> str:
    """How long they are."""
    return f"{lengths.shortest:,}–{lengths.longest:,} long, mean {lengths.mean:,.0f}, median {lengths.median:,}"


def share(of: Share, what: str) -> tuple[str, str]:
    """A share of so many, and whether that is of a sample."""
    sampled = f", one in {of.one_in:,} looked at" if of.one_in > 1 else ""
    return f"{100 * of.share:>10.1f}%", f"of {of.count:,} {what}{sampled}"


def histogram(title: str, lengths: Lengths, width: int) -> list[Row]:
    """Bars from the shortest to the longest; the last holds the longest hundredth, and is dim."""
    if not lengths.counts:
        return []
    counts, edges = list(lengths.counts), list(lengths.edges)
    tail = len(edges) > 2 and edges[-1] - edges[-2] > edges[1] - edges[0]
    each = max(1, min(3, (width - 1) // len(counts)))
    most = max(counts)
    rows: list[Row] = [[(title, "dim"), (f"  tallest {fmt_count(most)}", "dim")]]
    for line in range(BARS, 0, -1):
        row: list[Part] = []
        for index, count in enumerate(counts):
            eighths = max(count > 0, round(count / most * BARS * 8)) - 8 * (line - 1)
            block = BLOCKS[max(0, min(8, eighths))]
            row.append((block * each, "dim" if tail and index == len(counts) - 1 else "accent"))
        rows.append(row)
    body = each * (len(counts) - tail)
    first, last = f"{edges[0]:,}", f"{edges[-2 if tail else -1]:,}"
    axis = first + last.rjust(max(len(last) + 1, body - len(first)))
    rows.append([(axis, "dim"), (f" –{edges[-1] - 1:,}" if tail else "", "dim")])
    return rows


def bars(counted: Sequence[tuple[str, int]], width: int) -> list[Row]:
    """A line each: what it is, how often it comes, and a bar."""
    if not counted:
        return [[("none", "dim")]]
    most, name = max(count for _, count in counted), 14
    room = max(4, width - name - 12)
    rows: list[Row] = []
    for text, count in counted:
        from tui.text import fit

        rows.append(
            [
                (fit(text, name), "bright"),
                (f"{count:>10,}  ", "foreground"),
                ("━" * max(1, round(count / most * room)), "accent"),
            ]
        )
    return rows


def _file(corpus: Corpus) -> str:
    """Where the text lies; of one that is shipped its name alone, for its folder is the program's own."""
    if corpus.builder is not None or not corpus.available:
        return ""
    return corpus.path.name if corpus.shipped else str(corpus.path)
