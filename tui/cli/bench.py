"""`tinytui bench`: how fast this machine trains and writes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from tui.cli.options import Json, complete_preset
from tui.cli.output import print_json, print_table, progress, say


def bench(
    preset: Annotated[
        str, typer.Option("--preset", metavar="P", help="Whose shape is measured.", autocompletion=complete_preset)
    ] = "nano",
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.1, max=60.0, help="Time for each measurement.")
    ] = 4.0,
    as_json: Json = False,
) -> None:
    """How fast this machine trains and writes, CPU beside GPU."""
    from engine.plan.bench import bench_device, bench_devices
    from engine.preset_files import load_preset

    config = load_preset(preset)
    with progress("measuring") as report:
        results = [bench_device(config, device, seconds, report) for device in bench_devices()]
    if as_json:
        print_json({"preset": preset, "devices": [asdict(result) for result in results]})
        return
    cpu = results[0]
    say(f"preset {preset}, {cpu.params:,} parameters, {cpu.tokens_per_step:,} tokens a step\n")
    gpu = results[1] if len(results) > 1 else None
    rows: list[list[Any]] = [["", cpu.name, gpu.name if gpu else "none"]]
    for label, form in figures():
        rows.append([label, form(cpu), form(gpu) if gpu else ""])
    print_table(["", "CPU", "GPU"], rows)


def figures() -> list[tuple[str, Any]]:
    """(label, how it is shown) of every figure measured."""
    from tui.text import fmt_bytes, fmt_count

    return [
        ("train step", lambda result: f"{result.step_ms:.1f} ms"),
        ("train tokens/s", lambda result: fmt_count(result.train_tokens_per_second)),
        ("decode tokens/s", lambda result: fmt_count(result.decode_tokens_per_second)),
        ("peak memory", lambda result: fmt_bytes(result.peak_memory_bytes)),
        ("arithmetic", lambda result: result.precision),
        ("step made", lambda result: result.step),
    ]
