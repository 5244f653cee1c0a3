"""What cannot fit any machine like this one is refused before anything is made, and nothing else is."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from engine.config import Config
from engine.errors import ConfigError
from engine.plan.forecast import forecast
from engine.preset_files import load_config, load_preset, preset_names
from engine.telemetry import Device, Telemetry, whole_memory
from engine.tokenizers.table import expected_vocab, least_vocab
from engine.training.fork import fork_run
from engine.training.memory import BEYOND, check_memory
from engine.training.start import start_run

from .conftest import TINY, tiny_text, train

GIB = 2**30
TOO_LARGE = {
    "a batch": (["train.batch_size=1_000_000", "model.block_size=256"], "lower train.batch_size"),
    "a context": (["model.block_size=1_048_576", "train.batch_size=12", "model.n_embd=1024"], "lower train.batch_size"),
    "a width": (["model.n_embd=16384", "model.n_layer=256"], "lower model.n_embd"),
    "a hidden width": (["model.n_embd=16384", "model.mlp_width=262144", "model.n_layer=64"], "lower model.n_embd"),
    "embeddings": (["model.embd_window=64", "model.n_embd=16384", "data.tokenizer=gpt2"], "lower model.n_embd"),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_is_far_too_large_is_refused_before_the_corpus_is_read(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (64 * GIB, False))
    sets, advice = TOO_LARGE[case]
    began = time.process_time()  # another's turn is none of its time
    with pytest.raises(ConfigError) as caught:
        start_run("no such corpus", load_config(sets=sets), tmp_path / "runs", device="cpu")
    message = str(caught.value)
    assert "does not fit" in message and advice in message and message.count("GiB") == 4
    assert time.process_time() - began < 2 and not (tmp_path / "runs").exists()


def test_the_vocabulary_counts_once_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "own.txt"
    text.write_text(tiny_text())
    config = load_config(sets=[*TINY, "model.block_size=16", "train.batch_size=64", "model.softcap=30"])
    least = forecast(config, least_vocab(config.data)).memory
    monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (int(least / BEYOND) + 1, False))
    with pytest.raises(ConfigError, match="does not fit"):
        start_run(str(text), config, tmp_path / "runs", device="cpu")
    assert not (tmp_path / "runs").exists()


def test_a_fork_with_a_larger_batch_is_asked_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "own.txt"
    text.write_text(tiny_text())
    sets = [*TINY, "train.max_steps=1", "train.sample_tokens=0"]
    run = start_run(str(text), load_config(sets=sets), tmp_path / "runs", name="small", device="cpu")
    assert train(run).state == "finished"
    monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (4 * GIB, False))
    with pytest.raises(ConfigError, match="does not fit"):
        fork_run(run, "last", tmp_path / "runs", name="large", changes={"train.batch_size": 1_048_576})
    assert not (tmp_path / "runs" / "large").exists()


def test_every_preset_is_accepted_on_a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in preset_names():
        config = load_preset(name)
        monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (16 * GIB, False))
        check_memory(config, expected_vocab(config.data))


def test_the_limit_is_a_multiple_of_the_whole_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    need = forecast(config, 65).memory
    monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (int(need / BEYOND) + 1, False))
    check_memory(config, 65)
    monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (int(need / BEYOND) - 1, False))
    with pytest.raises(ConfigError, match="this machine has"):
        check_memory(config, 65)
    monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (None, False))
    check_memory(config, 65)


def test_on_a_gpu_the_smallest_micro_batch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too large is parted when it does not fit, down to single sequences."""
    one, even, odd = (Config().replace({"train.batch_size": size}) for size in (1, 1 << 16, (1 << 16) - 1))
    room = forecast(one, 65, gpu=True).memory
    monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (room, True))
    check_memory(even, 65), check_memory(odd, 65)
    monkeypatch.setattr("engine.training.memory.whole_memory", lambda device: (int(room / BEYOND) - 1, True))
    with pytest.raises(ConfigError, match="the GPU has"):
        check_memory(even, 65)


def test_whole_memory_is_that_of_the_device_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    total = psutil.virtual_memory().total
    assert whole_memory("cpu") == (total, False)

    def gpu(index: int, memory: int | None) -> Device:
        return Device(index, "GPU", None, None, None, 0, memory)

    for devices, device, expected in (
        ((), "auto", (total, False)),
        ((gpu(0, 10 * total), gpu(1, total // 2)), "auto", (10 * total, True)),
        ((gpu(0, total // 2),), "auto", (total, True)),
        ((gpu(0, 10 * total), gpu(1, total // 2)), "cuda:1", (total // 2, True)),
        ((gpu(0, 10 * total),), "cuda", (10 * total, True)),
        ((gpu(0, 10 * total),), "cpu", (total, False)),
        ((gpu(0, None),), "cuda:0", (None, True)),
        ((), "cuda:0", (None, True)),
    ):
        monkeypatch.setattr(Telemetry, "devices", lambda self, devices=devices: devices)
        assert whole_memory(device) == expected
