"""Which runs of a table are shown: a few words as a person types them.

nano lr>1e-3            a word of the name, corpus, preset, state or note; a figure
corpus:soap state:run   part of one of them
val<1.5 params>=1M      k, M, G; s, m, h, d for times
-state:failed -"two words"   not that
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import RunError

Facts = Mapping[str, Any]
"""A run as `overview` tells of it."""
Filter = Callable[[Facts], bool]

TEXTS = {key: key for key in ("name", "corpus", "preset", "state", "note", "device", "parent", "problem")}
"""What can be asked of in words, and the fact that it is."""
NUMBERS = {
    "step": "step", "steps": "steps", "val": "last_val_loss", "best": "best_val_loss", "bpb": "val_bits_per_byte",
    "params": "params", "tokens": "tokens", "lr": "learning_rate", "speed": "tokens_per_second",
    "tok/s": "tokens_per_second", "time": "train_seconds", "memory": "peak_memory_bytes", "seed": "seed",
}  # fmt: skip
"""What can be asked of in numbers, and the fact that it is."""
EVERYWHERE = ("name", "corpus", "preset", "state", "note")

_TERM = re.compile(r"""(?P<no>[-!]?)(?:(?P<key>[a-z][a-z0-9_./]*)(?P<op><=|>=|!=|==|[<>=:]))?(?P<value>"[^"]*"?|\S*)""")
_NUMBER = re.compile(r"([-+]?(?:[0-9][0-9,_]*\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]{1,3})?)([a-z]*)")
_UNITS = {
    "": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12,
}  # fmt: skip
_TIMES = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge,
    "=": operator.eq, "==": operator.eq, ":": operator.eq, "!=": operator.ne,
}  # fmt: skip


class FilterError(RunError):
    """What was typed is no filter; the message says which part, and how it could be."""


def parse_filter(text: str) -> Filter:
    """Whether a run is shown, for what was typed: all its terms must hold. Nothing typed shows every run.

    A fact that is not known is neither above nor below anything. Raises FilterError.
    """
    terms = []
    place = 0
    text = text.lower()
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        found = _TERM.match(text, place)
        assert found is not None  # it matches anything
        place = found.end()
        terms.append(_term(found))
    return lambda facts: all(term(facts) for term in terms)


def _term(found: re.Match[str]) -> Filter:
    key, op, value = found["key"], found["op"], found["value"].strip('"')
    if key is None:
        holds = _word(value)
    elif key in TEXTS:
        holds = _text(key, op, value)
    elif key in NUMBERS:
        holds = _number(key, op, value)
    elif op == ":":  # such as the name gutenberg:84
        holds = _word(f"{key}:{value}")
    else:
        raise FilterError(f"no figure {key!r:.40}; there are {', '.join(NUMBERS)}")
    if not found["no"]:
        return holds
    return lambda facts: not holds(facts)


def _word(value: str) -> Filter:
    return lambda facts: any(value in _words(facts, key) for key in EVERYWHERE)


def _text(key: str, op: str, value: str) -> Filter:
    if op == ":":
        return lambda facts: value in _words(facts, key)
    if op in ("=", "=="):
        return lambda facts: value == _words(facts, key)
    if op == "!=":
        return lambda facts: value != _words(facts, key)
    raise FilterError(f"{key} is text; ask {key}:{value or 'word'}")


def _words(facts: Facts, key: str) -> str:
    value = facts.get(TEXTS[key])
    if isinstance(value, Mapping):  # the parent, by its name
        value = value.get("run")
    return str(value).lower() if value is not None else ""


def _number(key: str, op: str, value: str) -> Filter:
    units = _TIMES if key == "time" else _UNITS
    found = _NUMBER.fullmatch(value)
    if found is None or found[2] not in units:
        example = {"time": "time>1h", "lr": "lr>1e-3", "val": "val<1.5"}.get(key, f"{key}>10k")
        raise FilterError(f"{key}{op} needs a number, such as {example}, not {value!r:.40}")
    wanted = float(found[1].replace(",", "").replace("_", "")) * units[found[2]]
    compare = _COMPARE[op]

    def holds(facts: Facts) -> bool:
        known = facts.get(NUMBERS[key])
        if not isinstance(known, int | float) or isinstance(known, bool):
            return False
        if op in ("=", "==", ":", "!=") and isinstance(known, float):  # as many digits as were shown
            return compare(f"{known:.4g}", f"{wanted:.4g}")
        return compare(known, wanted)

    return holds
