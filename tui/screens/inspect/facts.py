"""What is said beside the text: the token under the cursor, the text as a whole, the vocabulary around it."""

from __future__ import annotations

import math

from tui.state.inspected import LookedText, Part, Read, TokenFacts
from tui.state.inspector import Inspector
from tui.text import Part as Run
from tui.text import clean, fit, fmt_loss
from tui.widgets.meter import bar
from tui.widgets.rows import spread
from tui.widgets.tokentext import SURPRISED, SURPRISES

Lines = list[list[Run]]
LABEL = 14
"""Cells of a token's name in a table."""


def percent(share: float) -> str:
    """A share with one decimal in six cells; what is less than 0.05% is told as less."""
    return "<0.1%".rjust(6) if 0 < share < 0.0005 else f"{100 * share:5.1f}%"


def heading(text: str) -> Lines:
    return [[], [(text, "dim")]]


def token_line(text: LookedText, id: int, width: int) -> list[Run]:
    """The token's name, and its number flush right."""
    return spread([(fit(text.label(id), max(4, width - 9)).rstrip(), "bright bold")], [(f"#{id}", "dim")], width)


def loss_rows(inspector: Inspector, width: int) -> Lines:
    """The cursor's token, what the model would have said, and the whole text."""
    read, text, id = inspector.read, inspector.text, inspector.id
    if read is None or text is None or id is None:
        return []
    rows: Lines = [token_line(text, id, width)]
    place, losses = inspector.cursor, read.losses
    at = place - losses.start if losses is not None else -1
    if losses is not None and 0 <= at < len(losses):
        loss = float(losses.loss[at])
        rows += [
            [("loss ", "dim"), (fmt_loss(loss), "bright"), (f"  {loss / math.log(2):.2f} bits", "foreground")],
            [
                ("rank ", "dim"),
                (f"{int(losses.rank[at]):,}", "bright"),
                ("  probability ", "dim"),
                (percent(math.exp(-loss)).strip(), "bright"),
            ],
            *heading("likeliest here"),
        ]
        top = zip(losses.top[at].tolist(), losses.top_p[at].tolist(), strict=True)
        rows += [bar_line(text, other, share, width, chosen=other == id) for other, share in top]
    else:
        rows.append([(why_no_loss(read, place), "dim")])
        if read.why:
            rows += [[], [(clean(read.why, keep_newlines=False), "val")]]
    if read.figures is not None:
        judged, mean, bits = read.figures
        count = (f"{judged:,}" if read.whole else f"{judged:,} so far") + (" of answers" if text.in_part else "")
        rows += [
            *heading("this passage" if text.source.kind == "worst" else "this text"),
            [("loss ", "dim"), (fmt_loss(mean), "bright"), ("  a token of ", "dim"), (count, "foreground")],
            [("     ", ""), (f"{bits:.3f}", "bright"), (" bits a byte", "dim")],
        ]
    return rows


def why_no_loss(read: Read, place: int) -> str:
    if read.why:
        return "no weights, no loss"
    if place == 0:
        return "nothing stands before it to predict it"
    return "its loss is still to come" if not read.whole else "no loss is known of it"


def legend() -> list[Run]:
    """The steps of tint."""
    steps = [(f" <{most:.0f} ", look) for most, look in SURPRISES]
    return [*steps, (f" ≥{SURPRISES[-1][0]:.0f} ", SURPRISED), (" bits", "dim")]


def bar_line(text: LookedText, id: int, share: float, width: int, *, chosen: bool = False) -> list[Run]:
    """A token, its share as a bar and in percent."""
    filled, empty = bar(share, max(3, width - LABEL - 11))
    return [
        ("❯ " if chosen else "  ", "accent"),
        (fit(text.label(id), LABEL), "bright bold" if chosen else "foreground"),
        (" ", ""),
        (filled, "accent"),
        (empty, "rule"),
        (" ", ""),
        (percent(share), "bright" if chosen else "foreground"),
    ]


def looked_at(part: Part, cursor: int, layer: int, head: int, most: int = 5) -> list[tuple[int, float]]:
    """(place, share) of what the cursor's token looks at, the most first."""
    assert part.maps is not None
    row = part.maps.weights[layer, head, cursor - part.start, : cursor - part.start + 1]
    best = row.argsort()[::-1][:most]
    return [(int(place) + part.start, float(row[place])) for place in best if row[place] > 0]


def vocabulary_rows(inspector: Inspector, width: int) -> Lines:
    """The cursor's token: its bytes, how often it comes, its neighbours, the merges that make it."""
    text, id = inspector.text, inspector.id
    if text is None or id is None:
        return []
    data = text.tokenizer.token_bytes(id)
    count = dict(text.counts).get(id, 0)
    shown = " ".join(f"{byte:02x}" for byte in data[:8]) + (" …" if len(data) > 8 else "")
    rows: Lines = [
        token_line(text, id, width),
        [("bytes ", "dim"), (f"{len(data)}", "bright"), (f"  {shown}", "foreground")],
        [("times ", "dim"), (f"{count:,}", "bright"), (" in this text", "dim")],
    ]
    facts = inspector.token
    if facts is None or facts.id != id or facts.step != inspector.step:
        return [*rows, [], [("its neighbours are still to come", "dim")]]
    return rows + merge_rows(text, facts, width) + neighbour_rows(text, facts, width)


def merge_rows(text: LookedText, facts: TokenFacts, width: int) -> Lines:
    """How it is put together, in the order of merging."""
    if not facts.merges:
        return []
    rows = heading("merged from")
    for merge in facts.merges[-6:]:
        left, right, made = (text.label(id) for id in (merge.left, merge.right, merge.made))
        rows.append([(f"{merge.rank + 1:>6,} ", "dim"), (f"{left} + {right}", "foreground"), (f" → {made}", "bright")])
    return rows


def neighbour_rows(text: LookedText, facts: TokenFacts, width: int) -> Lines:
    """The tokens whose embeddings point where its own does."""
    if facts.step is None:
        return [*heading("neighbours"), [("they come with the first checkpoint", "dim")]]
    rows = heading("nearest in the embedding")
    for each in facts.neighbours:
        filled, empty = bar(max(0.0, each.similarity), max(3, width - LABEL - 10))
        rows.append(
            [
                ("  ", ""),
                (fit(text.label(each.id), LABEL), "foreground"),
                (" ", ""),
                (filled, "accent"),
                (empty, "rule"),
                (f" {each.similarity:5.2f}", "bright"),
            ]
        )
    return rows


def count_rows(text: LookedText, width: int, most: int) -> Lines:
    """The most frequent tokens of the text."""
    total = sum(count for _, count in text.counts)
    rows: Lines = [
        [
            (f"{total:,}", "bright"),
            (" tokens, ", "dim"),
            (f"{len(text.counts):,}", "bright"),
            (f" different of {text.tokenizer.vocab_size:,}", "dim"),
        ],
        [(f"{text.bytes_per_token:.2f}", "bright"), (" bytes a token", "dim")],
    ]
    for id, count in text.counts[: max(0, most - 2)]:
        filled, empty = bar(count / text.counts[0][1], max(3, width - LABEL - 11))
        rows.append(
            [
                ("  ", ""),
                (fit(text.label(id), LABEL), "foreground"),
                (" ", ""),
                (filled, "accent"),
                (empty, "rule"),
                (f" {count:>6,}", "bright"),
            ]
        )
    return rows
