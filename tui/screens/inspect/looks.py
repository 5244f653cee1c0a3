"""How the text looks in each view, and what is said in its border."""

from __future__ import annotations

import math

from tui.screens.inspect.tint import glow, heat
from tui.screens.inspect.tokenmap import Look
from tui.state.inspector import Inspector, View
from tui.text import fmt_loss

SEEN: dict[View, str] = {
    "loss": "how much each token surprised the weights",
    "attention": "what the cursor's token looks at in each head: brighter is more",
    "lens": "what the model would say next after each layer; = is what comes",
    "tokens": "where tokens end, how often each comes, what lies near it",
    "ladder": "six models on this run's corpus, each one idea beyond the one before",
}
MOST_BITS = 10.0
"""Bits of surprise that fill a bar."""


def title(inspector: Inspector) -> str:
    """Which text it is."""
    text = inspector.text
    assert text is not None
    source = text.source
    if source.kind == "typed":
        return "your text"
    if source.passage is not None:
        return f"one of the worst passages  at token {source.passage.start:,}"
    number = min(source.number, text.passages - 1) + 1
    return f"held-out passage {number:,} of {text.passages:,}"


def below(inspector: Inspector, width: int) -> list[tuple[str, str]]:
    """Where the cursor is, and the figures of the text."""
    text, read = inspector.text, inspector.read
    assert text is not None and read is not None
    here, count = inspector.cursor - text.first + 1, len(text.ids) - text.first
    said = [(f"token {here:,} of {count:,}", "$dim")]
    if read.figures is not None and width > 64:
        _, mean, bits = read.figures
        said += [("   loss ", "$dim"), (fmt_loss(mean), "$val")]
        said += [(f"   {bits:.3f}", "$bright"), (" bits a byte", "$dim")]
    if inspector.source != text.source or not read.whole:
        said.append(("   reading …", "$accent"))
    return said


def look(inspector: Inspector, *, marks: bool) -> Look:
    """How each token looks in this view; with `marks` nothing is told by its ground alone."""
    read, text, cursor = inspector.read, inspector.text, inspector.cursor
    assert read is not None and text is not None

    def loss(place: int) -> tuple[str, float | None]:
        nats = read.loss_of(place) if text.counted[place] else None
        return ("dim", None) if nats is None else (heat(nats), min(1.0, nats / math.log(2) / MOST_BITS))

    def boundary(place: int) -> tuple[str, float | None]:
        return ("bright on select" if place % 2 else f"foreground{' underline' * marks}", None)

    if inspector.view == "loss":
        return loss
    if inspector.view == "tokens":
        return boundary
    attention, lens = inspector.part("attention"), inspector.part("lens")
    if inspector.view == "attention" and attention is not None and attention.maps is not None:
        row = attention.maps.weights[inspector.layer, inspector.head, cursor - attention.start]
        start = attention.start

        def looked(place: int) -> tuple[str, float | None]:
            if not start <= place <= cursor:
                return "dim", None
            return glow(float(row[place - start])), float(row[place - start])

        return looked
    if inspector.view == "lens" and lens is not None and lens.lens is not None:
        layer = min(inspector.lens_layer, len(lens.lens.token) - 1)
        of_next, begin = lens.lens.of_next[layer], lens.start

        def foreseen(place: int) -> tuple[str, float | None]:
            at = place - begin - 1
            return (glow(float(of_next[at])), float(of_next[at])) if 0 <= at < len(of_next) else ("dim", None)

        return foreseen
    return lambda _: ("foreground", None)
