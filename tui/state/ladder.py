"""The ladder from a table of letter pairs to the full model: its rungs, what is new in each, and the runs of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from tui.state.worker import Ticket

RUNGS = ("bigram", "single-head", "multi-head", "blocks", "decoder", "nano")
"""Presets, each one idea beyond the one before."""

NEW = {
    "bigram": "a table: which token follows which",
    "single-head": "one head of attention: look back",
    "multi-head": "four heads: look for several things",
    "blocks": "residual blocks: look, think, again",
    "decoder": "norms: the whole transformer",
    "nano": "today's parts, wider, and Muon",
}

EXPLAINED = {
    "bigram": (
        "scores = self.wte(ids)",
        "The last token's row of one table is the answer; it sees nothing but that token. It learns which pairs are "
        "common, and that is all: words are beyond it, as is where it is in a line.",
    ),
    "single-head": (
        "weights = softmax(q @ k.T / sqrt(width)); mixed = weights @ v",
        "Each position asks a question, every earlier one offers an answer to it, and what is given is mixed by how "
        "well they fit. Now the context counts; but there is one mixture for each position, and it is only a sum.",
    ),
    "multi-head": (
        "y = self.proj(cat([head(x) for head in self.heads]))",
        "Four heads side by side, each a quarter as wide, and a matrix that mixes what they found: one may watch the "
        "letter before, another the last space. Still one look, and no second thought about what was seen.",
    ),
    "blocks": (
        "x = x + self.attn(x); x = x + self.mlp(x)",
        "The MLP turns what was found into something else, at each position alone. Both add to x in place of replacing "
        "it, so a token is never lost and blocks can be stacked: a second look builds on the first.",
    ),
    "decoder": (
        "x = x + self.attn(self.norm1(x)); x = x + self.mlp(self.norm2(x))",
        "Each part reads a normalized copy, and the sum itself stays as it is: training is steadier, the more so the "
        "deeper the model. This is the decoder-only transformer of GPT-2.",
    ),
    "nano": (
        "rotary positions, norms on queries and keys, ReLU^2, Muon",
        "The full model: the three tokens before are looked up with each token, positions turn queries and keys, "
        "projections start at zero, logits are capped, and Muon takes steps of the same length in every direction.",
    ),
}


@dataclass(frozen=True)
class Rung:
    """One rung; without a run, None stands for what that would tell. Losses are in nats a token."""

    preset: str
    run: str | None = None
    here: bool = False
    params: int | None = None
    steps: int | None = None
    val_loss: float | None = None
    bits_per_byte: float | None = None
    sample: str = ""
    others: int = 0
    """More runs of the same rung, older than this one."""


class RungsReader:
    """Reads the rungs on the corpus of `run`, and a run's logs again only where they have grown."""

    def __init__(self, runs_dir: Path, run: RunDir) -> None:
        self._runs_dir, self._run = runs_dir, run
        self._known: dict[Path, tuple[object, Rung | None]] = {}
        self._last: list[Rung] | None = None

    def look(self, ticket: Ticket) -> list[Rung] | None:
        """All rungs, each by its newest run on the corpus, or by `run` itself where it is one of them; None where that
        is what the look before saw."""
        from engine.runs.layout import list_runs
        from engine.runs.status import overview

        shown = self._run.path
        corpus = overview(self._run).get("corpus")
        found: dict[str, list[RunDir]] = {}
        for each in list_runs(self._runs_dir):
            if ticket.cancelled:
                return None
            facts = overview(each)
            if facts.get("corpus") == corpus and facts.get("preset") in RUNGS and facts.get("step"):
                runs = found.setdefault(str(facts["preset"]), [])
                runs.insert(0 if each.path == shown else len(runs), each)
        rungs = [self._rung(preset, found.get(preset, [])) for preset in RUNGS]
        if rungs == self._last:
            return None
        self._last = rungs
        return rungs

    def _rung(self, preset: str, runs: list[RunDir]) -> Rung:
        """The first of `runs` that can be read."""
        for number, run in enumerate(runs):
            mark = tuple(_size(path) for path in (run.status_json, run.metrics, run.samples))
            known = self._known.get(run.path)
            if known is None or known[0] != mark:
                known = self._known[run.path] = mark, _read(preset, run)
            if known[1] is not None:
                return replace(known[1], here=run.path == self._run.path, others=len(runs) - number - 1)
        return Rung(preset)


def _size(path: Path) -> object:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _read(preset: str, run: RunDir) -> Rung | None:
    from engine.errors import UserError
    from engine.runs.reader import RunReader
    from engine.runs.summary import summary

    try:
        facts, reader = summary(run), RunReader(run)
        reader.poll()
    except (UserError, OSError):
        return None
    return Rung(
        preset,
        run.name,
        params=facts["params"],
        steps=facts["step"],
        val_loss=facts["last_val_loss"],
        bits_per_byte=facts["val_bits_per_byte"],
        sample=str(reader.samples[-1].get("text", "")) if reader.samples else "",
    )
