"""Every term of the forecast: against what PyTorch keeps, and where no such device is here, added up by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from engine.model import build_for, sizes
from engine.model.sizes import count_parameters, parameter_table
from engine.plan.forecast import forecast
from engine.plan.pace import Pace
from engine.preset_files import load_config
from engine.telemetry import Device, Telemetry, available_memory
from engine.tokenizers.table import expected_tokens, least_vocab
from engine.training.memory import activation_estimate, activations_by_part, check_memory, memory_estimate

SMALL = ("model.block_size=64", "model.n_embd=32", "model.n_head=4", "model.n_layer=3", "train.batch_size=2")
FORMS = {
    "plain": (0.025, ()),
    "many tokens": (0.025, ("model.block_size=160",)),
    "two keys": (0.025, ("model.n_kv_head=2",)),
    "swiglu": (0.025, ("model.mlp=swiglu",)),
    "relu": (0.025, ("model.mlp=relu",)),
    "gelu": (0.025, ("model.mlp=gelu",)),
    "wide": (0.025, ("model.mlp_width=200",)),
    "no norm of queries": (0.025, ("model.qk_norm=false",)),
    "gains": (0.035, ("model.norm_weight=true",)),
    "a layer norm": (0.035, ("model.norm=layernorm", "model.norm_weight=true")),
    "learned places": (0.035, ("model.position=learned", "model.qk_norm=false")),
    "no cap": (0.025, ("model.softcap=0",)),
    "dropout": (0.09, ("model.dropout=0.1",)),
    "bf16": (0.06, ("train.precision=bf16",)),
    "bf16, learned places": (0.09, ("train.precision=bf16", "model.position=learned", "model.qk_norm=false")),
}


@pytest.mark.parametrize("vocab", [40, 300])
@pytest.mark.parametrize("form", FORMS)
def test_activations_are_forecast_as_pytorch_keeps_them(form: str, vocab: int) -> None:
    within, sets = FORMS[form]
    config = load_config("nano", sets=(*SMALL, *sets))
    x = torch.zeros(config.train.batch_size, config.model.block_size, dtype=torch.long)
    kept = sum(activations_by_part(build_for(config, vocab).train(), x, x, config.train.precision).values())
    assert activation_estimate(config, vocab) == pytest.approx(kept, rel=within)


def test_what_is_computed_twice_is_not_kept() -> None:
    """Of the blocks what goes into each, and one as a whole while it is gone back through; logits only as many."""
    config = load_config("nano", sets=("model.n_layer=8", "model.block_size=64", "train.batch_size=2"))
    kept, tokens = activation_estimate(config, 40), 2 * 64
    block = (kept - activation_estimate(config.replace({"model.n_layer": 4}), 40)) // 4
    twice = activation_estimate(config.replace({"train.recompute": True}), 40)
    assert twice == kept - 7 * block + 8 * tokens * 4 * config.model.n_embd
    large = config.replace({"train.batch_size": 2000})
    more = activation_estimate(large, 50_000) - activation_estimate(large, 25_000)
    assert more < 2 * (sizes.LOGITS_BYTES // 10), "however large the vocabulary"


def test_a_parted_model_keeps_no_copy_of_what_is_sent_again() -> None:
    """Of the weights that multiply, the head's alone."""
    for precision, copied in (("fp32", 0), ("bf16", 2)):
        config = load_config("nano", sets=(*SMALL, f"train.precision={precision}"))
        whole, parted = (memory_estimate(config, 40, parted=ranks) for ranks in (1, 3))
        sent = sizes.multiplied_weights(config.model, 40) - 40 * config.model.n_embd
        assert whole.pop("activations") - parted.pop("activations") == copied * sent
        assert parted == {part: math.ceil(held / 3) for part, held in whole.items()}


def test_a_table_of_pairs_keeps_its_logits_and_their_softmax() -> None:
    config = load_config("nano", sets=(*SMALL, "model.kind=bigram", "model.embd_window=1"))
    assert activation_estimate(config, 50) == 2 * 64 * 50 * 8


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_on_a_gpu_attention_keeps_what_goes_in_and_comes_out(dropout: float) -> None:
    """A block of 8 tokens of 16 numbers in 2 heads, in bf16, with queries and keys turned and normalized."""
    sets = ("model.block_size=8", "model.n_embd=16", "model.n_head=2", "model.n_layer=1", "model.softcap=0")
    config = load_config(
        "nano",
        sets=(
            *sets,
            "model.mlp=relu2",
            "model.mlp_width=24",
            "train.batch_size=1",
            "train.precision=bf16",
            f"model.dropout={dropout}",
        ),
    )
    assert config.model.qk_norm and config.model.position == "rope" and not config.model.softcap
    norms = 2 * 16 * 4
    products = 3 * 16 * 2
    attention = 3 * 16 * 2 + (2 * 16 * 2) + (2 * 16 * 4)  # q, k, v; q and k turned; both before they are normalized
    attention += (2 + 2) * 4  # and their sizes, a head
    mlp = 2 * 24 * 2
    masks = 2 * 16 if dropout else 0
    ends = 3 * 16 * 4 + 10 * 4
    casts = 2 * (4 * 16 * 16 + 2 * 16 * 24 + 10 * 16)  # of the matrices, not of the tables that are looked up
    expected = 8 * (norms + products + attention + mlp + masks + ends) + casts
    assert activation_estimate(config, 10, gpu=True) == expected


