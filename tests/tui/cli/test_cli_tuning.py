from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_for_tests import TINY, Cli, Trained, invoke, one_complaint

FEW = ("--steps", 4, "--set", "train.sample_tokens=4", "--json")


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_fine_tuning_begins_with_the_weights_of_its_base(trained: Trained) -> None:
    done = invoke("train", trained.text, "--from", "first@10", *FEW, "--name", "tuned")
    assert done.exit_code == 0, done.output
    told = json.loads((trained.runs / "tuned" / "run.json").read_text())
    assert (told["parent"]["run"], told["parent"]["step"]) == ("first", 10)
    assert told["config"]["model"]["n_embd"] == 16
    first = next(record for record in lines(done.stdout) if record["type"] == "metric")
    before = json.loads(invoke("runs", "show", "first", "--json").stdout)["checkpoints"][0]["val_loss"]
    assert abs(float(str(first["loss"])) - before) < 0.3, "not from scratch"


def test_an_adapter_is_trained_alone_and_exported(trained: Trained, tmp_path: Path) -> None:
    done = invoke("train", trained.text, "--from", "first", "--lora", "r=2,alpha=4", *FEW, "--name", "adapted")
    assert done.exit_code == 0, done.output
    settings = json.loads((trained.runs / "adapted" / "run.json").read_text())["config"]["train"]
    assert (settings["lora_r"], settings["lora_alpha"]) == (2, 4.0)
    assert invoke("runs", "export", "adapted", tmp_path / "adapter", "--adapter").exit_code == 0
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 2
    assert invoke("runs", "export", "adapted", tmp_path / "model", "--hf").exit_code == 0
    assert (tmp_path / "model" / "model.safetensors").is_file()
    none = invoke("runs", "export", "first", tmp_path / "none", "--adapter")
    assert none.exit_code == 1
    assert "has no adapter" in one_complaint(none)


TUNING = {
    "another model": (["--from", "first", "--set", "model.n_layer=3"], 1, "model.n_layer is 1 in run first"),
    "no such checkpoint": (["--from", "first@7"], 1, "no checkpoint '7'"),
    "no such run": (["--from", "frist"], 1, "did you mean first"),
    "unknown part of lora": (["--from", "first", "--lora", "rank=8"], 1, "r=8,alpha=16"),
    "lora of nothing": (["--lora", "r=8"], 2, "--from RUN"),
    "preset and base": (["--from", "first", "--preset", "nano"], 2, "--preset"),
}


@pytest.mark.parametrize(("args", "code", "said"), TUNING.values(), ids=TUNING)
def test_fine_tuning_refuses(trained: Trained, args: list[str], code: int, said: str) -> None:
    result = invoke("train", trained.text, *args)
    assert result.exit_code == code
    assert said in one_complaint(result)
    assert [path.name for path in trained.runs.iterdir()] == ["first"]


def test_the_ladder_has_every_rung_once(cli: Cli) -> None:
    told = json.loads(cli("ladder", "small.txt", "--steps", 1, "--device", "cpu", "--json").stdout)
    assert [rung["rung"] for rung in told] == ["bigram", "single-head", "multi-head", "blocks", "decoder", "nano"]
    assert all(rung["val_loss"] > 0 and rung["params"] > 0 for rung in told)
    assert {path.name for path in Path("runs").iterdir()} == {rung["run"] for rung in told}


def test_profile_adds_up(cli: Cli) -> None:
    told = json.loads(cli("profile", "small.txt", *TINY, "--json").stdout)
    assert {row["part"] for row in told["rows"]} >= {"attention", "mlp", "embedding"}
    assert told["step_seconds"] > 0
    assert "attention" in cli("profile", "small.txt", *TINY).stdout
    assert not Path("runs").exists()


def test_tune_tries_rates_and_batches(cli: Cli) -> None:
    rates = json.loads(cli("tune", "rate", "small.txt", *TINY, "--steps", 20, "--json").stdout)
    tried = [rate["learning_rate"] for rate in rates["rates"]]
    assert tried == sorted(tried)
    assert rates["suggested"]["learning_rate"] in tried
    batches = json.loads(cli("tune", "batch", "small.txt", *TINY, "--json").stdout)
    assert [(trial["batch_size"], trial["grad_accum"]) for trial in batches] == [(1, 4), (2, 2), (4, 1)]
    assert "--set train.batch_size=" in cli("tune", "batch", "small.txt", *TINY).stdout
    assert not Path("runs").exists()
