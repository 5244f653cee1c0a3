"""What the files of a run hold, checked at the door: they come back whole and of the right types, or with the reason.

A file may be cut, edited, of another program or no file at all. Whoever reads one through here gets the values as they
stand in it, or `DamagedError`: one line that names the file, the field and what is wrong with it. Names that are not
known here are kept as they are, for older and newer programs have their own.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    InstanceOf,
    ValidationError,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import custom_error_schema, is_instance_schema

from engine.errors import RunError, what_is_wrong
from engine.files import read_regular

MAX_BYTES = 1 << 20
"""Of a JSON file of a run; run.json, the greatest, has some 4 KiB."""
MAX_DEPTH = 32
"""Objects and lists inside each other; nothing of ours has more than 5."""
MAX_NAME = 5000
"""Characters of a name; a path has at most 4,096 bytes."""
MAX_NUMBER = 2**53
"""Whole numbers up to here are exact in every program that reads JSON."""


class DamagedError(RunError):
    """A file of a run does not hold what it must; the message is `FILE: what is wrong`."""


class _Plain:
    """Text, a number, true, false or null. Told to pydantic as what it can see by itself: a run has some sixty of them,
    and a thousand runs are read before their table is there."""

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return custom_error_schema(
            is_instance_schema((bool, int, float, str, type(None))),
            "value_error",
            custom_error_context={"error": "must be text, a number, true, false or null"},
        )


def _short(text: str) -> str:
    if len(text) > MAX_NAME:
        raise ValueError(f"must be at most {MAX_NAME:,} characters, not {len(text):,}")
    return text


def _words(value: object) -> object:
    if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        raise ValueError("must be text or a list of texts")
    return value


def _file_names(hashes: dict[str, str]) -> dict[str, str]:
    for name in hashes:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"must be by names of files, not {name!r:.60}")
    return hashes


Text = InstanceOf[str]
"""Any text, also with the halves of surrogate pairs that a model can write."""
Name = Annotated[Text, AfterValidator(_short)]
"""A name, a word or a path."""
Whole = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Number = Annotated[float, Field(ge=-1e300, le=1e300)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Time = Annotated[float, Field(ge=0, le=1e11)]
"""Unix seconds."""
Plain = Annotated[Any, _Plain()]


class Entry(BaseModel):
    """An object of a run's files."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, defer_build=True)


class Corpus(Entry):
    name: Name | None = None
    path: Name | None = None
    sha256: Name | None = None
    bytes: Whole | None = None
    train_tokens: Whole | None = None
    val_tokens: Whole | None = None
    boundary: Text | None = None


class TokenizerFacts(Entry):
    kind: Name | None = None
    vocab_size: Whole | None = None
    fingerprint: Name | None = None


class Parent(Entry):
    run: Name | None = None
    path: Name | None = None
    step: Whole | None = None


class Environment(Entry):
    device: Name | None = None
    threads: Whole | None = None
    ranks: Whole | None = None
    torch: Name | None = None
    host: Name | None = None


class TrainSettings(Entry):
    max_steps: Whole | None = None
    sample_prompt: Text | None = None
    sample_prompts: list[Text] | None = None
    sample_stop: Text | None = None
    __pydantic_extra__: dict[str, Plain]


class Settings(Entry):
    """A run's settings as far as those who only look at it use them; whoever trains asks `make_config`."""

    model: dict[str, Plain] = {}
    data: dict[str, Plain] = {}
    train: TrainSettings = Field(default_factory=TrainSettings)
    __pydantic_extra__: dict[str, dict[str, Plain]]


class Info(Entry):
    """`run.json`."""

    format: Whole = 1
    name: Name | None = None
    created: Time | None = None
    preset: Name | None = None
    config: Settings
    seed: Annotated[int, Field(ge=0, le=2**63)] | None = None
    corpus: Corpus | None = None
    tokenizer: TokenizerFacts | None = None
    template: dict[str, Annotated[Any, AfterValidator(_words)]] | None = None
    parent: Parent | None = None
    environment: Environment | None = None


class RankNow(Entry):
    """One of several processes that train a run."""

    rank: Whole
    host: Name = ""
    pid: Whole | None = None
    device: Name = ""
    seconds: Seconds
    memory: Whole


class Status(Entry):
    """`status.json`."""

    state: Name | None = None
    phase: Name | None = None
    message: Text | None = None
    problem: Text | None = None
    pid: Whole | None = None
    host: Name | None = None
    socket: Name | None = None
    heartbeat: Time | None = None
    step: Whole | None = None
    steps: Whole | None = None
    tokens: Whole | None = None
    tokens_per_s: Number | None = None
    eta_s: Seconds | None = None
    train_seconds: Seconds | None = None
    eval_seconds: Seconds | None = None
    learning_rate: Number | None = None
    lr_scale: Number | None = None
    best_val_loss: Number | None = None
    best_val_step: Whole | None = None
    last_val_loss: Number | None = None
    last_val_bpb: Number | None = None
    params: Whole | None = None
    device: Name | None = None
    memory: dict[str, Whole | None] | None = None
    peak_memory_bytes: Whole | None = None
    parallel: Name | None = None
    ranks: list[RankNow] | None = None


class Owner(Entry):
    """`lock`."""

    pid: Whole | None = None
    host: Name | None = None
    socket: Name | None = None
    started: Time | None = None


