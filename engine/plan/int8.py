"""What 8-bit weights cost a model in loss, measured on the run's held-out text."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.errors import UserError
from engine.model.gpt import GPT
from engine.runs.layout import RunDir
from engine.sampling.matrices import to_int8
from engine.tokenizers.base import Tokenizer
from engine.training.evaluate import Evaluation, evaluate
from engine.training.start import open_dataset

MOST_TOKENS, LEAST_TOKENS = 8192, 512
MOST_FLOPS = 2e11
"""For the evaluation before and the one after, each: some seconds on two cores."""


def in_int8(run: RunDir, model: GPT, tokenizer: Tokenizer, corpora_dir: Path | None = None) -> str:
    """Put the model's matrices in 8 bits, in place; one line that says what it costs, or why that is not known.

    Raises UserError for a model that has none, or not on a CPU.
    """
    try:
        dataset = open_dataset(run, corpora_dir, tokenizer)
    except UserError as error:
        to_int8(model)
        return f"int8: what it costs in loss is not known: {error}"
    params = sum(parameter.numel() for parameter in model.parameters())
    most = int(max(LEAST_TOKENS, min(MOST_TOKENS, MOST_FLOPS / (2 * params))))

    def loss() -> Evaluation:
        return evaluate(model, dataset, model.config.block_size, torch.device("cpu"), most=most)

    before = loss()
    to_int8(model)
    after = loss()
    return f"int8: val loss {after.loss:.4f} for {before.loss:.4f}, on {after.tokens:,} held-out tokens"
