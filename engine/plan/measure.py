"""Measuring the pace of a run: its own step, evaluation and sampling, for two or three seconds. Nothing is written.

As a program (`python -m engine.plan.measure JOB`) it measures on random tokens and prints the pace as JSON; see
`engine.plan.pace`, which starts it.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, replace

import torch

from engine.config import Config, make_config
from engine.errors import UserError, is_out_of_memory
from engine.plan.pace import LIMIT_SECONDS, Pace
from engine.plan.timing import made_up, time_evaluation, time_steps, time_writing
from engine.tokenizers.dataset import TokenDataset
from engine.training.device import ready_device
from engine.training.precision import choose
from engine.training.step import TrainStep, make_step

STEP_SECONDS, EVAL_SECONDS, SAMPLE_SECONDS = 1.5, 0.4, 0.6
"""Time given to each; what is slow may take twice that."""
OUT_OF_MEMORY = "out of memory; lower train.batch_size (and raise train.grad_accum), or model.block_size"


def pace_of(take_step: TrainStep, dataset: TokenDataset) -> Pace:
    """The pace of training with this step on this text; the model is trained by it, hardly."""
    tokens = take_step.config.train.sample_tokens
    return Pace(
        step_seconds=time_steps(take_step, STEP_SECONDS),
        eval_token_seconds=time_evaluation(take_step, dataset, EVAL_SECONDS),
        sample_token_seconds=time_writing(take_step.model, dataset, tokens, SAMPLE_SECONDS) if tokens else 0.0,
        device=str(take_step.device),
        threads=torch.get_num_threads(),
    )


def measure_pace(config: Config, vocab_size: int, device: str = "auto") -> Pace:
    """The pace of `config` on random tokens. Raises ConfigError when the device is not here or cannot compute so."""
    where = ready_device(device, config.train.precision)
    dataset = made_up(config, vocab_size, where)
    if config.train.precision != "auto":
        return pace_of(make_step(config, dataset, where), dataset)
    precision = choose(config, dataset, where, small=False).precision
    pace = pace_of(make_step(config.replace({"train.precision": precision}), dataset, where), dataset)
    return replace(pace, precision=precision)


def problem(error: Exception) -> str:
    """The error in one line; for want of memory, what to do about it."""
    if isinstance(error, UserError):
        return str(error)
    text = " ".join(str(error).split())
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    return f"not measured: {type(error).__name__}: {text[:200]}"


def main(job: str) -> int:
    """Do a job that `pace.Measuring` wrote."""
    signal.alarm(int(2 * LIMIT_SECONDS))  # also when nobody is left to give it up
    tree = json.loads(job)
    try:
        answer = asdict(measure_pace(make_config(tree["config"]), tree["vocab_size"], tree["device"]))
    except Exception as error:
        answer = {"problem": problem(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
