"""Beginning a run, and going on with one: everything that can be wrong is found before a folder is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.config import Config
from engine.errors import ConfigError, CorpusError, RunError
from engine.machine import environment
from engine.runs.layout import RunDir, create_run, new_name
from engine.runs.status import check_trained_here, read_config, read_info, read_said
from engine.runs.writer import RunWriter
from engine.text.catalog import find_corpus
from engine.text.corpus import Text
from engine.text.prepared import Prepared, no_text
from engine.text.template import Template
from engine.tokenizers.base import Tokenizer
from engine.tokenizers.dataset import TokenDataset, material
from engine.tokenizers.table import least_vocab
from engine.training.memory import check_memory, check_shares

Progress = Callable[[str, float], None]

DEFAULT_SAMPLE_PROMPT = "\n"


def start_run(
    corpus: str,
    config: Config,
    runs_dir: Path | None = None,
    *,
    name: str | None = None,
    preset: str = "",
    corpora_dir: Path | None = None,
    device: str = "auto",
    base: tuple[RunDir, str | int] | None = None,
    progress: Progress | None = None,
    ranks: int = 1,
) -> RunDir:
    """Make the run's directory, ready for a `TrainingHost`; its tokens are cached, so training starts at once.

    `ranks` is how many processes are to train it. `base` is the (run, checkpoint) to fine-tune; `config` begins as
    `fork.fine_tuning_config` of it.
    Raises CorpusError, TokenizerError, ConfigError, CheckpointError or RunError, and then has made nothing.
    """
    check_shares(config, ranks)
    check_memory(config, least_vocab(config.data), device, ranks)
    found = find_corpus(corpus, corpora_dir)
    text = material(found, progress=progress)
    parent = None
    if base is not None:
        from engine.training.checkpoint import choose_checkpoint, load_checkpoint
        from engine.training.fork import check_base, write_base

        parent = load_checkpoint(choose_checkpoint(*base))
        check_base(base[0], parent, config)
    elif config.train.lora_r:
        raise ConfigError("lora adapts a trained model; name it with --from RUN")
    tokenizer = parent.tokenizer if parent is not None else None
    dataset = TokenDataset.open(text, config.data, progress=progress, tokenizer=tokenizer)
    dataset.check(config.model.block_size, config.data.val_tokens)
    if isinstance(text, Prepared) and parent is None:
        config = config.replace(text.settings)
    check_memory(config, dataset.tokenizer.vocab_size, device, ranks)
    if config.train.prompts == (DEFAULT_SAMPLE_PROMPT,) and found.template is not None and found.examples:
        prompt, stops = found.template.apply(found.examples[0]), found.template.stops
        config = config.replace({"train.sample_prompt": prompt, "train.sample_stop": stops[0] if stops else ""})

    def fill(run: RunDir) -> None:
        if parent is not None:
            write_base(run, parent, config, dataset)

    return create_run(
        runs_dir,
        name or new_name(runs_dir, found.name, preset or "custom"),
        config,
        corpus={
            "name": found.name,
            "path": str(found.path.absolute()) if not found.shipped else None,
            "sha256": text.sha256,
            "bytes": text.n_bytes,
            "train_tokens": len(dataset.train),
            "val_tokens": len(dataset.val),
            **({"left_out": text.left_out} if text.left_out else {}),
            **({"boundary": text.boundary} if isinstance(text, Text) else {}),
        },
        preset=preset,
        template=found.template.to_dict() if found.template else None,
        tokenizer=dataset.tokenizer.identity,
        parent=None
        if base is None or parent is None
        else {"run": base[0].name, "path": str(base[0].path), "step": parent.step, "how": "fine-tune"},
        environment={**environment(), "device": device, **({"ranks": ranks} if ranks > 1 else {})},
        fill=fill,
    )


def resume_run(run: RunDir, *, max_steps: int | None = None, device: str | None = None) -> RunDir:
    """Ready `run` to go on, to `max_steps` and from now on on `device` when given: it may have moved to a machine
    without its own. Raises RunError when it has nothing left to do."""
    config = read_config(run)
    check_trained_here(run)
    status, _ = read_said(run)
    status = status or {}
    done = int(status.get("step") or 0)
    wanted = max_steps if max_steps is not None else config.train.max_steps
    if status.get("state") == "finished" and done >= wanted:
        raise RunError(f"run {run.name} finished at step {done}; train it longer with {longer(run, done)}")
    if max_steps is not None and max_steps != config.train.max_steps:
        if max_steps <= done:
            raise RunError(f"run {run.name} is at step {done} already; more are made with {longer(run, done)}")
        with RunWriter(run) as writer:
            writer.describe(config=config.replace({"train.max_steps": max_steps}).model_dump(mode="json"))
            writer.event("steps", done, value=max_steps, before=config.train.max_steps)
    known = read_info(run).get("environment") or {}
    if device is not None and device != known.get("device"):
        with RunWriter(run) as writer:
            writer.describe(environment={**known, "device": device})
    return run


def longer(run: RunDir, done: int) -> str:
    """The command that trains a run of so many steps twice as long."""
    return f"tinytui train --resume {run.name} --steps {2 * done}"


def open_dataset(run: RunDir, corpora_dir: Path | None = None, tokenizer: Tokenizer | None = None) -> TokenDataset:
    """The tokens `run` is trained on, by its checkpoints' `tokenizer`, or a newly trained one when it has none yet.

    Raises CorpusError when its corpus is gone or has changed since.
    """
    data, text = read_config(run).data, _trained_on(run, corpora_dir)
    if isinstance(text, Text) and (form := read_info(run).get("template")):  # which a card may have otherwise by now
        text = replace(text, template=Template.from_dict(form))
    return TokenDataset.open(text, data, tokenizer=tokenizer)


def corpus_text(run: RunDir, corpora_dir: Path | None = None) -> Text:
    """The text `run` is trained on. Raises CorpusError when it is gone or has changed since, or never was here."""
    found = _trained_on(run, corpora_dir)
    if isinstance(found, Prepared):
        raise CorpusError(no_text(found.path))
    return found


def _trained_on(run: RunDir, corpora_dir: Path | None) -> Text | Prepared:
    """What `run` is trained on. Raises CorpusError when it is gone or has changed since."""
    corpus = read_info(run).get("corpus") or {}
    problem: CorpusError | None = None
    changed = False
    # by name first: an added corpus has a card (columns, template) that its file alone has not
    for place in dict.fromkeys((corpus.get("name"), corpus.get("path"))):
        try:
            text = material(find_corpus(place, corpora_dir)) if place else None
        except CorpusError as error:
            problem = error
            continue
        if text is not None and text.sha256 == corpus.get("sha256"):
            if isinstance(text, Text) and "boundary" in corpus:  # which a card may have otherwise by now
                text = replace(text, boundary=corpus["boundary"])
            return text
        changed = changed or text is not None
    if changed:
        raise CorpusError(
            f"corpus {corpus.get('name')} has changed since run {run.name} began; restore it, or start a new run on it"
        )
    said = f"run.json of {run.name} says"
    if problem is None:
        raise CorpusError(f"{said} not which corpus it was trained on")
    kept = f", or keep it by name: tinytui corpora add FILE --name {corpus.get('name')}" if "boundary" in corpus else ""
    raise CorpusError(f"{said} of its corpus: {problem}{kept}")