def test_on_a_cpu_dropout_keeps_its_masks_and_attention_whole() -> None:
    """A block of 8 tokens of 16 numbers in 2 heads, in fp32: the matrix of attention three times, masks of 4 bytes."""
    sets = ("model.block_size=8", "model.n_embd=16", "model.n_head=2", "model.n_layer=1", "model.softcap=0")
    more = ("model.mlp=relu2", "model.mlp_width=24", "train.batch_size=1", "train.precision=fp32", "model.dropout=0.1")
    norms, products, mlp, masks = 2 * 16 * 4, 3 * 16 * 4, 2 * 24 * 4, 2 * 16 * 4
    attention = 3 * 16 * 4 + 3 * 2 * 8 * 4
    ends = 3 * 16 * 4 + 10 * 4
    expected = 8 * (norms + products + attention + mlp + masks + ends)
    assert activation_estimate(load_config("nano", sets=(*sets, *more)), 10) == expected


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_memory_is_the_sum_of_its_parts(optimizer: str, ema: float) -> None:
    config = load_config("nano", sets=(*SMALL, f"train.optimizer={optimizer}", f"train.ema={ema}"))
    found = forecast(config, 65, available=10**9)
    params = count_parameters(config.model, 65)
    parts = dict(parameter_table(config.model, 65))
    matrices = parts["attention"] + parts["mlp"]
    assert found.params == params and found.gradients == 4 * params
    assert found.weights == (8 if ema else 4) * params
    assert found.optimizer == (8 * params - 4 * matrices if optimizer == "muon" else 8 * params)
    assert found.activations == activation_estimate(config, 65)
    assert found.memory == found.weights + found.gradients + found.optimizer + found.activations


def test_what_fits_leaves_a_tenth() -> None:
    config = load_config("nano", sets=SMALL)
    need = forecast(config, 65).memory
    assert forecast(config, 65).fits is None
    assert forecast(config, 65, available=int(need / 0.9) + 1).fits is True
    assert forecast(config, 65, available=int(need / 0.9)).fits is False


def test_epochs_are_the_tokens_over_those_of_the_corpus() -> None:
    config = load_config("nano", sets=(*SMALL, "train.max_steps=10", "train.grad_accum=3"))
    found = forecast(config, 65, 768)
    assert found.tokens_per_step == 2 * 64 * 3 and found.total_tokens == 3840 and found.epochs == 5.0
    assert forecast(config, 65).epochs is None


@pytest.mark.parametrize(("kind", "each"), [("char", 1.0), ("byte", 1.0), ("bpe", 3.3), ("gpt2", 3.9), ("word", 4.5)])
def test_tokens_of_each_kind_are_expected_from_bytes(kind: str, each: float) -> None:
    config = load_config("nano", sets=(f"data.tokenizer={kind}", "data.val_fraction=0.25"))
    assert expected_tokens(8000, config.data) == (int(6000 / each), int(2000 / each))


def test_a_vocabulary_has_at_least_its_bytes() -> None:
    kinds = {
        kind: load_config("nano", sets=(f"data.tokenizer={kind}",)).data for kind in ("char", "byte", "bpe", "word")
    }
    assert {kind: least_vocab(data) for kind, data in kinds.items()} == {
        "char": 1,
        "byte": 256,
        "bpe": 256,
        "word": 256,
    }


def machine(monkeypatch: pytest.MonkeyPatch, *gpus: tuple[int | None, int | None]) -> None:
    """A machine with 64 bytes of memory, 40 of them free, and GPUs of (all, used) bytes."""

    devices = tuple(Device(i, "GPU", None, None, None, used, total) for i, (total, used) in enumerate(gpus))
    monkeypatch.setattr(Telemetry, "devices", lambda self: devices)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=64, available=40))


def test_free_memory_is_that_of_the_first_gpu_that_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    assert available_memory() == (40, False)
    machine(monkeypatch, (None, 3), (80, 30), (100, 1))
    assert available_memory() == (50, True)
    machine(monkeypatch, (80, None))
    assert available_memory() == (40, False)


