"""`tinytui runs`: the runs there are, their figures and curves, and what can be done with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import RunError
from tui.cli import live, naming
from tui.cli.beside import compare, plot
from tui.cli.export import export, import_
from tui.cli.options import Json, Run, Runs, RunsDir, Yes, complete_checkpoint, set_option
from tui.cli.output import complain, one_line, pour, print_facts, print_json, print_table, say

if TYPE_CHECKING:
    from engine.runs.layout import RunDir

CELL = 40  # characters of a name in a listing

app = typer.Typer(
    help="Runs: list, show, plot, stop, pause, compare, rename, note, verify, export, fork, remove.",
    no_args_is_help=True,
)


@app.command("list")
def list_(
    filter: Annotated[
        str, typer.Argument(metavar="FILTER", help="Words, key:word, and figures: lr>1e-3 params>=1M !state:failed.")
    ] = "",
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="FIGURE", help="By best, val, bpb, lr, name or another; least first."),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="With --sort: the greatest first.")] = False,
    runs: RunsDir = Path("runs"),
    as_json: Json = False,
) -> None:
    """All runs, the most recently active first; some of them by a filter such as 'corpus:soap val<1.5'."""
    from engine.runs.filter import NUMBERS, TEXTS, parse_filter
    from engine.runs.layout import list_runs
    from engine.runs.status import overview
    from tui.text import fmt_count, fmt_duration, fmt_loss

    wanted = parse_filter(filter)
    rows = [row for run in list_runs(runs) if wanted(row := overview(run))]
    if sort is not None:
        if (fact := (NUMBERS | TEXTS).get(sort)) is None:
            raise RunError(f"runs are not sorted by {sort!r:.40}; there are {', '.join([*NUMBERS, *TEXTS])}")
        known = [row for row in rows if row.get(fact) is not None]
        known.sort(key=lambda row: row[fact], reverse=reverse)
        rows = [*known, *(row for row in rows if row.get(fact) is None)]
    if as_json:
        print_json(rows)
        return
    if not rows and filter.strip():
        say(f"no run in {runs} is so: {filter}")
        return
    if not rows:
        say(f"no runs in {runs} yet; tinytui demo trains a first one")
        return
    print_table(
        ["run", "state", ">step", ">of", ">best val", ">parameters", ">trained", "corpus", "preset", "note"],
        (
            [
                row["name"],
                short(row["state"]),
                f"{row['step'] or 0:,}",
                f"{row['steps'] or 0:,}",
                fmt_loss(row["best_val_loss"]),
                fmt_count(row["params"]),
                fmt_duration(row["train_seconds"]),
                short(row["corpus"]),
                short(row["preset"]),
                short(row["note"] or None),
            ]
            for row in rows
        ),
    )
    for row in rows:
        if row["state"] == "damaged":
            complain(row["problem"])


def short(text: str | None) -> str | None:
    """A name cut to what a listing has room for: no run's names push those of others out."""
    return text if text is None or len(text) <= CELL else f"{text[: CELL - 1]}…"


@app.command()
def show(
    ctx: typer.Context,
    run: Run,
    settings: Annotated[
        bool, typer.Option("--settings", help="All its settings instead, as a file for train --config.")
    ] = False,
    runs: RunsDir = Path("runs"),
    as_json: Json = False,
) -> None:
    """One run's figures and checkpoints."""
    from engine.runs.layout import find_run
    from engine.runs.summary import summary

    found = find_run(run, runs)
    if settings and as_json:
        ctx.fail("--json has the settings beside all else: leave --settings out")
    if settings:
        from engine.preset_files import as_toml
        from engine.runs.status import read_config

        pour(as_toml(read_config(found)))
        return
    facts = summary(found)
    if as_json:
        print_json(facts)
    else:
        show_facts(found, facts)


