"""The step: accumulation, clipping, and nothing changed by a loss that is not finite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config import Config
from engine.model import build_model
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.text.catalog import find_corpus
from engine.tokenizers.dataset import TokenDataset
from engine.training.batches import Batches
from engine.training.device import autocast
from engine.training.evaluate import Interrupted, evaluate
from engine.training.optim import Optimizer
from engine.training.step import Result, TrainStep, step_seed

from .conftest import flat, tiny_config, train

CPU = torch.device("cpu")


@pytest.fixture
def dataset(corpus: Path) -> TokenDataset:
    return TokenDataset.open(find_corpus(str(corpus)).prepare(), tiny_config().data)


def make_step(config: Config, dataset: TokenDataset) -> TrainStep:
    model = build_model(config.model, dataset.tokenizer.vocab_size, torch.Generator().manual_seed(1)).train()
    return TrainStep(model, Optimizer(model, config.train), Batches(dataset, config, CPU), config)


def test_accumulated_gradient_is_the_mean_of_the_micro_batches(dataset: TokenDataset) -> None:
    step = make_step(tiny_config("train.grad_accum=3"), dataset)
    loss = step.forward_backward(0)
    accumulated = flat(step.model, gradients=True)
    xs, ys = zip(*(step.batches.get(0, micro) for micro in range(3)), strict=True)
    step.clear()
    whole = step.model.loss(torch.cat(xs), torch.cat(ys))
    whole.backward()
    torch.testing.assert_close(loss, whole.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(accumulated, flat(step.model, gradients=True), rtol=1e-4, atol=1e-6)


def test_clipping_bounds_the_gradient_and_reports_the_norm_before(dataset: TokenDataset) -> None:
    step = make_step(tiny_config("train.grad_clip=0.01"), dataset)
    norm = step(0, 1.0).grad_norm
    assert norm > 0.01
    assert float(flat(step.model, gradients=True).norm()) == pytest.approx(0.01, rel=1e-3)


def test_a_gradient_shorter_than_the_clip_comes_out_unchanged(dataset: TokenDataset) -> None:
    found = []
    for clip in (0.0, 1e3):
        step = make_step(tiny_config(f"train.grad_clip={clip}"), dataset)
        norm = step(0, 1.0).grad_norm
        assert 0 < norm < 1e3
        assert float(flat(step.model, gradients=True).norm()) == pytest.approx(norm, rel=1e-5)
        found.append((flat(step.model, gradients=True), flat(step.model)))
    for plain, clipped in zip(*found, strict=True):
        assert torch.equal(plain, clipped)


def test_dropout_differs_from_step_to_step_and_from_batch_to_batch(
    dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights and the same text each time: what differs is what was left out."""
    losses: dict[tuple[int, int], float] = {}
    step = make_step(tiny_config("model.dropout=0.3", "train.grad_accum=2"), dataset)
    step.optimizer.step(1.0)  # away from weights that are zero at first
    x, y = step.batches.get(0, 0)
    monkeypatch.setattr(step.batches, "get", lambda number, micro: (x, y))
    plain = step.micro_batch
    seen: list[float] = []

    def micro_batch(*batch: Any) -> torch.Tensor:
        loss = plain(*batch)
        seen.append(float(loss))
        return loss

    monkeypatch.setattr(step, "micro_batch", micro_batch)
    for parameter in step.trained:
        parameter.data.normal_(0.0, 0.1)
    for number in range(4):
        seen.clear()
        step(number, 0.0)
        losses |= {(number, micro): loss for micro, loss in enumerate(seen)}
    assert len(set(losses.values())) == 8
    again = dict(losses)
    seen.clear()
    step(2, 0.0)
    assert seen == [again[2, 0], again[2, 1]], "and a step repeated is the same"


def test_after_a_roll_back_there_are_other_batches(dataset: TokenDataset) -> None:
    batches, salted = (Batches(dataset, tiny_config(), CPU) for _ in range(2))
    salted.salt = 1
    assert torch.equal(batches.get(3, 0)[0], Batches(dataset, tiny_config(), CPU).get(3, 0)[0])
    assert not torch.equal(batches.get(3, 0)[0], salted.get(3, 0)[0])


def test_smaller_micro_batches_have_the_same_sequences(dataset: TokenDataset) -> None:
    whole = Batches(dataset, tiny_config("train.batch_size=6"), torch.device("cpu"))
    parts = Batches(dataset, tiny_config("train.batch_size=2", "train.grad_accum=3"), torch.device("cpu"))
    for step in (0, 1, 977):
        micros = [parts.offsets(step, micro) for micro in range(3)]
        assert np.array_equal(np.concatenate(micros), whole.offsets(step, 0))


