"""Several processes that train one run, over gloo: the same numbers as one, checkpoints for any number, and deaths."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.control import ControlClient
from engine.errors import ConfigError
from engine.runs.layout import RunDir
from engine.runs.reader import RunReader
from engine.runs.status import read_config, read_status
from engine.runs.writer import RunWriter
from engine.training import memory
from engine.training.batches import Batches
from engine.training.checkpoint import load_checkpoint, load_model
from engine.training.fork import fine_tuning_config, fork_run
from engine.training.memory import check_shares, choose_parallel, memory_estimate
from engine.training.ranks import ALONE, Ranks
from engine.training.shares import deal, rows_of
from engine.training.start import open_dataset, resume_run, start_run
from engine.training.verify import SHARD, SHARDED, verify_checkpoint

from .conftest import tiny_config, tiny_text, train
from .group import Group, Zygote

Start = Callable[..., RunDir]
GLOBAL_BATCH = ("train.batch_size=2", "train.grad_accum=6", "train.checkpoint_every=1000")
SHORT = (*GLOBAL_BATCH, "train.max_steps=12", "train.eval_every=6", "train.checkpoint_every=6")
SIX = (*GLOBAL_BATCH, "train.max_steps=6", "train.eval_every=6")


WHOLE = pytest.mark.skipif(os.environ.get("FAULTS") != "whole", reason="more of the same; make faults")
STEPS = 60 if os.environ.get("FAULTS") == "whole" else 6
"""That the losses of a group are compared over."""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as made:
        yield made


def numbers(run: RunDir) -> dict[str, dict[int, float]]:
    """Of each figure its values by step."""
    found: dict[str, dict[int, float]] = {"loss": {}, "grad_norm": {}, "val_loss": {}, "tokens": {}}
    for line in run.metrics.read_text().splitlines():
        record = json.loads(line)
        for name in found.keys() & record.keys():
            found[name][record["step"]] = record[name]
    return found


def assert_same(ours: RunDir, theirs: RunDir, within: float = 1e-4) -> None:
    mine, other = numbers(ours), numbers(theirs)
    for name, values in mine.items():
        assert values.keys() == other[name].keys() and values, name
        far = max(abs(value - other[name][step]) / max(1.0, abs(value)) for step, value in values.items())
        assert far < within, f"{name}: {far}"


def events(run: RunDir, kind: str) -> list[dict[str, Any]]:
    reader = RunReader(run)
    reader.poll()
    assert reader.problems == []
    return [event for event in reader.events if event["kind"] == kind]


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)
    return found


# -- who has what ------------------------------------------------------------------------------------------------------


@given(rows=st.integers(1, 200), ranks=st.integers(1, 20))
def test_rows_are_parted_as_torch_parts_them(rows: int, ranks: int) -> None:
    parts = [len(part) for part in torch.chunk(torch.zeros(rows, 1), ranks)]
    assert [rows_of(rows, rank, ranks) for rank in range(ranks)] == parts + [0] * (ranks - len(parts))


@given(costs=st.lists(st.floats(0.1, 1e6), min_size=1, max_size=40), ranks=st.integers(1, 9))
def test_shares_are_about_even(costs: list[float], ranks: int) -> None:
    owners = deal(costs, ranks)
    loads = [sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(ranks)]
    assert len(owners) == len(costs) and max(loads) - min(loads) <= max(costs) + 1e-6 * sum(costs)


def test_every_rank_has_its_own_part_of_the_global_batch(start: Start) -> None:
    dataset = open_dataset(start("run"))
    config = tiny_config("train.batch_size=4", "train.grad_accum=3")
    whole = Batches(dataset, config, torch.device("cpu"))
    one = [each for micro in range(whole.micros) for each in whole.offsets(5, micro).tolist()]
    for size in (2, 3, 4, 6, 12):
        ranks = [Batches(dataset, config, torch.device("cpu"), Ranks(rank, size)) for rank in range(size)]
        assert {each.size * each.micros * size for each in ranks} == {12} and all(each.size <= 4 for each in ranks)
        parted = [start for each in ranks for micro in range(each.micros) for start in each.offsets(5, micro).tolist()]
        assert parted == one
        assert ranks[0].offsets(5, 0, size - 1).tolist() == ranks[-1].offsets(5, 0).tolist()


def test_sequences_that_cannot_be_parted_evenly_are_refused_with_a_way_out(start: Start) -> None:
    check_shares(tiny_config(*GLOBAL_BATCH), 12)
    with pytest.raises(ConfigError, match=r"12 sequences a step .* evenly among 5 processes") as refused:
        check_shares(tiny_config(*GLOBAL_BATCH), 5)
    advice = str(refused.value).partition("; try ")[2].replace("--set ", "").split()
    check_shares(tiny_config(*advice), 5)


def test_what_does_not_fit_on_one_device_is_parted(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config("train.ema=0.9")
    need = memory_estimate(config, 65)
    model = sum(need.values()) - need["activations"]
    for total, gpu, found in (
        (model, True, "fsdp"),
        (2 * model, True, "ddp"),
        (2 * model, False, "fsdp"),
        (None, True, "ddp"),
    ):
        monkeypatch.setattr(memory, "whole_memory", lambda device, total=total, gpu=gpu: (total, gpu))
        assert choose_parallel(config, 65, "auto", 2) == found and choose_parallel(config, 65, "auto", 1) == ""
        assert choose_parallel(config.replace({"train.parallel": "ddp"}), 65, "auto", 2) == "ddp"


@pytest.mark.parametrize(
    "what",
    [
        "trains_as_one_alone",
        "parted_as_whole",
        pytest.param("traced_as_plain", marks=WHOLE),
        pytest.param("compiled_by_all_or_none", marks=WHOLE),
    ],
)
def test_a_group_of_one_does_all_that_more_would(zygote: Zygote, what: str) -> None:
    zygote.do("tests.engine.training.group_of_one", what)


# -- the same numbers --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> RunDir:
    """As many steps of one rank."""
    return many(tmp_path_factory.mktemp("alone"), zygote, 1)


def many(folder: Path, zygote: Zygote, size: int, *sets: str) -> RunDir:
    text = folder / "tiny.txt"
    text.write_text(tiny_text())
    sets = (*GLOBAL_BATCH, f"train.max_steps={STEPS}", f"train.eval_every={STEPS // 3}", *sets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYTUI_CACHE", str(folder / "cache"))
        run = start_run(str(text), tiny_config(*sets), folder / "runs", name=f"of-{size}", device="cpu", ranks=size)
        assert zygote.train(run, size) == [0] * size, read_status(run).get("problem")
    return run


@pytest.mark.parametrize(
    ("size", "parallel"),
    [
        (2, "ddp"),
        pytest.param(4, "ddp", marks=WHOLE),
        pytest.param(2, "fsdp", marks=WHOLE),
        (4, "fsdp"),
    ],
)
def test_losses_are_those_of_one_rank(size: int, parallel: str, alone: RunDir, zygote: Zygote, tmp_path: Path) -> None:
    """Muon and AdamW in fp32; parted among 4, most parameters have a rank without any of their rows."""
    run = many(tmp_path, zygote, size, f"train.parallel={parallel}")
    assert_same(alone, run)
    (began,) = events(run, "started")
    assert (began["ranks"], began["parallel"]) == (size, parallel)
    ranks = read_status(run)["ranks"]
    assert [each["rank"] for each in ranks] == list(range(size)) and len({each["pid"] for each in ranks}) == size
    assert all(each["memory"] > 0 and each["seconds"] > 0 and each["device"] == "cpu" for each in ranks)
    checkpoint = run.checkpoint(STEPS)
    found = verify_checkpoint(checkpoint)
    assert found.ok and found.format == (SHARDED if parallel == "fsdp" else 2)
    ours, theirs = load_checkpoint(checkpoint), load_checkpoint(alone.checkpoint(STEPS))
    assert ours.weights.keys() == theirs.weights.keys() and ours.optimizer.keys() == theirs.optimizer.keys()
    for name, weight in theirs.weights.items():
        torch.testing.assert_close(ours.weights[name], weight, atol=2e-3, rtol=0)


@WHOLE
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    ("preset", "sets", "within"),
    [
        ("nanogpt-char-cpu", (), 1e-4),  # learned positions, LayerNorm, a head that is the embedding
        ("nano", ("model.n_kv_head=1", "model.mlp=swiglu", "model.qk_norm=true", "model.init=gpt2"), 1e-4),
        ("nano", ("train.precision=bf16",), 3e-2),
        ("blocks", (), 1e-4),
        ("decoder", (), 1e-4),
    ],
)
def test_every_kind_of_model_trains_as_alone(
    start: Start, zygote: Zygote, preset: str, sets: tuple[str, ...], within: float, parallel: str
) -> None:
    one, two = (
        start(name, *SIX, "model.dropout=0", *sets, f"train.parallel={parallel}", preset=preset) for name in ("1", "2")
    )
    assert zygote.train(one, 1) == [0]
    assert zygote.train(two, 2) == [0, 0], read_status(two).get("problem")
    assert_same(one, two, within)


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=WHOLE)])
def test_answers_alone_are_learned_as_by_one(start_on_answers: Start, zygote: Zygote, parallel: str) -> None:
    """A rank has more of a step's answers than another: their losses are weighed by it."""
    sets = (*SIX, "train.max_steps=3", "train.eval_every=3", "train.optimizer=adamw", f"train.parallel={parallel}")
    one, two = start_on_answers("one", *sets), start_on_answers("two", *sets, ranks=2)
    dataset, config = open_dataset(one), read_config(one)
    assert dataset.answers is not None
    starts = dataset.offsets(config.train.seed, 0, 3 * 12, 16)
    counted = dataset.answers[0].targets(starts, 16).reshape(3, 2, 6).sum(2)
    assert (counted[:, 0] != counted[:, 1]).any() and counted.all()
    assert train(one).state == "finished"
    assert zygote.train(two, 2) == [0, 0], read_status(two).get("problem")
    assert_same(one, two)