def show_facts(run: RunDir, facts: dict[str, Any]) -> None:
    from tui.state.summary import setting
    from tui.text import fmt_bytes, fmt_count, fmt_duration, fmt_loss

    alone = " of answers alone" if setting(facts, "data", "loss") == "answers" else ""

    def with_step(loss: float | None, step: int | None) -> str | None:
        return None if loss is None else fmt_loss(loss) + alone + (f" at step {step:,}" if step is not None else "")

    perplexity, bpb = facts.get("val_perplexity"), facts.get("val_bits_per_byte")
    print_facts(
        [
            ("run", facts["name"]),
            ("note", facts.get("note") or None),
            ("state", facts["state"]),
            *(("problem", problem) for problem in facts["problems"]),
            ("step", f"{facts['step'] or 0:,} of {facts['steps'] or 0:,}"),
            ("corpus", facts.get("corpus")),
            ("preset", facts.get("preset")),
            ("parameters", f"{facts['params']:,}" if facts.get("params") else None),
            ("tokens", f"{facts['tokens']:,}" if facts.get("tokens") else None),
            ("best val", with_step(facts.get("best_val_loss"), facts.get("best_val_step"))),
            ("last val", with_step(facts.get("last_val_loss"), None)),
            ("perplexity", f"{perplexity:.2f}" if perplexity else None),
            ("bits/byte", f"{bpb:.4f}" if bpb else None),
            ("trained", fmt_duration(facts.get("train_seconds"))),
            ("evaluated", fmt_duration(facts.get("eval_seconds"))),
            ("speed", f"{fmt_count(facts.get('tokens_per_second'))} tokens/s"),
            ("peak memory", fmt_bytes(facts.get("peak_memory_bytes"))),
            ("copied", copied_words(facts.get("copied"))),
            ("lies in", run.path),
        ]
    )
    if ranks := facts.get("ranks"):
        typer.echo()
        print_table(
            [">rank", "host", "device", ">own work", ">memory"],
            (
                [str(r["rank"]), r["host"], r["device"], f"{1000 * r['seconds']:,.0f} ms", fmt_bytes(r["memory"])]
                for r in ranks
            ),
        )
    if facts.get("checkpoints"):
        typer.echo()
        print_table(
            [">checkpoint", ">val loss", "path"],
            ([f"{c['step']:,}", fmt_loss(c.get("val_loss")), c["path"]] for c in facts["checkpoints"]),
        )


def copied_words(copied: dict[str, Any] | None) -> str | None:
    """How much of the newest sample stands in the training text."""
    from engine.runs.lines import CopiedPart

    if copied is None:
        return None
    step = copied["step"]
    part = CopiedPart(**{key: value for key, value in copied.items() if key != "step"})
    return f"{part}, in the sample of step {step:,}" + ("; far more than in held-out text" if part.too_much else "")


@app.command()
def verify(run: Run, runs: RunsDir = Path("runs"), as_json: Json = False) -> None:
    """Check every checkpoint against its SHA-256. Exits 1 when one is damaged."""
    from engine.runs.layout import find_run
    from engine.training.verify import verify_checkpoint

    found = find_run(run, runs)
    rows = []
    for step in found.checkpoint_steps():
        checked = verify_checkpoint(found.checkpoint(step))
        problem = checked.problem or None
        rows.append({"step": step, "ok": checked.ok, "weights_sha256": checked.weights_sha256, "problem": problem})
    if as_json:
        print_json({"name": found.name, "checkpoints": rows})
    elif rows:
        print_table(
            [">checkpoint", "", "weights' sha256", "problem"],
            (
                [
                    f"{row['step']:,}",
                    "ok" if row["ok"] else "damaged",
                    str(row["weights_sha256"])[:16],
                    row["problem"] or "",
                ]
                for row in rows
            ),
        )
    else:
        say(f"run {found.name} has no checkpoint yet")
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)


app.command()(compare)
app.command()(plot)
app.command()(live.stop)
app.command()(live.pause)
app.command()(live.resume)
app.command()(live.checkpoint)
app.command("set-lr")(live.set_lr)
app.command()(naming.rename)
app.command()(naming.note)
app.command()(export)
app.command("import")(import_)


@app.command()
def fork(
    run: Run,
    step: Annotated[
        str,
        typer.Option(
            "--step",
            metavar="N|best|last",
            help="The checkpoint to go on from.",
            autocompletion=complete_checkpoint,
        ),
    ] = "last",
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="The new run's name.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", help="Train to this step.")] = None,
    sets: Annotated[
        list[str] | None, set_option("A train. setting that is different from there on; repeatable.")
    ] = None,
    runs: RunsDir = Path("runs"),
    as_json: Json = False,
) -> None:
    """Begin a new run from a checkpoint, with other settings if you like."""
    from engine.preset_files import parse_sets
    from engine.runs.layout import find_run
    from engine.runs.status import read_config
    from engine.training.fork import fork_run
    from tui.state.detached import how_to

    changes: dict[str, Any] = dict(parse_sets(sets or []))
    if steps is not None:
        changes["train.max_steps"] = steps
    made = fork_run(find_run(run, runs), step, runs, name=name, changes=changes)
    if as_json:
        print_json({"name": made.name, "path": str(made.path)})
    else:
        begins = made.checkpoint_steps()[-1]
        more = "" if begins < read_config(made).train.max_steps else f" --steps {2 * begins}"  # where it would end
        say(f"{made.name}; train it with: {how_to('train --resume', made, runs)}{more}")


@app.command()
def rm(run: Runs, yes: Yes = False, runs: RunsDir = Path("runs")) -> None:
    """Delete runs with all that is in them. One that is being trained is refused."""
    from engine.runs.layout import find_run, remove_run
    from tui.state.detached import how_to

    found = [find_run(name, runs) for name in run]
    for each in found:
        if each.live:
            raise RunError(f"run {each.name} is being trained; stop it first: {how_to('runs stop', each, runs)}")
    if not yes:
        typer.confirm(f"delete {', '.join(one_line(each.name) for each in found)} for good?", abort=True)
    for each in found:
        remove_run(each)
        say(f"deleted {each.name}")
