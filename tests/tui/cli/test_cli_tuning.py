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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paces are measured in no time."""
    for name in ("STEP_SECONDS", "EVAL_SECONDS", "SAMPLE_SECONDS"):
        monkeypatch.setattr(f"engine.plan.measure.{name}", 0.05)


HUGE = ("--set", "train.batch_size=1_000_000", "--set", "model.block_size=800", "--device", "cpu")


def test_what_is_far_too_large_is_never_tried(cli: Cli) -> None:
    for command in (("profile", "small.txt"), ("tune", "rate", "small.txt"), ("train", "small.txt")):
        result = cli(*command, *TINY, *HUGE)
        assert result.exit_code == 1, command
        assert "does not fit" in one_complaint(result)
    told = json.loads(cli("train", "small.txt", *TINY, *HUGE, "--dry-run", "--json").stdout)
    assert told["fits"] is False and told["pace"] is None
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_profile_adds_up(cli: Cli, quick: None) -> None:
    told = json.loads(cli("profile", "small.txt", *TINY, "--json").stdout)
    assert {row["part"] for row in told["rows"]} >= {"attention", "mlp", "embedding"}
    assert told["step_seconds"] == told["forecast"]["pace"]["step_seconds"] > 0
    shown = cli("profile", "small.txt", *TINY).stdout
    assert "attention" in shown and "a step · 2,000 steps in" in shown
    assert not Path("runs").exists()


def test_a_dry_run_tells_what_the_run_would_need(cli: Cli, quick: None) -> None:
    told = json.loads(cli("train", "small.txt", *TINY, "--steps", 500, "--dry-run", "--json").stdout)
    assert told["memory"] == sum(told[part] for part in ("weights", "gradients", "optimizer", "activations"))
    assert told["train_seconds"] == pytest.approx(500 * told["pace"]["step_seconds"])
    assert told["run_seconds"] > told["train_seconds"] and told["eval_seconds"] > 0 and told["epochs"] > 0
    shown = cli("train", "small.txt", *TINY, "--steps", 500, "--dry-run").stdout
    assert "500 steps in" in shown and "(measured on this machine)" in shown and "with 50 evaluations" in shown
    assert not Path("runs").exists()


def test_a_dry_run_of_fine_tuning_is_of_its_base(trained: Trained, quick: None) -> None:
    told = json.loads(invoke("train", trained.text, "--from", "first", "--device", "cpu", "--dry-run", "--json").stdout)
    info = json.loads((trained.runs / "first" / "run.json").read_text())
    assert told["tokens_per_step"] == 4 * info["config"]["model"]["block_size"]
    assert [path.name for path in trained.runs.iterdir()] == ["first"]


def test_what_does_not_fit_is_not_measured(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.telemetry.available_memory", lambda: (1000, False))
    result = cli("train", "small.txt", *TINY, "--dry-run")
    assert result.exit_code == 0
    assert "does not fit" in result.stdout and "a step · " not in result.stdout


@pytest.mark.parametrize("other", [("--detach",), ("--tui",)])
def test_a_dry_run_starts_nothing(cli: Cli, other: tuple[str, ...]) -> None:
    result = cli("train", "small.txt", "--dry-run", *other)
    assert result.exit_code == 2
    assert "--dry-run" in one_complaint(result)


def test_tune_tries_rates_and_batches(cli: Cli) -> None:
    rates = json.loads(cli("tune", "rate", "small.txt", *TINY, "--steps", 20, "--json").stdout)
    tried = [rate["learning_rate"] for rate in rates["rates"]]
    assert tried == sorted(tried)
    assert rates["suggested"]["learning_rate"] in tried
    batches = json.loads(cli("tune", "batch", "small.txt", *TINY, "--json").stdout)
    assert [(trial["batch_size"], trial["grad_accum"]) for trial in batches] == [(1, 4), (2, 2), (4, 1)]
    assert "--set train.batch_size=" in cli("tune", "batch", "small.txt", *TINY).stdout
    assert not Path("runs").exists()
