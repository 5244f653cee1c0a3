"""What a person chooses before the model writes. Knows no torch, so that forms and `--help` stay quick."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import UserError

# lowest and highest value of each number; the sliders and the command line use the same
BOUNDS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_k": (0, 10_000_000),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "max_tokens": (0, 10_000_000),
    "seed": (0, 2**63 - 1),
}
WHOLE = ("top_k", "max_tokens", "seed")


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is drawn, and when writing ends.

    The rules act in this order: repetition penalty, temperature, top-k, top-p, min-p.
    """

    temperature: float = 0.8  # divides the logits; 0 always takes the likeliest token
    top_k: int = 0  # only the k likeliest tokens; 0, or the vocabulary's size and above, is off
    top_p: float = 1.0  # only the likeliest tokens that together reach p; 1 is off, 0 leaves the likeliest alone
    min_p: float = 0.0  # only tokens at least this likely, relative to the likeliest; 0 is off
    repetition_penalty: float = 1.0  # above 1 makes tokens of the prompt and the output less likely; 1 is off
    max_tokens: int = 400
    seed: int | None = None  # unset: a fresh one, told with the result
    stop: tuple[str, ...] = ()  # strings that end the text and are cut from it
    stop_ids: tuple[int, ...] = ()  # tokens that end the text and are cut from it

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    def check(self) -> SamplingSettings:
        """These settings when all are within their bounds; else UserError that names one that is not, and its range."""
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if name == "seed" and value is None:
                continue
            kinds = int if name in WHOLE else (int, float)
            right = isinstance(value, kinds) and not isinstance(value, bool)
            if not (right and low <= value <= high):  # no comparison with NaN is true
                what = "a whole number" if name in WHOLE else "a number"
                given = reprlib.repr(value)
                raise UserError(f"{name} must be {what} from {_plain(low)} to {_plain(high)}, not {given}")
        if not all(isinstance(text, str) and text for text in self.stop):
            raise UserError("a stop string must be text of at least one character")
        if not all(isinstance(token, int) and token >= 0 for token in self.stop_ids):
            raise UserError("a stop token must be a token's number, 0 or more")
        return self

    def replace(self, **changes: Any) -> SamplingSettings:
        """A checked copy with some settings changed."""
        return SamplingSettings.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """For JSON: lists instead of tuples."""
        tree = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in tree.items()}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> SamplingSettings:
        """Checked settings; what is missing has its default. Raises UserError for an unknown name or a bad value."""
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [str(name) for name in tree if name not in known]
        if unknown:
            raise UserError(f"no sampling setting {reprlib.repr(unknown[0])}; there are {', '.join(known)}")
        changes = dict(tree)
        for name in ("stop", "stop_ids"):
            if name in changes:
                changes[name] = _as_tuple(name, changes[name])
        return cls(**changes).check()

    def describe(self) -> str:
        """Short text such as `t 0.80  k 40  p 0.95`; rules that are off are left out."""
        if self.greedy:
            parts = ["greedy"]
        else:
            parts = [f"t {self.temperature:.2f}"]
            parts += [f"k {self.top_k}"] if self.top_k else []
            parts += [f"p {self.top_p:.2f}"] if self.top_p < 1 else []
            parts += [f"min-p {self.min_p:.2f}"] if self.min_p else []
        parts += [f"rep {self.repetition_penalty:.2f}"] if self.repetition_penalty != 1 else []
        return "  ".join(parts)


def _as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UserError(f"{name} must be a list, not {reprlib.repr(value)}")
    return tuple(value)


def _plain(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() else str(bound)
