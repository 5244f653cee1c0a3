"""Evaluation: losses are read from the device together, the sum is the same; and with a bound fewer tokens count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.model import build_model
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training import evaluate as evaluation
from engine.training.checkpoint import checkpoint_model, load_checkpoint
from engine.training.evaluate import FEWEST, Portion, evaluate
from engine.training.start import open_dataset

from .conftest import tiny_config, train

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
            (each,) = model.loss_sums(torch.from_numpy(x), torch.from_numpy(y), x.size)
            total += float(each)
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


def test_a_bounded_evaluation_is_the_mean_of_the_same_tokens_every_time_and_the_log_says_of_how_many(
    start: Callable[..., RunDir],
) -> None:
    run = start("bounded", "data.val_tokens=50", "train.eval_every=4", "train.max_steps=8", "train.keep_last=9")
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    dataset, block = open_dataset(run), tiny_config().model.block_size
    begun = next(event for event in reader.events if event["kind"] == "started")
    assert begun["val_tokens"] == 50 // block * block and begun["val_tokens_of"] == len(dataset.val) - 1
    for step, loss in zip(reader.series.val_step.tolist(), reader.series.val_loss.tolist(), strict=True):
        model = checkpoint_model(load_checkpoint(run.checkpoint(step)))
        found = evaluate(model, dataset, block, CPU, most=50)
        assert found.loss == pytest.approx(loss, rel=1e-5) and found.tokens == begun["val_tokens"]
        assert evaluate(model, dataset, block, CPU).loss != pytest.approx(loss, rel=1e-5)
        assert evaluate(model, dataset, block, CPU, most=10**9).tokens == len(dataset.val) - 1