def test_training_stops_before_the_update_and_names_step_and_batch(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("nan")
    plain = TrainStep.forward_backward

    def forward_backward(self: TrainStep, step: int) -> torch.Tensor:
        loss = plain(self, step)
        return loss * float("nan") if step == 6 else loss

    monkeypatch.setattr(TrainStep, "forward_backward", forward_backward)
    host = train(run)
    assert host.state == "failed"
    assert host.error is not None and host.error.startswith("step 7: the loss is nan; stopped before the update, batch")
    assert "\n" not in host.error
    assert run.checkpoint_steps()[-1] == 6  # the last good weights are kept
    reader = RunReader(run)
    reader.poll()
    assert reader.series.step.tolist() == [1, 2, 3, 4, 5, 6]
    assert reader.status["state"] == "failed"


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("micro", [0, 2, 3])
def test_a_bad_step_names_the_micro_batch_that_it_was(
    micro: int, where: str, start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever it was, the first was named."""
    run = start("nan", "train.grad_accum=4", "model.dropout=0.1", "train.sample_tokens=0")
    from engine.training.trainer import Trainer

    bad: list[torch.Tensor] = []
    plain, make = TrainStep.micro_batch, Trainer.__init__

    def init(self: Trainer, *args: object) -> None:
        make(self, *args)  # type: ignore[arg-type]
        bad.append(self.batches.get(6, micro)[0])

    def micro_batch(self: TrainStep, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        loss = plain(self, x, *rest)
        if torch.equal(x, bad[0]):
            if where == "loss":
                return loss * float("nan")
            self.trained[0].grad.view(-1)[5] = float("inf")
        return loss

    monkeypatch.setattr(Trainer, "__init__", init)
    monkeypatch.setattr(TrainStep, "micro_batch", micro_batch)
    host = train(run)
    assert host.state == "failed" and host.error is not None
    assert f"step 7: the {'loss is nan' if where == 'loss' else 'gradient norm is inf'}; " in host.error
    assert f"micro-batch {micro + 1} of 4 at training tokens " in host.error
    reader = RunReader(run)
    reader.poll()
    event = next(event for event in reader.events if event["kind"] == "not_finite")
    dataset = TokenDataset.open(find_corpus(str(run.path.parents[1] / "tiny.txt")).prepare(), tiny_config().data)
    offsets = Batches(dataset, tiny_config("train.grad_accum=4"), CPU).offsets(6, micro).tolist()
    assert (event["micro_batch"], event["batch_offsets"]) == (micro, offsets)
    assert run.checkpoint_steps()[-1] == 6


def test_a_spike_goes_back_to_the_last_checkpoint(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("spike", "train.spike_rollback=2.0")
    plain = TrainStep.__call__
    seen: list[int] = []

    def call(self: TrainStep, step: int, multiplier: float) -> Result:
        result = plain(self, step, multiplier)
        if step == 9 and not seen:
            seen.append(step)
            result = result._replace(loss=50 * result.loss)
        return result

    monkeypatch.setattr(TrainStep, "__call__", call)
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    rollback = next(event for event in reader.events if event["kind"] == "rollback")
    assert (rollback["step"], rollback["to"]) == (10, 8)
    assert reader.series.step.tolist() == list(range(1, 13))


def test_evaluation_counts_every_target_once(dataset: TokenDataset) -> None:
    config = tiny_config()
    model = build_model(config.model, dataset.tokenizer.vocab_size, torch.Generator().manual_seed(1))
    result = evaluate(model, dataset, 16, CPU)
    ids = np.asarray(dataset.val).astype(np.int64)
    losses = []
    for start in range(0, len(ids) - 1, 16):
        x = torch.from_numpy(ids[start : min(start + 16, len(ids) - 1)])[None]
        y = torch.from_numpy(ids[start + 1 : start + 17])[None]
        logits = model(x)
        losses.append(torch.nn.functional.cross_entropy(logits[0], y[0], reduction="none").detach())
    expected = torch.cat(losses)
    assert result.tokens == len(expected) == len(ids) - 1
    assert result.loss == pytest.approx(float(expected.mean()), rel=1e-5)
    assert result.bits_per_byte == pytest.approx(result.loss / np.log(2), rel=1e-6)  # one byte a character here
    with pytest.raises(Interrupted):
        evaluate(model, dataset, 16, CPU, between=lambda: True)


def test_step_seeds_are_all_different() -> None:
    seeds = {step_seed(seed, step) for seed in (0, 1, 1337) for step in range(1000)}
    assert len(seeds) == 3000 and all(0 <= seed < 2**63 for seed in seeds)


def test_training_goes_back_three_times_and_then_on(
    start: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time onto other batches; a spike that comes with all of them is no accident."""
    run = start("spikes", "train.spike_rollback=2.0", "train.sample_tokens=0")
    plain = TrainStep.__call__
    tenth: list[tuple[int, ...]] = []

    def call(self: TrainStep, step: int, multiplier: float) -> Result:
        result = plain(self, step, multiplier)
        if step == 9:
            tenth.append(tuple(self.batches.offsets(step, 0).tolist()))
            result = result._replace(loss=50 * result.loss)
        return result

    monkeypatch.setattr(TrainStep, "__call__", call)
    assert train(run).state == "finished"
    reader = RunReader(run)
    reader.poll()
    rollbacks = [(event["step"], event["to"]) for event in reader.events if event["kind"] == "rollback"]
    assert rollbacks == [(10, 8)] * 3
    assert len(tenth) == len(set(tenth)) == 4
    assert reader.series.step.tolist() == list(range(1, 13))


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_products_are_made_in_the_precision_asked_for(precision: str, dtype: torch.dtype) -> None:
    with autocast(precision, torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
