"""`tinytui runs export` and `import`: figures as CSV or for TensorBoard, models to and from transformers and PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import UserError
from tui.cli.options import Run, RunsDir
from tui.cli.output import complain, say

if TYPE_CHECKING:
    from engine.runs.layout import RunDir


def export(
    ctx: typer.Context,
    run: Run,
    target: Annotated[
        Path, typer.Argument(metavar="FILE.csv|FOLDER", help="Where to; - is standard output (CSV only).")
    ],
    hf: Annotated[bool, typer.Option("--hf", help="The model, for transformers, into a folder.")] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="The figures, for TensorBoard, into a folder.")
    ] = False,
    adapter: Annotated[bool, typer.Option("--adapter", help="The LoRA adapter, for PEFT, into a folder.")] = False,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="best|last|STEP", help="Whose weights, with --hf and --adapter.")
    ] = "best",
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds something: same names are replaced.")
    ] = False,
    runs: RunsDir = Path("runs"),
) -> None:
    """The logged figures as CSV, a line a step; or the model for other programs."""
    from engine.files import check_output_folder
    from engine.runs.layout import find_run
    from engine.runs.summary import csv_lines, export_csv

    if hf + adapter + tensorboard > 1:
        ctx.fail("--hf, --adapter and --tensorboard go into folders of their own, one at a time")
    found = find_run(run, runs)
    if hf or adapter or tensorboard:
        check_output_folder(target, force=force)
    if hf:
        export_model(found, checkpoint, target, force)
    elif adapter:
        export_adapter(found, checkpoint, target, force)
    elif tensorboard:
        from engine.interop.tensorboard import export_tensorboard

        steps = export_tensorboard(found, target, force=force)
        say(f"{target}: {steps:,} steps; look at them with tensorboard --logdir {target}")
    elif str(target) == "-":
        for line in csv_lines(found, complain):
            typer.echo(line)
    else:
        say(f"{target}: {export_csv(found, target, complain):,} steps")


def export_model(run: RunDir, checkpoint: str, folder: Path, force: bool) -> None:
    """Write the model as transformers reads it."""
    from engine.interop.architectures import architecture_of
    from engine.interop.hf import export as write
    from engine.training.checkpoint import load_model

    model, tokenizer, step = load_model(run, checkpoint, say=complain)
    kind = write(model, tokenizer, folder, force=force)
    trust = ", trust_remote_code=True" if architecture_of(model.config).code is not None else ""
    say(f"{folder}: {kind} at step {step:,}; load it with AutoModelForCausalLM.from_pretrained({str(folder)!r}{trust})")


def export_adapter(run: RunDir, checkpoint: str, folder: Path, force: bool) -> None:
    """Write the adapter as PEFT reads it. Raises UserError for a run that was not fine-tuned with one."""
    from engine.interop.adapters import save_adapter
    from engine.model.lora import LoRAConfig
    from engine.training.build import build_for
    from engine.training.checkpoint import choose_checkpoint, fill_model, load_checkpoint

    loaded = load_checkpoint(choose_checkpoint(run, checkpoint))
    train = loaded.config.train
    if not train.lora_r:
        raise UserError(f"run {run.name} has no adapter: all its weights were trained; --hf writes them")
    model = build_for(loaded.config, loaded.tokenizer.vocab_size)
    fill_model(model, loaded.weights, loaded.path)
    save_adapter(model, LoRAConfig(r=train.lora_r, alpha=train.lora_alpha), folder, force=force)
    say(f"{folder}: adapter of rank {train.lora_r} at step {loaded.step:,}")


def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A GPT-2, Llama or NanoChat as transformers saves it, or an export of ours."
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="The run's name.")] = None,
    runs: RunsDir = Path("runs"),
) -> None:
    """A model from transformers as a run: to sample, and to fine-tune with train --from."""
    from engine.training.imported import import_run

    made = import_run(folder, runs, name=name)
    say(f"{made.name}; try it with: tinytui sample {made.name} --prompt TEXT")
