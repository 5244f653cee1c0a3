"""Training on answers alone: the mean over all of a step's targets that count, however the step is parted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from engine.errors import ConfigError
from engine.model import build_model, gpt
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.text.catalog import find_corpus
from engine.text.corpus import Text
from engine.text.template import CHAT_TEMPLATE
from engine.tokenizers.answers import LEFT_OUT
from engine.tokenizers.dataset import TokenDataset
from engine.training.batches import Batches
from engine.training.checkpoint import load_checkpoint
from engine.training.evaluate import evaluate
from engine.training.fork import check_base, fine_tuning_config, fork_run
from engine.training.ranks import Ranks
from engine.training.start import open_dataset
from engine.training.step import TrainStep
from engine.training.watch import Watch

from .conftest import ANSWERS, TURNS, flat, tiny_config, train
from .test_resume import hashes
from .test_step import make_step

CPU = torch.device("cpu")
Start = Callable[..., RunDir]


def asked(path: Path, turns: list[tuple[str, str]]) -> TokenDataset:
    content = "".join(CHAT_TEMPLATE.record(*turn) for turn in turns).encode()
    path.write_bytes(content)
    text = Text(path, len(content), hashlib.sha256(content).hexdigest(), CHAT_TEMPLATE.suffix, template=CHAT_TEMPLATE)
    return TokenDataset.open(text, tiny_config(ANSWERS).data)


@pytest.fixture
def dataset(tmp_path: Path) -> TokenDataset:
    return asked(tmp_path / "asked.txt", TURNS)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 12])
@pytest.mark.parametrize("ranks", [1, 3])
def test_a_steps_loss_is_the_mean_over_its_answers_however_it_is_parted(
    batch_size: int, ranks: int, dataset: TokenDataset
) -> None:
    """Twelve sequences by hand, then in micro-batches, and on ranks whose means and gradients are averaged."""
    config = tiny_config(ANSWERS, f"train.batch_size={batch_size}", f"train.grad_accum={12 // batch_size}")
    step = make_step(config, dataset)
    step.optimizer.step(1.0)  # away from weights that are zero at first
    x, y = map(torch.from_numpy, dataset.batch(config.train.seed, 5 * 12, 12, 16))
    counts = y != LEFT_OUT
    assert 0 < int(counts.sum()) < y.numel() and len(set(counts.sum(1).tolist())) > 3, "or parting would not matter"
    step.clear()
    each = F.cross_entropy(step.model(x).flatten(0, 1), y.flatten().clamp(min=0), reduction="none")
    (wanted := each[counts.flatten()].mean()).backward()
    gradient = flat(step.model, gradients=True)
    losses, gradients = [], []
    for rank in range(ranks):
        step.batches = Batches(dataset, config, CPU, Ranks(rank, ranks))
        losses.append(step.forward_backward(5))
        gradients.append(flat(step.model, gradients=True))
    torch.testing.assert_close(torch.stack(losses).mean(), wanted.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.stack(gradients).mean(0), gradient, rtol=1e-4, atol=1e-6)


def test_logits_made_in_parts_are_the_same(dataset: TokenDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(ANSWERS)
    step = make_step(config, dataset)
    whole = step.forward_backward(2)
    monkeypatch.setattr(gpt, "logits_at_once", lambda vocab: 7)
    torch.testing.assert_close(step.forward_backward(2), whole, rtol=1e-5, atol=1e-6)


def test_a_step_without_answers_changes_nothing_and_says_no_loss(tmp_path: Path) -> None:
    long = ("word " * 60, "yes")
    dataset = asked(tmp_path / "asked.txt", [long] * 30)
    step = make_step(tiny_config(ANSWERS, "train.batch_size=1", "train.grad_accum=2"), dataset)
    assert dataset.answers is not None
    told = {}
    for number in range(40):
        before = flat(step.model).clone()
        result = step(number, 1.0)
        starts = dataset.offsets(step.batches.seed, number * 2, 2, 16)
        told[number] = some = bool(dataset.answers[0].targets(starts, 16).any())
        assert not result.bad and math.isfinite(result.loss) == some == (not torch.equal(flat(step.model), before))
    assert set(told.values()) == {True, False}


def test_no_loss_is_no_news() -> None:
    watch = Watch()
    for loss in (2.0, math.nan, math.inf, 2.0):
        watch.trained(loss)
    assert (watch.running, watch.train_sum, watch.train_count) == (2.0, 4.0, 2)


@pytest.mark.parametrize("most", [None, 96])
def test_the_validation_loss_is_of_answers_alone(most: int | None, dataset: TokenDataset) -> None:
    config = tiny_config().model
    model = build_model(config, dataset.tokenizer.vocab_size, torch.Generator().manual_seed(1)).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(2))
    losses = []
    for x, y in dataset.val_batches(16, 1, most):
        with torch.no_grad():
            logits = model(torch.from_numpy(x))
        targets = torch.from_numpy(y)
        losses.append(F.cross_entropy(logits.flatten(0, 1), targets.flatten().clamp(min=0), reduction="none")[
            targets.flatten() != LEFT_OUT])  # fmt: skip
    found = evaluate(model, dataset, 16, CPU, most=most)
    assert found.tokens == len(torch.cat(losses)) == dataset.val_targets(16, most) > 0
    assert found.loss == pytest.approx(float(torch.cat(losses).double().mean()), rel=1e-5)


def test_a_run_on_answers_goes_on_where_it_was(start_on_answers: Start, tmp_path: Path) -> None:
    whole = start_on_answers("whole", "model.dropout=0.1", "train.grad_accum=2")
    assert train(whole).state == "finished"
    parts = fork_run(whole, 4, tmp_path / "runs", name="parts")
    assert train(parts).state == "finished"
    assert hashes(parts)[12] == hashes(whole)[12]
    reader = RunReader(whole)
    reader.poll()
    event = next(event for event in reader.events if event["kind"] == "started")
    dataset = open_dataset(whole)
    assert event["val_tokens"] == dataset.val_targets(16) < len(dataset.val) - 1
    with pytest.raises(ConfigError, match=r"data\.loss"):
        fork_run(whole, 4, tmp_path / "runs", name="other", changes={"data.loss": "all"})


def test_answers_stay_where_they_were_when_the_run_began(start_on_answers: Start, tmp_path: Path) -> None:
    """Its card may show another template and other ends of records by now, or be gone."""
    began = start_on_answers("began")
    first = open_dataset(began)
    card = tmp_path / "corpora" / "asked" / "corpus.toml"
    said = card.read_text()
    for changed in (said.replace("Bot", "b"), said.replace("END", "Bot"), ""):
        assert changed != said
        card.write_text(changed) if changed else card.unlink()
        again = open_dataset(began)
        assert first.answers is not None and again.answers is not None
        assert [each.begins.tolist() for each in again.answers] == [each.begins.tolist() for each in first.answers]
        assert (len(again.train), again.cut) == (len(first.train), first.cut)


def test_fine_tuning_takes_what_is_learned_from_the_new_corpus(start_on_answers: Start) -> None:
    parent = start_on_answers("parent", "data.record_starts=true", "train.max_steps=4")
    train(parent)
    config = fine_tuning_config(parent, "last")
    assert (config.data.loss, config.data.record_starts) == ("all", False)
    base = load_checkpoint(parent.checkpoint(4))
    check_base(parent, base, config)
    check_base(parent, base, config.replace({"data.loss": "answers"}))
    with pytest.raises(ConfigError, match=r"data\.tokenizer"):
        check_base(parent, base, config.replace({"data.tokenizer": "byte"}))


def test_other_steps_are_divided_as_they_were(corpus: Path) -> None:
    config = tiny_config("train.grad_accum=3")
    step: TrainStep = make_step(config, TokenDataset.open(find_corpus(str(corpus)).prepare(), config.data))
    assert [step.batches.parts(7, micro) for micro in range(3)] == [3, 3, 3]