@WHOLE
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_adapters_alone_are_trained(start: Start, zygote: Zygote, corpus: Path, parallel: str) -> None:
    base = start("base", *SIX)
    assert train(base).state == "finished"
    tuned = []
    for size in (1, 2):
        changes = {"train.lora_r": 2, "train.parallel": parallel, "train.max_steps": 6}
        config = fine_tuning_config(base, "last").replace(changes)
        run = start_run(str(corpus), config, base.path.parent, name=f"of-{size}", device="cpu", base=(base, "last"))
        assert zygote.train(run, size) == [0] * size, read_status(run).get("problem")
        tuned.append(run)
    assert_same(*tuned)
    before, after = (load_checkpoint(tuned[1].checkpoint(step)).weights for step in (0, 6))
    assert torch.equal(before["wte.weight"], after["wte.weight"])
    assert any(not torch.equal(before[name], after[name]) for name in before)


@WHOLE
def test_everything_at_once_goes_on_as_it_was(start: Start, zygote: Zygote) -> None:
    """Averaged weights, blocks computed again, a learning rate set by hand, several prompts: stopped and resumed."""
    sets = (*SHORT, "train.ema=0.9", "train.recompute=true", 'train.sample_prompts=["a cat", "the dog"]')
    for parallel in ("ddp", "fsdp"):
        whole, parts = (start(f"{parallel}-{name}", *sets, f"train.parallel={parallel}") for name in ("whole", "parts"))
        assert zygote.train(whole, 2) == [0, 0], read_status(whole).get("problem")
        with RunWriter(parts) as writer:
            writer.describe(config=read_config(parts).replace({"train.max_steps": 12}).model_dump(mode="json"))
        shutil.copytree(whole.checkpoint(6), parts.checkpoint(6))
        parts.metrics.write_bytes(whole.metrics.read_bytes())
        assert zygote.train(parts, 2) == [0, 0], read_status(parts).get("problem")
        mine, other = load_checkpoint(whole.checkpoint(12)), load_checkpoint(parts.checkpoint(12))
        for kind in ("weights", "optimizer", "averaged"):
            ours, theirs = getattr(mine, kind), getattr(other, kind)
            assert ours.keys() == theirs.keys() and ours
            assert all(torch.equal(ours[name], theirs[name]) for name in ours), f"{parallel}: {kind}"
        reader = RunReader(whole)
        reader.poll()
        assert sorted((each["step"], each["prompt"]) for each in reader.samples) == [
            (step, prompt) for step in (6, 12) for prompt in ("a cat", "the dog")
        ]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param("fsdp", 1, marks=WHOLE),
        pytest.param("ddp", 1, marks=WHOLE),
        ("fsdp", 3),
        pytest.param("ddp", 4, marks=WHOLE),
        pytest.param("fsdp-to-ddp", 2, marks=WHOLE),
    ],
)
def test_a_run_goes_on_with_another_number_of_ranks(start: Start, zygote: Zygote, first: str, then: int) -> None:
    run, one = start("run", *SIX, f"train.parallel={first[:4].rstrip('-')}"), start("one", *SIX)
    assert zygote.train(run, 2) == [0, 0] and zygote.train(one, 1) == [0]
    for each in (run, one):
        resume_run(each, max_steps=12)
    if first == "fsdp-to-ddp":
        with RunWriter(run) as writer:
            writer.describe(config=read_config(run).replace({"train.parallel": "ddp"}).model_dump(mode="json"))
    assert zygote.train(run, then) == [0] * then, read_status(run).get("problem")
    assert zygote.train(one, 1) == [0]
    assert_same(one, run)
    (resumed,) = events(run, "resumed")
    assert f"ranks was 2, is {then}" in str(resumed["warnings"]) or then == 2