def test_what_is_too_large_is_told_with_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.errors import ConfigError
    from engine.training import memory as room

    gib = 2**30
    config = load_config("nano", sets=(*SMALL, "train.batch_size=4096", "model.block_size=4096"))
    need = forecast(config, 65)
    monkeypatch.setattr(room, "whole_memory", lambda device: (8 * gib, False))
    model = need.memory - need.activations
    with pytest.raises(ConfigError) as caught:
        check_memory(config, 65)
    assert f"a step needs about {need.memory / gib:,.1f} GiB of memory ({model / gib:,.1f} GiB for the model" in str(
        caught.value
    )
    assert f"{need.activations / gib:,.1f} GiB for a micro-batch), this machine has 8.0 GiB" in str(caught.value)
    for whole, fits in ((need.memory / 2, True), (need.memory // 2 - 1, False)):
        monkeypatch.setattr(room, "whole_memory", lambda device, whole=whole: (whole, False))
        if fits:
            check_memory(config, 65)
        else:
            with pytest.raises(ConfigError, match=r"lower train\.batch_size"):
                check_memory(config, 65)


def test_fewer_tokens_are_proposed_where_evaluations_would_take_over_a_tenth_of_the_time() -> None:
    config = load_config("nano", sets=("train.max_steps=1000", "train.eval_every=100", "train.sample_tokens=0"))
    pace = Pace(step_seconds=0.01, eval_token_seconds=1e-5, sample_token_seconds=0.0, device="cpu", threads=2)
    for val_tokens in (1_000, 10_000):  # 10 evaluations of 0.01 and 0.1 s within 10 s
        assert forecast(config, 65, val_tokens=val_tokens, pace=pace).enough is None
    told = forecast(config, 65, val_tokens=1_000_000, pace=pace)
    assert told.enough == 8192 and told.evaluated == 1_000_000
    bounded = forecast(config.replace({"data.val_tokens": told.enough}), 65, val_tokens=1_000_000, pace=pace)
    assert bounded.evaluated == 8192 and bounded.enough is None
    assert bounded.eval_seconds is not None and bounded.run_seconds is not None
    assert bounded.eval_seconds <= 0.1 * bounded.run_seconds
    assert forecast(config, 65, pace=pace).enough is None, "the split's length is not known"


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    ("size", "accum", "processes", "micro"), [(8, 1, 3, 2), (8, 3, 3, 8), (4, 2, 4, 2), (2, 1, 5, 1), (6, 1, 1, 6)]
)
def test_each_of_several_processes_holds_its_part(
    size: int, accum: int, processes: int, micro: int, parallel: str, gpu: bool
) -> None:
    """A micro-batch of its share; of a parted model so many a part, rounded up; of the machine's memory its share."""
    config = load_config("nano", sets=(*SMALL, f"train.batch_size={size}", f"train.grad_accum={accum}"))
    parallel = parallel if processes > 1 else ""
    found = forecast(config, 65, 10_000, 1003, gpu, processes=processes, parallel=parallel)
    one = forecast(config.replace({"train.batch_size": micro}), 65, gpu=gpu)
    parts = processes if parallel == "fsdp" else 1
    for name in ("weights", "gradients", "optimizer"):
        assert getattr(found, name) == -(-getattr(one, name) // parts), name
    assert found.activations == one.activations
    assert found.available == (1003 if gpu else 1003 // processes)
    assert (found.processes, found.parallel) == (processes, parallel)
    assert found.tokens_per_step == config.tokens_per_step, "all together"
    assert forecast(config, 65, gpu=gpu, processes=processes).available is None


def test_a_forecast_is_told_whole() -> None:
    config = load_config(
        "nano", sets=(*SMALL, "train.max_steps=100", "train.eval_every=50", "train.checkpoint_every=25")
    )
    pace = Pace(step_seconds=0.5, eval_token_seconds=0.25, sample_token_seconds=0.125, device="cpu", threads=2)
    told = forecast(config, 65, 1000, 10**9, val_tokens=40, pace=pace).to_dict()
    tokens = config.train.sample_tokens
    samples, evaluations = told["samples"], told["evaluations"]
    assert (told["train_seconds"], told["eval_seconds"]) == (50.0, evaluations * 40 * 0.25)
    assert told["sample_seconds"] == samples * tokens * 0.125 and told["sample_tokens"] == tokens
    assert told["run_seconds"] == told["train_seconds"] + told["eval_seconds"] + told["sample_seconds"]
    assert told["fits"] is True and told["memory"] == sum(
        told[name] for name in ("weights", "gradients", "optimizer", "activations")
    )
    assert told["enough"] is None or told["enough"] >= 4096
    unknown = forecast(config, 65).to_dict()
    assert all(
        unknown[name] is None for name in ("train_seconds", "eval_seconds", "sample_seconds", "run_seconds", "fits")
    )
    nobody = forecast(config, 65, pace=pace)
    assert nobody.eval_seconds is None and nobody.run_seconds == 50.0 + (nobody.sample_seconds or 0.0)
