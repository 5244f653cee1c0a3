"""Evaluation as it is on a GPU: losses are read from the device together, and the sum is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.model import build_model
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training import evaluate as evaluation
from engine.training.evaluate import FEWEST, Portion, evaluate

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


@pytest.mark.parametrize(
    ("device", "block_size", "vocab_size", "rows"),
    [("cpu", 64, 65, 32), ("cpu", 4096, 65, 1), ("cuda", 1024, 50_257, 64), ("cuda", 256, 65, 256)],
)
def test_logits_are_bounded_whatever_the_vocabulary(device: str, block_size: int, vocab_size: int, rows: int) -> None:
    """65,536 tokens of GPT-2's vocabulary at once were 33 GB of logits."""
    portion = Portion.fitting(block_size, vocab_size, torch.device(device))
    assert portion.rows == rows
    assert FEWEST <= portion.tokens <= rows * block_size
    assert 8 * portion.tokens * vocab_size <= evaluation.LOGITS_BYTES[device]
    if vocab_size == 65:
        assert portion.tokens == rows * block_size, "a small vocabulary is not held up"
    largest = Portion.fitting(1 << 20, 1_000_000, torch.device(device))
    assert largest.rows == 1 and 8 * largest.tokens * 1_000_000 <= evaluation.LOGITS_BYTES[device]


def test_an_evaluation_makes_no_more_logits_at_once(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)
    config, vocab = tiny_config(), dataset.tokenizer.vocab_size
    model = build_model(config.model, vocab, torch.Generator().manual_seed(1)).eval()
    whole = evaluate(model, dataset, 16, CPU)
    monkeypatch.setitem(evaluation.LOGITS_BYTES, "cpu", 8 * vocab * 24)
    made: list[int] = []
    plain = model.logits
    monkeypatch.setattr(model, "logits", lambda x: made.append(x.numel() // x.size(-1)) or plain(x))
    parted = evaluate(model, dataset, 16, CPU)
    assert max(made) == 24 and sum(made) == parted.tokens == whole.tokens
    assert parted.loss == pytest.approx(whole.loss, rel=1e-6)
