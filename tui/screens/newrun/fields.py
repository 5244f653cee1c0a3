"""The fields of the new-run form, from the one schema: names, meanings, bounds and choices are written there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from engine.config import FREE_IN_A_FORK, SECTIONS, Config, as_typed
from engine.errors import ConfigError, UserError
from tui.state.several import MOST, how_many
from tui.widgets.form import Field, Heading

CORPUS, PRESET, FROM, NAME, DEVICE, PROCESSES = "corpus", "preset", "from", "name", "device", "processes"
MAIN = (
    "train.max_steps",
    "train.batch_size",
    "train.learning_rate",
    "train.optimizer",
    "model.block_size",
    "model.n_layer",
    "model.n_head",
    "model.n_embd",
    "model.dropout",
    "data.tokenizer",
    "train.sample_prompt",
    "train.seed",
)
SECTION_TITLES = {"model": "model", "data": "data", "train": "training"}


TUNED = ("train.lora_r", "train.lora_alpha")
"""Settings that mean something where a run is fine-tuned alone."""
FREE_IN_TUNING = ("model.dropout", "data.val_fraction", "data.unknown", "data.record_starts", "data.loss")
"""Settings of model and data that a fine-tuning may change."""


def fields_for(
    base: Config, corpora: Sequence[str], corpus: str, preset: str, presets: Sequence[str]
) -> list[Field | Heading]:
    """The form for preset `base`: the run, the main settings, then all others by section."""
    rows: list[Field | Heading] = [
        Field(
            CORPUS,
            "corpus",
            corpus,
            "a corpus' name, or the path of a text, a table, an archive or a folder/",
            "",
            tuple(corpora),
            True,
            prose=True,
        ),
        Field(PRESET, "preset", preset, "where the settings begin", "", tuple(presets)),
        Field(NAME, "name", "", "the run's name; empty: corpus, preset and a number", prose=True),
        Heading("main settings"),
    ]
    tree = base.model_dump()
    rows += [_field(key, tree) for key in MAIN]
    for section, cls in SECTIONS.items():
        rows.append(Heading(f"{SECTION_TITLES[section]}, all other settings"))
        rows += [_field(key, tree) for name in cls.model_fields if (key := f"{section}.{name}") not in MAIN]
    return rows


def with_machine(rows: list[Field | Heading], devices: Sequence[str], runs: Sequence[str]) -> list[Field | Heading]:
    """The form with a run to tune after the preset, and the device after the name."""
    tune = "a run whose model is trained on, as RUN or RUN@STEP; empty: a new model"
    device = "where to train; auto takes the first GPU when there is one"
    after: dict[str, tuple[Field, ...]] = {
        PRESET: (Field(FROM, "fine-tune from", "", tune, "", ("", *runs), True, prose=True),),
        NAME: (Field(DEVICE, "device", "auto", device, "", tuple(devices), True), processes_field()),
    }
    return [each for row in rows for each in (row, *(after.get(row.key, ()) if isinstance(row, Field) else ()))]


def processes_field(filled: int = 1) -> Field:
    """How many processes train the run."""
    about = "how many train it together, a device each, and go on without this screen; gpu: one for each GPU"
    return Field(PROCESSES, "processes", str(filled), about, f"from 1 to {MOST:,}")


def processes_of(text: str, config: Config | None, device: str, gpus: int) -> int:
    """Processes as typed, that can train `config` on `device` where there are so many GPUs. Raises ConfigError."""
    from engine.training.memory import check_shares

    size = how_many(text.strip() or "1", gpus)
    if size > 1 and device.startswith("cuda:"):
        raise ConfigError(f"{size} processes cannot train on one {device}; take device auto or cuda, a GPU for each")
    if size > gpus and gpus and device != "cpu":
        there = "is 1 GPU" if gpus == 1 else f"are {gpus} GPUs"
        raise ConfigError(f"there {there} here; take no more processes, or device cpu")
    if config is not None:
        check_shares(config, size)
    return size


def fields_of_tuning(rows: list[Field | Heading]) -> list[Field | Heading]:
    """The form for a run that is fine-tuned: model and tokenizer are its own, LoRA stands among the main settings."""
    kept: list[Field | Heading] = []
    lora = [row for row in rows if isinstance(row, Field) and row.key in TUNED]
    for row in rows:
        if isinstance(row, Heading):
            kept.append(row)
            kept += lora if row.text == "main settings" else []
        elif row.key.startswith(("model.", "data.")):
            kept += [row] if row.key in FREE_IN_TUNING else []
        elif row.key not in (PRESET, *TUNED):
            kept.append(row)
    return [row for row, after in zip(kept, [*kept[1:], None], strict=True) if not _bare(row, after)]


def fields_of_fork(base: Config, corpus: str, preset: str, name: str, processes: int = 1) -> list[Field | Heading]:
    """The form for a run that goes on from a checkpoint: what may change there.

    Corpus, preset and how many `processes` train it are the parent's; `name` is given where none is.
    """
    rows = fields_for(base, (), corpus, preset, (preset,))
    kept: list[Field | Heading] = [
        Field(CORPUS, "corpus", corpus, "the corpus of the run it comes from", "", (corpus,))
    ]
    free = {f"train.{name}" for name in FREE_IN_A_FORK}
    for row in rows[1:]:
        if isinstance(row, Field) and row.key == NAME:
            row = Field(NAME, "name", "", f"the new run's name; empty: {name}'s, its step and a number")
        if isinstance(row, Heading) or row.key in (PRESET, NAME) or row.key in free:
            kept.append(row)
        if isinstance(row, Field) and row.key == NAME:
            kept.append(processes_field(processes))
    return [row for row, after in zip(kept, [*kept[1:], None], strict=True) if not _bare(row, after)]


def _bare(row: Field | Heading, after: Field | Heading | None) -> bool:
    """Whether it is a heading with nothing under it."""
    return isinstance(row, Heading) and not isinstance(after, Field)


def _field(key: str, tree: Mapping[str, Any]) -> Field:
    section, _, name = key.partition(".")
    info = SECTIONS[section].model_fields[name]
    prose = info.annotation in (str, tuple[str, ...] | None)
    choices = _choices(info.annotation)
    return Field(key, name, shown(tree[section][name]), info.description or "", _bounds(info), choices, prose=prose)


def shown(value: Any) -> str:
    """A setting's value as a person types it."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return as_typed(value)