# -- what others read --------------------------------------------------------------------------------------------------


def test_a_sharded_checkpoint_is_read_without_a_group(start: Start, zygote: Zygote, tmp_path: Path) -> None:
    run = start("run", *SIX, "train.parallel=fsdp", "train.ema=0.5")
    assert zygote.train(run, 3) == [0, 0, 0], read_status(run).get("problem")
    model, tokenizer, step = load_model(run, "last")
    loaded = load_checkpoint(run.checkpoint(6))
    assert step == 6 and tokenizer.vocab_size == model.vocab_size
    named = dict(model.named_parameters())
    assert all(torch.equal(named[name], loaded.averaged[name]) for name in named)
    fork = fork_run(run, 6, run.path.parent, name="fork", changes={"train.max_steps": 9})
    assert train(fork).state == "finished" and fork.checkpoint_steps()[-1] == 9
    shards = sorted(path.name for path in run.checkpoint(6).glob("*.safetensors"))
    assert len(shards) == 3 and all(SHARD.fullmatch(name) for name in shards)
    victim = run.checkpoint(6) / shards[1]
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    assert verify_checkpoint(run.checkpoint(6)).problem == f"{shards[1]} is damaged: its SHA-256 is not the manifest's"
    victim.unlink()
    assert verify_checkpoint(run.checkpoint(6)).problem == f"{shards[1]} is missing"
    victim.write_bytes(bytes(data[:-1]) + bytes([data[-1] ^ 1]))
    assert verify_checkpoint(run.checkpoint(6)).ok
    (run.checkpoint(6) / "shard-00009-model-00001-of-00001.safetensors").write_bytes(bytes(data))
    assert "it does not name shard-00009" in verify_checkpoint(run.checkpoint(6)).problem


