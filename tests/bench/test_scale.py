"""The page on many GPUs says what its script reckons, and the reckoning is sound where it can be told without a GPU."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from bench.scale import GPUS, MODELS, SEQUENCES, SIZES, Parts, Plan, choose, muon_operations, settings, tables
from engine.model import build_for

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_page_has_the_tables_that_the_script_prints() -> None:
    page = PAGE.read_text()
    for table in tables():
        assert table in page, "python -m bench.scale prints another table than docs/scale.md has"


@pytest.mark.parametrize("model", MODELS)
def test_parts_are_those_of_the_model_itself(model: str) -> None:
    config = settings(model).replace({"model.n_layer": 2, "model.n_embd": 128, "model.n_head": 2})
    built, parts = build_for(config, 500, drawn=False), Parts.of(config, 500)
    inside = sum(each.numel() for each in built.blocks.parameters())
    assert parts.all == sum(each.numel() for each in built.parameters())
    gains = sum(each.numel() for name, each in built.blocks.named_parameters() if "norm" in name)
    assert parts.matrices == 2 * parts.block == inside - gains and parts.root == parts.all - parts.matrices


def test_more_gpus_never_take_more_of_each() -> None:
    for model, gpu in ((model, gpu) for model in MODELS for gpu in GPUS.values()):
        plans = [plan for ranks in SIZES if (plan := choose(model, ranks, gpu))]
        assert all(plan.fits and plan.config.train.batch_size * plan.micros * plan.ranks == SEQUENCES for plan in plans)
        for fewer, more in pairwise(plans):
            assert more.seconds()[1] < fewer.seconds()[1]
            assert more.how != "fsdp" or more.state < fewer.state
    assert choose("7B", 1, GPUS["H100"]) is None


def test_what_is_sent_is_what_a_ring_sends() -> None:
    config = settings("124M", batch_size=4, grad_accum=128)
    parts = Parts.of(config)
    whole = 4 * parts.all
    assert Plan(config, 1, "one", GPUS["H100"]).volume == 0
    assert Plan(config, 8, "ddp", GPUS["H100"]).volume == 2 * 7 / 8 * whole
    sent = 3 * whole - 2 * 2 * parts.matrices  # two of three times, matrices are sent in bf16
    assert Plan(config, 8, "fsdp", GPUS["H100"]).volume == 16 * 7 / 8 * sent  # 16 micro-batches of 4


def test_muon_is_parted_among_the_ranks() -> None:
    config = settings("124M")
    every, most = muon_operations(config, 1)
    assert every == most == 12 * 5 * (4 * 6 * 768**3 + 2 * (4 * 4 + 2) * 768**3)
    assert muon_operations(config, 8) == (every, pytest.approx(every / 8, rel=0.2))