def changes_of(typed: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, as `Config.replace` takes it."""
    values = {"yes": "true", "no": "false"}
    return {key: values.get(text.strip(), text) for key, text in typed.items() if "." in key}


def empty(base: Config, changes: Mapping[str, Any]) -> list[str]:
    """Keys left without a value that need one."""
    tree = base.model_dump()

    def needs(key: str) -> bool:
        section, _, name = key.partition(".")
        return SECTIONS[section].model_fields[name].default is not None and not isinstance(tree[section][name], str)

    return [key for key, text in changes.items() if not str(text).strip() and needs(key)]


def config_of(base: Config, changes: Mapping[str, Any]) -> tuple[Config | None, dict[str, str]]:
    """The settings, or None and all that is wrong with them, each error under the key of its field."""
    errors = {key: f"{key} is empty; ctrl+r puts the preset's value back" for key in empty(base, changes)}
    left = {key: value for key, value in changes.items() if key not in errors}
    while True:
        try:
            config = base.replace(left)
        except UserError as error:
            blamed = [key for key in left if re.search(rf"\b{re.escape(key)}\b", str(error))] or _bad_alone(base, left)
            for key in blamed or list(left):
                errors[key] = str(error)
                del left[key]
            if not blamed:  # nobody's fault alone: said at each of those that were changed
                return None, errors
        else:
            return (None if errors else config), errors


def _bad_alone(base: Config, changes: Mapping[str, Any]) -> list[str]:
    for key, value in changes.items():
        try:
            base.replace({key: value})
        except UserError:
            return [key]
    return []


def _choices(annotation: Any) -> tuple[str, ...]:
    if annotation is bool:
        return ("no", "yes")
    if get_origin(annotation) is Literal:
        return tuple(str(value) for value in get_args(annotation))
    return ()


def _bounds(info: Any) -> str:
    """`1 – 256`, `above 0, at most 10`, from the field's constraints."""
    limits = {}
    for each in info.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if getattr(each, name, None) is not None:
                limits[name] = getattr(each, name)
    words = []
    if "ge" in limits:
        words.append(f"from {limits['ge']:,}")
    if "gt" in limits:
        words.append(f"above {limits['gt']:,}")
    if "le" in limits and limits["le"] < 2**62:
        words.append(f"to {limits['le']:,}")
    if "lt" in limits:
        words.append(f"below {limits['lt']:,}")
    return " ".join(words)