# -- a training under way ----------------------------------------------------------------------------------------------

LONG = (*GLOBAL_BATCH, "train.max_steps=1000000", "train.eval_every=1000000", "train.sample_tokens=0")


def under_way(zygote: Zygote, run: RunDir, size: int) -> Group:
    group = zygote.begin(run, size)
    wait_for(lambda: read_status(run).get("socket") and int(read_status(run).get("step") or 0) > 3)
    return group


@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=WHOLE), "fsdp"])
def test_commands_and_prompts_reach_rank_0(start: Start, zygote: Zygote, parallel: str) -> None:
    run = start("run", *LONG, f"train.parallel={parallel}")
    group, client = under_way(zygote, run, 2), ControlClient(run)
    pieces = list(client.prompt("a cat", {"max_tokens": 5, "seed": 1}))
    assert pieces[-1]["done"]["tokens"] == 5 and pieces[-1]["done"]["step"] > 0
    client.send("checkpoint")
    client.send("pause")
    wait_for(lambda: read_status(run).get("state") == "paused")
    assert list(client.prompt("a cat", {"max_tokens": 2, "seed": 1}))[-1]["done"]["tokens"] == 2
    paused_at = int(read_status(run)["step"])
    client.send("resume")
    wait_for(lambda: int(read_status(run)["step"]) > paused_at)
    client.send("learning_rate", value=1e-4)
    client.send("stop", checkpoint=True)
    assert group.wait() == [0, 0]
    steps = run.checkpoint_steps()
    assert read_status(run)["state"] == "stopped" and len(steps) >= 2
    assert all(verify_checkpoint(run.checkpoint(step)).ok for step in steps)
    assert [event["value"] for event in events(run, "learning_rate")] == [1e-4]


