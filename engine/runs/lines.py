"""The lines of metrics.jsonl, samples.jsonl and events.jsonl: how each is written, and what one of a sample says.

Numbers are written short: one fixed order of keys, no spaces, 6 significant digits. What is read may be damaged, or of
an older program.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, SupportsFloat

TRAIN_KEYS = ("step", "tokens", "time_s", "loss", "lr", "grad_norm", "tokens_per_s", "mem_bytes")
"""Keys of a record of training, in their order."""
VAL_KEYS = ("step", "tokens", "time_s", "val_loss", "val_bpb", "eval_s")
"""Keys of a record of an evaluation; `val_loss` is what tells the two kinds apart."""

TORN = b'\n{"torn":true}\n'
"""Ends a line that a kill or a full disk cut short, and says so: the line before it is no damage."""


def metric_line(fields: Mapping[str, SupportsFloat | None]) -> bytes:
    """A metrics record: floats with 6 significant digits, `time_s` to the millisecond; None left out, NaN as null."""
    keys = VAL_KEYS if "val_loss" in fields else TRAIN_KEYS
    ordered = [key for key in keys if key in fields] + [key for key in fields if key not in keys]
    parts = [f'"{key}":{_number(key, value)}' for key in ordered if (value := fields[key]) is not None]
    return ("{" + ",".join(parts) + "}\n").encode()


def _number(key: str, value: SupportsFloat) -> str:
    if isinstance(value, int):
        return str(int(value))
    number = float(value)
    if not math.isfinite(number):
        return "null"
    return f"{number:.3f}" if key == "time_s" else f"{number:.6G}"


def json_line(fields: Mapping[str, Any]) -> bytes:
    """Any record as one line of UTF-8; numbers that are not finite become null."""
    clean = finite(fields)
    try:
        text = json.dumps(clean, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # lone surrogates, which UTF-8 cannot hold, as escapes
        text = json.dumps(clean, separators=(",", ":")).encode()
    return text + b"\n"


def finite(value: Any) -> Any:
    """`value` with every number that JSON cannot hold as None; mappings and sequences as dict and list."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def pretty_json(value: object) -> bytes:
    """JSON for the files that people open: indented, one trailing newline."""
    return json.dumps(finite(value), indent=2, allow_nan=False).encode() + b"\n"


class CopiedPart(NamedTuple):
    """The longest passage of a sample that stands word for word in the training text.

    `text[start : start + length]` in characters. `whole` is whether all of the training text was compared; `too_much`
    whether it is far more than held-out text shares with it.
    """

    length: int
    start: int
    whole: bool
    too_much: bool

    def __str__(self) -> str:
        """`23 characters at most`; of a text that was only compared in part it is known to be `or more`."""
        characters = f"{self.length:,} character{'' if self.length == 1 else 's'}"
        return f"{characters} {'at most' if self.whole else 'or more'}"


def newest(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The samples of the last step that has any: one of each prompt, in their order."""
    return [sample for sample in samples if sample["step"] == samples[-1]["step"]]


def copied_part(sample: Mapping[str, Any]) -> CopiedPart | None:
    """What the record says of copying; None where it says nothing."""
    said = sample.get("copied")
    if not isinstance(said, Mapping):
        return None
    numbers = [number for key in ("length", "start", "checked", "of") if type(number := said.get(key)) is int]
    if len(numbers) < 4 or min(numbers) < 0:
        return None
    length, start, checked, of = numbers
    return CopiedPart(length, start, checked >= of, said.get("too_much") is True)
