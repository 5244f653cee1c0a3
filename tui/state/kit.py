"""What a new run can be made of: corpora, presets, runs to tune, devices and what is free on them. Read beside the
screen; the settings of a run that is to be fine-tuned, and the tokens of a folder that is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import Config
from engine.errors import ConfigError, UserError
from engine.preset_files import load_preset, preset_about, preset_names, shipped_names

if TYPE_CHECKING:
    from engine.runs.layout import RunDir
    from tui.state.worker import Ticket

LOOK_EVERY = 5.0
"""Seconds between two looks at what is free."""
SAME_MEMORY = 0.02
"""Part of what was free by which it may change and be told as it was: it never stands still."""
MOST_RUNS = 200
"""Runs that are offered to be tuned, the newest first; any other can be typed."""


@dataclass(frozen=True)
class Preset:
    """Where settings begin; or what is wrong with it."""

    config: Config | None
    about: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Kit:
    """`corpora` are those that can be trained on, with the bytes of their files; `memory` is (bytes free, whether they
    are a GPU's) by a device's name."""

    corpora: Mapping[str, int | None] = field(default_factory=dict)
    presets: Mapping[str, Preset] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    memory: Mapping[str, tuple[int | None, bool]] = field(default_factory=dict)
    whole: Mapping[str, tuple[int | None, bool]] = field(default_factory=dict)
    """As `memory`, but all that there is."""

    @property
    def gpus(self) -> int:
        return sum(name.startswith("cuda:") for name in self.memory)

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(self.memory) or ("auto", "cpu")

    def preset(self, name: str) -> Config:
        """A preset's settings. Raises ConfigError for one that there is not, or that is damaged."""
        found = self.presets.get(name)
        if found is None and not self.presets and name in shipped_names():
            return load_preset(name)  # before the first look: those of the program are at hand
        if found is None:
            raise ConfigError(f"no preset {name!r}; there are {', '.join(self.presets or shipped_names())}")
        if found.config is None:
            raise ConfigError(found.problem)
        return found.config

    def about(self, name: str) -> str:
        """A preset's line about itself."""
        found = self.presets.get(name)
        return found.about if found is not None else ""


class KitReader:
    """Looks again and again. For a worker's thread."""

    def __init__(self, runs_dir: Path, corpora_dir: Path | None) -> None:
        self.runs_dir, self.corpora_dir = runs_dir, corpora_dir
        self._before: Kit | None = None
        self._whole: dict[str, tuple[int | None, bool]] = {}

    def look(self, ticket: Ticket) -> Kit | None:
        """What there is now; None when that is what the look before saw."""
        from engine.telemetry import available_by_device, whole_memory

        free = available_by_device()
        if self._before is not None:
            free = {name: _steady(self._before.memory.get(name), now) for name, now in free.items()}
        if self._whole.keys() != free.keys():
            self._whole = {name: whole_memory(name) for name in free}
        found = Kit(self._corpora(), presets(), self._runs(), free, self._whole)
        if found == self._before:
            return None
        self._before = found
        return found

    def _corpora(self) -> dict[str, int | None]:
        from engine.text.catalog import list_corpora

        try:
            found = [corpus for corpus in list_corpora(self.corpora_dir) if corpus.available]
        except (UserError, OSError):
            return {}
        return {corpus.name: _size(corpus.path) for corpus in found}

    def _runs(self) -> tuple[str, ...]:
        from engine.runs.layout import list_runs

        try:
            runs = list_runs(self.runs_dir)
        except (UserError, OSError):
            return ()
        return tuple(run.name for run in runs[:MOST_RUNS])


def presets() -> dict[str, Preset]:
    """All presets, the person's own last; a damaged one says what is wrong with it."""
    found = {}
    for name in preset_names():
        try:
            found[name] = Preset(load_preset(name), preset_about(name))
        except ConfigError as error:
            found[name] = Preset(None, problem=str(error))
    return found


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _steady(before: tuple[int | None, bool] | None, now: tuple[int | None, bool]) -> tuple[int | None, bool]:
    """What is free now, or `before` where that is nearly the same."""
    if before is None or before[0] is None or now[0] is None:
        return now
    return before if abs(now[0] - before[0]) <= SAME_MEMORY * before[0] else now


@dataclass(frozen=True)
class Expected:
    """A run's vocabulary and tokens, as far as they are known before it begins; `settings` are those of tokens that
    were made ahead, which take the place of the form's."""

    vocab_size: int
    tokens: int | None = None
    val_tokens: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def expected_of(config: Config, size: int | None) -> Expected:
    """Of a text of so many bytes, which nobody has read."""
    from engine.tokenizers.table import expected_tokens, expected_vocab

    counts = (None, None) if size is None else expected_tokens(size, config.data)
    return Expected(expected_vocab(config.data), *counts)


def expected_in(info: Mapping[str, Any]) -> Expected | None:
    """Of a run that has begun, by its `run.json`."""
    corpus, vocab_size = info.get("corpus") or {}, (info.get("tokenizer") or {}).get("vocab_size")
    return Expected(vocab_size, corpus.get("train_tokens"), corpus.get("val_tokens")) if vocab_size else None


def read_tokens(typed: str) -> Expected | None:
    """Of the folder of tokens at a path, as it was typed; None where there is none, or one that is damaged."""
    from engine.text.prepared import is_prepared, read_prepared

    path = Path(typed).expanduser()
    if not is_prepared(path):
        return None
    try:
        found = read_prepared(path)
        Config().replace(found.settings)
        vocab_size = int(found.tokenizer["vocab_size"])
    except (UserError, KeyError, TypeError, ValueError):
        return None
    return Expected(vocab_size, found.train.tokens, found.val.tokens, found.settings)


@dataclass(frozen=True)
class Tuning:
    """A run to be fine-tuned, as it was named; its settings as soon as they are read, or what is wrong."""

    typed: str
    run: RunDir | None = None
    which: str = "best"
    config: Config | None = None
    problem: str = ""
    vocab_size: int | None = None

    @property
    def pending(self) -> bool:
        return self.config is None and not self.problem


def read_tuning(typed: str, runs_dir: Path) -> Tuning:
    """The settings to begin a fine-tuning of RUN or RUN@STEP with. Reads its checkpoint."""
    from engine.runs.layout import find_run
    from engine.runs.status import read_info
    from engine.training.fork import fine_tuning_config

    name, _, step = typed.rpartition("@")
    name, which = (name, step) if name else (typed, "best")
    try:
        run = find_run(name, runs_dir)
        known = expected_in(read_info(run))
        return Tuning(typed, run, which, fine_tuning_config(run, which), vocab_size=known.vocab_size if known else None)
    except UserError as error:
        return Tuning(typed, problem=str(error))
