"""Evaluation as it is on a GPU: losses are read from the device together, and the sum is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.model import build_model
from engine.text.catalog import find_corpus
from engine.text.dataset import TokenDataset
from engine.training import evaluate as evaluation
from engine.training.evaluate import evaluate

from .conftest import tiny_config

CPU = torch.device("cpu")


def test_evaluation_reads_losses_together_and_adds_them_in_order(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)
    monkeypatch.setitem(evaluation.TOKENS_PER_BATCH, "cpu", 64)
    monkeypatch.setattr(evaluation, "QUEUED", 5)
    config = tiny_config()
    model = build_model(config.model, dataset.tokenizer.vocab_size, torch.Generator().manual_seed(1)).eval()
    read, batches, asked = evaluation._added, list(dataset.val_batches(16, 4)), []
    waiting: list[int] = []

    def added(total: float, sums: list[torch.Tensor]) -> float:
        waiting.append(len(sums))
        return read(total, sums)

    def between() -> bool:
        asked.append(sum(waiting))
        return False

    monkeypatch.setattr(evaluation, "_added", added)
    result = evaluate(model, dataset, 16, CPU, between=between)
    assert len(batches) % 5 and len(batches) > 8, "the last read is of fewer"
    assert waiting == [5] * (len(batches) // 5) + [len(batches) % 5]
    assert asked == [index // 5 * 5 for index in range(len(batches))], "between is called before every batch"
    total = 0.0
    with torch.inference_mode():
        for x, y in batches:
            total += float(model.loss(torch.from_numpy(x), torch.from_numpy(y), reduction="sum"))
    assert result.loss == total / (len(dataset.val) - 1)