@pytest.mark.parametrize(
    ("victim", "parallel"),
    [
        (1, "ddp"),
        pytest.param(2, "fsdp", marks=WHOLE),
        pytest.param(0, "ddp", marks=WHOLE),
    ],
)
def test_a_rank_that_dies_ends_the_job_with_one_line_and_a_good_checkpoint(
    start: Start, zygote: Zygote, victim: int, parallel: str
) -> None:
    run = start("run", *LONG, "train.checkpoint_every=5", f"train.parallel={parallel}")
    group = under_way(zygote, run, 3)
    wait_for(run.checkpoint_steps)
    at = int(read_status(run)["step"])
    os.kill(group.pids[victim], signal.SIGKILL)
    codes = group.wait(90.0)
    assert codes[victim] == -signal.SIGKILL and all(code == 1 for rank, code in enumerate(codes) if rank != victim)
    last = run.checkpoint_steps()[-1]
    assert verify_checkpoint(run.checkpoint(last)).ok
    if victim:
        status = read_status(run)
        assert status["state"] == "failed"
        assert re.fullmatch(
            rf"rank {victim} \(process {group.pids[victim]} on \S+\) has died; "
            rf"the checkpoint of step {last} stands, go on with tinytui train --resume run",
            status["problem"],
        ), status["problem"]
        if parallel == "ddp":
            assert last >= at, "rank 0 has all of it: not a step is lost"
    with RunWriter(run) as writer:
        writer.describe(config=read_config(run).replace({"train.max_steps": last + 2}).model_dump(mode="json"))
    assert zygote.train(run, 2) == [0, 0], read_status(run).get("problem")
    assert read_status(run)["state"] == "finished" and run.checkpoint_steps()[-1] == last + 2


def test_what_goes_wrong_on_one_rank_is_told_by_its_own_words(start: Start, zygote: Zygote, corpus: Path) -> None:
    """Here a rank that has no room for its part: none of them goes on, and the step before stands."""
    run = start("run", *LONG)
    group = zygote.begin(run, 2, short_of_memory=1)
    assert group.wait() == [1, 1]
    problem = read_status(run)["problem"]
    assert (
        problem.startswith("rank 1 (process ")
        and "out of memory at step 4 on rank 1; lower train.batch_size" in problem
    )
    assert run.checkpoint_steps() == [3]


def test_alone_nothing_of_it_is_asked(start: Start) -> None:
    run = start("run", *SIX)
    assert train(run).state == "finished" and "ranks" not in read_status(run)
    assert (ALONE.leads, ALONE.alone, ALONE.share("it"), ALONE.gather((1.0, 2.0))) == (True, True, "it", [[1.0, 2.0]])
