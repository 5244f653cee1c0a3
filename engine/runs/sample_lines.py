"""What a record of samples.jsonl says, for whoever shows it. Records may be damaged, or of an older program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


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
