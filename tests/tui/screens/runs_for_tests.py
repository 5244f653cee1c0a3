"""A run as training would leave it, the same every time, without training one."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from engine.preset_files import load_preset
from engine.runs.layout import RunDir, create_run
from engine.runs.writer import RunWriter

TEMPLATE = {"prefix": "### Input:\n", "infix": "\n### Output:\n", "suffix": "\n\n", "stop": []}
PAGES = (
    "atie te cheas and pon te, nonre stad hes. Patien wide ate thean.\nOb: BP te 12, HR 8.\n",
    "Subjective: Patient reports headeche for the past two days, worst in the morining.\n"
    "Objective: BP 124/82, HR 76.\n",
    "Subjective: Patient reports headache for three days, worse in the evening, with mild nausea. Denies fever, neck "
    "stiffness or visual change.\nObjective: BP 122/78, HR 74, T 36.8. Neck supple, fundi normal.\n"
    "Assessment: Tension-type headache, no red flags.\n"
    "Plan: Hydration, paracetamol 1 g as needed, review in one week.\n",
)


def write_run(
    runs_dir: Path, name: str = "ward-notes-nano-1", *, state: str = "finished", step: int = 500, **status: Any
) -> RunDir:
    """A `nano` run on ward-notes at `step` of 500, with evaluations, checkpoints and samples every 100 steps.

    `state` running or paused makes it look alive on another machine, so that nothing of this one is shown.
    """
    config = load_preset("nano")
    corpus = {"name": "ward-notes", "path": None, "sha256": "0" * 64, "bytes": 1_600_000, "train_tokens": 1_440_000}
    run = create_run(
        runs_dir,
        name,
        config,
        corpus=corpus,
        preset="nano",
        template=TEMPLATE,
        tokenizer={"kind": "char", "vocab_size": 84, "fingerprint": "f" * 64},
        environment={"python": "3.12", "device": "cpu"},
    )
    with RunWriter(run) as writer:
        for at in range(1, step + 1):
            loss = 1.05 + 3.3 * math.exp(-at / 70) + 0.06 * math.sin(at * 1.7) * math.cos(at * 0.31)
            writer.metric(
                step=at,
                tokens=at * 768,
                time_s=at * 0.024,
                loss=loss,
                lr=0.01 * (1 - at / 500),
                grad_norm=0.4 + 0.9 * math.exp(-at / 50) + 0.08 * math.sin(at),
                tokens_per_s=32_000 + 900 * math.sin(at / 9),
                mem_bytes=412_000_000,
            )
            if at % 100 == 0:
                writer.metric(
                    step=at,
                    tokens=at * 768,
                    time_s=at * 0.024,
                    val_loss=loss + 0.03,
                    val_bpb=(loss + 0.03) / math.log(2),
                    eval_s=0.8,
                )
                run.checkpoint(at).mkdir(parents=True)
                writer.event("checkpoint", at, path=f"step-{at:08d}", val_loss=loss + 0.03)
                writer.sample(
                    step=at,
                    prompt="### Input:\nPt. complains of headache.\n### Output:\n",
                    text=PAGES[min(at // 200, 2)],
                    settings={"temperature": 0.8, "top_k": 0, "top_p": 1.0, "max_tokens": 200, "seed": 1337},
                    seed=1337,
                )
        writer.status(state="running", step=step, steps=500)
    said = {
        "state": state,
        "phase": "training" if state == "running" else "",
        "pid": 4321,
        "host": "gpu-box",
        "step": step,
        "steps": 500,
        "heartbeat": time.time(),
        "device": "cpu",
        "params": 812_416,
        "tokens": step * 768,
        "train_seconds": step * 0.024,
        "eval_seconds": step // 100 * 0.8,
        "peak_memory_bytes": 430_000_000,
        "memory": {"weights": 3_249_664, "gradients": 3_249_664, "optimizer": 4_800_000, "activations": 21_400_000},
        **status,
    }
    run.status_json.write_text(json.dumps(said))
    return run
