"""What it costs to open a run of a million records, and to list two hundred runs; each in a fresh process.

python -m bench.open_run [--records 1000000] [--runs 200] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import describe, percentile, say, spread
from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run, list_runs
from engine.runs.lines import metric_line
from engine.runs.status import overview
from engine.runs.writer import RunWriter

AT_ONCE = 10_000  # records a write: the same lines as RunWriter's, written faster
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in ru_maxrss's unit


def record(step: int) -> bytes:
    return metric_line(
        {
            "step": step,
            "tokens": step * 768,
            "time_s": step * 0.02,
            "loss": 1.5 + 3.0 / (1.0 + step / 400) + (step * 2654435761 % 1000) / 5000,
            "lr": 1e-3 * (1.0 - step / 2_000_000),
            "grad_norm": 0.5 + (step * 40503 % 1000) / 1000,
            "tokens_per_s": 38_000.0 + step % 997,
            "mem_bytes": 512_000_000 + step % 4096,
        }
    )


def write_run(runs: Path, name: str, records: int) -> RunDir:
    """A finished run with that many metric records, and an evaluation every thousand."""
    run = create_run(runs, name, load_preset("nano"), corpus={"name": "made-up", "sha256": "0" * 64}, preset="nano")
    with RunWriter(run) as writer:
        writer.status(state="finished", phase="", step=records, steps=records, params=800_000)
    with run.metrics.open("ab") as file:
        for start in range(1, records + 1, AT_ONCE):
            stop = min(records + 1, start + AT_ONCE)
            file.write(b"".join(map(record, range(start, stop))))
            loss = 1.6 + 2.0 / (1.0 + start / 5000)
            file.write(metric_line({"step": stop - 1, "tokens": stop * 768, "time_s": stop * 0.02, "val_loss": loss}))
    return run


def open_here(path: str) -> dict[str, float]:
    """Opens the run as the workbench does; what that took, imports left out."""
    import psutil

    from engine.runs.reader import RunReader

    before = psutil.Process().memory_info().rss
    began, cpu = time.perf_counter(), time.process_time()
    reader = RunReader(RunDir(Path(path)))
    reader.poll()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT
    again = time.perf_counter()
    reader.poll()
    return {
        "records": len(reader.series),
        "wall": wall,
        "cpu": cpu,
        "growth": peak - before,
        "kept": psutil.Process().memory_info().rss - before,
        "poll": time.perf_counter() - again,
    }


def list_here(runs: str) -> dict[str, float]:
    began = time.perf_counter()
    found = [overview(run) for run in list_runs(Path(runs))]
    return {"runs": len(found), "wall": time.perf_counter() - began}


def fresh(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "bench.open_run", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip())
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    parser.add_argument("--list", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open or options.list:
        print(json.dumps(open_here(options.open) if options.open else list_here(options.list)))
        return
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        many, long = Path(folder) / "many", write_run(Path(folder) / "long", "long", options.records)
        for i in range(options.runs):
            write_run(many, f"run-{i}", 1000)
        opened, listed, command = [], [], []
        for _ in range(options.rounds):
            opened.append(fresh("--open", str(long.path)))
            listed.append(fresh("--list", str(many)))
            began = time.perf_counter()
            tinytui = [sys.executable, "-m", "tui.cli", "--runs", str(many), "runs", "list", "--json"]
            subprocess.run(tinytui, capture_output=True, check=True)
            command.append(time.perf_counter() - began)
        size = long.metrics.stat().st_size / 1e6
    if opened[0]["records"] != options.records:
        raise SystemExit(f"the reader found {opened[0]['records']:,.0f} of {options.records:,} records")
    say("run", f"{options.records:,} records, {size:.0f} MB")
    say("open, wall", spread([result["wall"] for result in opened]))
    say("open, CPU", spread([result["cpu"] for result in opened]))
    say("open, memory at its peak", spread([result["growth"] for result in opened], "MB", 1e-6))
    say("open, memory kept", spread([result["kept"] for result in opened], "MB", 1e-6))
    say("look again, nothing new", spread([result["poll"] for result in opened], "ms", 1000))
    say(f"{options.runs} runs, rows of the listing", spread([result["wall"] for result in listed], "ms", 1000))
    worst = percentile(command, 1.0)
    say(f"{options.runs} runs, `runs list`", f"{statistics.median(command):.3f} s whole process (worst {worst:.3f} s)")


if __name__ == "__main__":
    main()