class Note(Entry):
    """`note.json`."""

    text: Annotated[Text, AfterValidator(_short)]
    time: Time | None = None


class Sample(Entry):
    """A line of `samples.jsonl`."""

    step: Whole
    prompt: Text = ""
    text: Text = ""
    settings: dict[str, Any] | None = None
    seed: int | None = None
    tokens_per_s: Number | None = None
    copied: dict[str, Any] | None = None


class Event(Entry):
    """A line of `events.jsonl`; step -1 is before the first."""

    step: Annotated[int, Field(ge=-1, le=MAX_NUMBER)] | None = None
    time: Time | None = None
    kind: Name
    message: Text | None = None
    alarm: Name | None = None
    path: Name | None = None
    what: Text | None = None
    warnings: list[Text] | None = None
    value: Number | None = None
    before: Number | None = None
    scale: Number | None = None
    to: Whole | None = None
    loss: Number | None = None
    val_loss: Number | None = None
    best_val_loss: Number | None = None
    best_step: Whole | None = None


class Resumed(Entry):
    """The line that takes back what came after its step."""

    resumed: Whole


class State(Entry):
    """`state.json` of a checkpoint. Programs before this one wrote a loss that is not finite as it is."""

    model_config = ConfigDict(allow_inf_nan=True)

    step: Whole
    tokens: Whole
    train_seconds: Seconds
    eval_seconds: Seconds
    lr_scale: Number
    rollbacks: Whole
    val_loss: float | None = None
    watch: dict[str, Plain]
    environment: dict[str, Plain] = {}


class Manifest(Entry):
    """`manifest.json` of a checkpoint."""

    step: Whole
    format: Whole = 1
    """Of all the files. 1 (or none): the optimizer's state in one row by role; 2: by the names of parameters."""
    sha256: Annotated[dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], AfterValidator(_file_names)]


class TokenizerTree(Entry):
    """`tokenizer.json` of a checkpoint; what else it holds depends on its kind."""

    kind: Name


def read_bytes(path: Path | str, limit: int = MAX_BYTES) -> bytes:
    """What a plain file of at most `limit` bytes holds; never waits for a pipe or a device.

    Raises DamagedError naming it, and FileNotFoundError where there is none.
    """
    try:
        data = read_regular(path, limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise DamagedError(f"{path} has more than {limit:,} bytes, which none of ours has")
    return data


def decode(data: bytes, *, not_finite: bool = False) -> Any:
    """The JSON value in `data`. Raises ValueError in a few words: not UTF-8, not JSON, nested too deep."""
    if (value := _at_once(data)) is not _REFUSED:
        return value
    try:
        value = (_LENIENT if not_finite else _STRICT).decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise ValueError("it is nested too deep")


_REFUSED = object()
_KINDS = bytes(ord("0" if byte in b"0123456789" else " " if byte in b" \t\n\r[{:,-" else "x") for byte in range(256))
_LONG_NUMBER = b" " + b"0" * 19
"""With each byte as its kind: a whole number that may have more than 64 bits, and no digits of a sum."""


def _at_once(data: bytes) -> Any:
    """The value of what is plainly JSON, a few times sooner than Python's own reader; of all else `_REFUSED`.

    That is what may be nested too deep by its brackets, and whole numbers of more than 64 bits, which orjson makes
    floats of; it also refuses what is JSON to Python alone: halves of surrogate pairs, 1e999.
    """
    if data.count(b"{") + data.count(b"[") >= MAX_DEPTH or _LONG_NUMBER in (b" " + data).translate(_KINDS):
        return _REFUSED
    try:
        return orjson.loads(data)
    except ValueError:
        return _REFUSED


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_STRICT, _LENIENT = json.JSONDecoder(parse_constant=_no_constant), json.JSONDecoder()


_building = threading.Lock()
"""A kind is built when it is first asked for, by one thread: half of them are not needed by what only lists runs."""


def problems_of(value: object, kind: type[Entry]) -> dict[str, str]:
    """What is wrong with `value` as a `kind`, by the name of each field of it that is; "" for the whole."""
    if not kind.__pydantic_complete__:
        with _building:
            kind.model_rebuild()
    try:
        kind.model_validate(value)
    except ValidationError as error:
        found: dict[str, str] = {}
        for one in error.errors():
            found.setdefault(str(one["loc"][0]) if one["loc"] else "", what_is_wrong(one))
        return found
    return {}


def problem_of(value: object, kind: type[Entry]) -> str:
    """The first thing wrong with `value` as a `kind`, in a few words; "" when it is one."""
    return next(iter(problems_of(value, kind).values()), "")


def load(path: Path | str, kind: type[Entry], limit: int = MAX_BYTES, *, not_finite: bool = False) -> dict[str, Any]:
    """The object in the JSON file `path`, which is a `kind`; with `not_finite` it may say NaN, which is no JSON.

    Raises DamagedError naming file and field, and FileNotFoundError where there is no file.
    """
    data = read_bytes(path, limit)
    try:
        return load_line(data, kind, not_finite=not_finite)
    except ValueError as error:
        raise DamagedError(f"{path}: {error}") from None


def load_line(data: bytes, kind: type[Entry], *, not_finite: bool = False) -> dict[str, Any]:
    """The object in one line of JSON, which is a `kind`. Raises ValueError in a few words."""
    value: dict[str, Any] = decode(data, not_finite=not_finite)
    if problem := problem_of(value, kind):
        raise ValueError(problem)
    return value
