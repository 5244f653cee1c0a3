"""The averaged weights of a run: their recursion, and that validation and samples are of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from engine import SamplingSettings, generate
from engine.model import build_for
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.training.checkpoint import Checkpoint, checkpoint_model, fill_model, load_checkpoint
from engine.training.evaluate import evaluate
from engine.training.start import open_dataset

from .conftest import train

CPU = torch.device("cpu")
FAST = ("train.learning_rate=0.05", "train.muon_learning_rate=0.1", "train.sample_tokens=60")
"""So that the weights and their average differ by much after a few steps."""


def average(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return checkpoint.averaged


@pytest.fixture
def run(start: Callable[..., RunDir]) -> RunDir:
    run = start(
        "averaged", "train.ema=0.8", "train.checkpoint_every=1", "train.max_steps=6", "train.eval_every=3", *FAST
    )
    assert train(run).state == "finished"
    return run


def test_it_equals_its_recursion(run: RunDir) -> None:
    """From the weights that training began with."""
    steps = [load_checkpoint(run.checkpoint(step)) for step in range(1, 7)]
    config = steps[0].config
    model = build_for(config, steps[0].tokenizer.vocab_size, torch.Generator().manual_seed(config.train.seed))
    expected = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    for number, checkpoint in enumerate(steps, 1):
        decay = min(0.8, number / (number + 9))
        found = average(checkpoint)
        assert found.keys() == expected.keys()
        for name, weight in checkpoint.weights.items():
            expected[name] = decay * expected[name] + (1 - decay) * weight.double()
            torch.testing.assert_close(found[name].double(), expected[name], rtol=1e-5, atol=1e-6)


def test_validation_is_of_it(run: RunDir) -> None:
    reader = RunReader(run)
    reader.poll()
    dataset = open_dataset(run)
    for step, loss in zip(reader.series.val_step.tolist(), reader.series.val_loss.tolist(), strict=True):
        checkpoint = load_checkpoint(run.checkpoint(step))
        model = checkpoint_model(checkpoint)
        assert evaluate(model, dataset, 16, CPU).loss == pytest.approx(loss, rel=1e-5)
        fill_model(model, checkpoint.weights, checkpoint.path)
        assert abs(evaluate(model, dataset, 16, CPU).loss - loss) > 1e-3, "the weights themselves are worse or better"


def test_samples_are_of_it(run: RunDir) -> None:
    reader = RunReader(run)
    reader.poll()
    assert len(reader.samples) == 6
    differ = 0
    for sample in reader.samples:
        checkpoint = load_checkpoint(run.checkpoint(sample["step"]))
        settings = SamplingSettings(**sample["settings"])
        model = checkpoint_model(checkpoint).eval()
        *_, done = generate(model, checkpoint.tokenizer, sample["prompt"], settings)
        assert done.text == sample["text"]
        fill_model(model, checkpoint.weights, checkpoint.path)
        *_, done = generate(model, checkpoint.tokenizer, sample["prompt"], settings)
        differ += done.text != sample["text"]
    assert differ > 0
