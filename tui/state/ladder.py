"""The ladder from a table of letter pairs to the full model: its rungs, what is new in each, and the runs of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def read_rungs(runs_dir: Path, run: RunDir, ticket: Ticket) -> list[Rung]:
    """All rungs, each by its newest run on the corpus of `run`, or by `run` itself where it is one of them."""
    from engine.runs.layout import list_runs
    from engine.runs.summary import overview

    mine = overview(run)
    found: dict[str, list[RunDir]] = {}
    for each in list_runs(runs_dir):
        if ticket.cancelled:
            break
        facts = overview(each)
        if facts.get("corpus") == mine.get("corpus") and facts.get("preset") in RUNGS and _has_trained(facts):
            first = each.path == run.path
            found.setdefault(str(facts["preset"]), []).insert(0 if first else 1_000_000, each)
    return [_rung(preset, found.get(preset, []), run) for preset in RUNGS]


def _has_trained(facts: dict[str, Any]) -> bool:
    return bool(facts.get("step"))


def _rung(preset: str, runs: list[RunDir], shown: RunDir) -> Rung:
    from engine.errors import UserError
    from engine.runs.reader import RunReader
    from engine.runs.summary import summary

    for number, run in enumerate(runs):
        try:
            facts = summary(run)
            reader = RunReader(run)
            reader.poll()
        except (UserError, OSError):
            continue
        return Rung(
            preset,
            run.name,
            run.path == shown.path,
            facts["params"],
            facts["step"],
            facts["last_val_loss"],
            facts["val_bits_per_byte"],
            str(reader.samples[-1].get("text", "")) if reader.samples else "",
            len(runs) - number - 1,
        )
    return Rung(preset)
