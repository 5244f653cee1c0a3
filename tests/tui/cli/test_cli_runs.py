from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cli_for_tests import TINY, Cli, Trained, invoke, one_complaint

SHOWN = {
    "name", "state", "step", "steps", "params", "tokens", "best_val_loss", "best_val_step", "last_val_loss",
    "val_perplexity", "val_bits_per_byte", "train_seconds", "eval_seconds", "tokens_per_second", "peak_memory_bytes",
    "corpus", "preset", "checkpoints",
}  # fmt: skip


def test_no_runs_yet(cli: Cli) -> None:
    assert "no runs in runs yet" in cli("runs", "list").stdout
    assert json.loads(cli("runs", "list", "--json").stdout) == []


def test_list_and_show(trained: Trained) -> None:
    listed = json.loads(invoke("runs", "list", "--json").stdout)
    shown = json.loads(invoke("runs", "show", "first", "--json").stdout)
    assert shown.keys() >= SHOWN
    assert [run["name"] for run in listed] == ["first"]
    assert (shown["state"], shown["step"], shown["steps"], shown["corpus"]) == ("finished", 20, 20, "pairs")
    assert [checkpoint["step"] for checkpoint in shown["checkpoints"]] == [10, 20]
    copied = shown["copied"]
    assert copied["step"] == 20 and copied["length"] > 0 and copied["whole"] and not copied["too_much"]
    text = invoke("runs", "show", "first").stdout
    assert f"{copied['length']} character" in text and "at most, in the sample of step 20" in text
    assert f"{shown['params']:,}" in text
    assert f"{shown['best_val_loss']:.4f} at step {shown['best_val_step']}" in text
    assert "first" in invoke("runs", "list").stdout


def test_a_run_can_be_named_by_its_path(trained: Trained) -> None:
    shown = invoke("--runs", "nowhere", "runs", "show", trained.path, "--json")
    assert json.loads(shown.stdout)["name"] == "first"


def test_a_damaged_run_hides_no_other(trained: Trained) -> None:
    broken = trained.runs / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    listed = {run["name"]: run["state"] for run in json.loads(invoke("runs", "list", "--json").stdout)}
    assert listed == {"first": "finished", "broken": "damaged"}
    told = invoke("runs", "list")
    assert told.exit_code == 0 and "first" in told.stdout
    assert f"run broken is damaged: {broken / 'run.json'}: it is not JSON" in one_complaint(told)
    info = json.loads((trained.path / "run.json").read_text())
    (broken / "run.json").write_text(json.dumps({**info, "corpus": -1}))
    for command in (
        ["runs", "show"],
        ["runs", "plot"],
        ["runs", "export"],
        ["runs", "fork"],
        ["sample"],
        ["train", "--resume"],
    ):
        refused = invoke(*command, "broken", *(["-"] if command[-1] == "export" else []))
        assert refused.exit_code == 1
        assert f"{broken / 'run.json'}: corpus must be an object, not -1" in one_complaint(refused)
    assert "corpus must be an object, not -1" in one_complaint(invoke("runs", "list"))
    (broken / "run.json").write_text(json.dumps({**info, "preset": "y" * 4000, "corpus": {"name": "z" * 4000}}))
    rows = invoke("runs", "list").stdout.splitlines()
    assert max(map(len, rows)) < 250 and any(row.startswith("first ") for row in rows)


def test_a_damaged_record_is_left_out_and_said(trained: Trained) -> None:
    with (trained.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step":"x"}\n')
    with (trained.path / "samples.jsonl").open("ab") as file:
        file.write(b'{"step":20,"text":["not","text"]}\n')
    number = len((trained.path / "samples.jsonl").read_bytes().splitlines())
    said = f"samples.jsonl line {number}: text must be text, not ['not', 'text']; left out"
    for command in (["show", "first"], ["plot", "first"], ["export", "first", "-"], ["compare", "first", "first"]):
        result = invoke("runs", *command)
        assert result.exit_code == 0
        assert said in result.output and "no step; left out" in result.output
        assert len(result.stderr.splitlines()) == {"show": 0, "compare": 4}.get(command[0], 2)
    assert said in json.loads(invoke("runs", "show", "first", "--json").stdout)["problems"]
    assert [run["state"] for run in json.loads(invoke("runs", "list", "--json").stdout)] == ["finished"]


def test_plot_draws_plain_text(trained: Trained) -> None:
    result = invoke("runs", "plot", "first", "--width", 60, "--height", 12)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 12
    assert max(map(len, lines)) <= 60
    assert "train" in lines[0]
    assert "\x1b" not in result.stdout
    invoke("runs", "fork", "first", "--step", 10, "--name", "second", "--steps", 15)
    both = invoke("runs", "plot", "first", "second", "--width", 80, "--height", 12).stdout
    assert "first" in both
    assert "second" in both


def test_verify_finds_one_flipped_bit(trained: Trained) -> None:
    good = invoke("runs", "verify", "first", "--json")
    assert good.exit_code == 0
    told = json.loads(good.stdout)["checkpoints"]
    assert [(each["step"], each["ok"], each["problem"]) for each in told] == [(10, True, None), (20, True, None)]
    assert len({each["weights_sha256"] for each in told}) == 2
    weights = trained.path / "checkpoints" / "step-00000010" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 4
    weights.write_bytes(data)
    bad = invoke("runs", "verify", "first", "--json")
    assert bad.exit_code == 1
    told = json.loads(bad.stdout)["checkpoints"]
    assert [each["ok"] for each in told] == [False, True]
    assert "model.safetensors" in told[0]["problem"]
    assert "damaged" in invoke("runs", "verify", "first").stdout


def test_export_has_every_step(trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "first.csv"
    assert invoke("runs", "export", "first", out).exit_code == 0
    rows = {int(row["step"]): row for row in csv.DictReader(out.read_text().splitlines())}
    logged = [json.loads(line) for line in (trained.path / "metrics.jsonl").read_text().splitlines()]
    for record in logged:
        for key in record.keys() & {"loss", "val_loss", "lr"}:
            assert float(rows[record["step"]][key]) == record[key]
    assert list(rows) == list(range(1, 21))
    assert invoke("runs", "export", "first", "-").stdout == out.read_text()
    both = invoke("runs", "export", "first", "x", "--hf", "--adapter")
    assert both.exit_code == 2


def test_fork_begins_where_the_checkpoint_is(trained: Trained) -> None:
    made = invoke("runs", "fork", "first", "--step", 10, "--name", "second", "--steps", 14, "--set", "grad_clip=0.5")
    assert made.exit_code == 0, made.output
    before = json.loads(invoke("runs", "show", "second", "--json").stdout)
    assert (before["state"], before["step"], before["steps"]) == ("stopped", 10, 14)
    parent = json.loads((trained.runs / "second" / "run.json").read_text())["parent"]
    assert (parent["run"], parent["step"]) == ("first", 10)
    gone_on = invoke("train", "--resume", "second", "--json")
    assert gone_on.exit_code == 0, gone_on.output
    steps = [json.loads(line) for line in gone_on.stdout.splitlines()]
    assert [record["step"] for record in steps if record["type"] == "metric"] == [11, 12, 13, 14]
    told = json.loads(invoke("runs", "compare", "first", "second", "--json").stdout)
    assert told["differences"] == {"train.max_steps": [20, 14], "train.grad_clip": [1.0, 0.5]}
    assert "grad_clip" in invoke("runs", "compare", "first", "second").stdout


FORKS = {
    "no such checkpoint": (["--step", "11"], "no checkpoint '11'"),
    "another model": (["--step", "10", "--set", "model.n_layer=3"], "model.n_layer cannot change"),
    "the same name": (["--step", "10", "--name", "first"], "exists"),
}


@pytest.mark.parametrize(("args", "said"), FORKS.values(), ids=FORKS)
def test_fork_refuses(trained: Trained, args: list[str], said: str) -> None:
    result = invoke("runs", "fork", "first", *args)
    assert result.exit_code == 1
    assert said in one_complaint(result)
    assert [path.name for path in trained.runs.iterdir()] == ["first"]


def test_rm_asks_first(trained: Trained) -> None:
    kept = invoke("runs", "rm", "first", input="n\n")
    assert kept.exit_code == 1
    assert trained.path.is_dir()
    gone = invoke("runs", "rm", "first", input="y\n")
    assert gone.exit_code == 0
    assert not trained.path.exists()


def test_rm_removes_nothing_when_one_name_is_wrong(trained: Trained) -> None:
    result = invoke("runs", "rm", "first", "secnd", "--yes")
    assert result.exit_code == 1
    assert "secnd" in one_complaint(result)
    assert trained.path.is_dir()


def test_two_seeds_compare(trained: Trained) -> None:
    invoke("train", trained.text, *TINY, "--steps", 2, "--seed", 7, "--name", "other")
    told = json.loads(invoke("runs", "compare", "first", "other", "--json").stdout)
    assert told["differences"]["train.seed"] == [1337, 7]
    assert [run["name"] for run in told["runs"]] == ["first", "other"]


def test_several_compare_at_the_step_they_all_came_to(trained: Trained) -> None:
    for name, steps in (("second", 14), ("third", 16)):
        invoke("runs", "fork", "first", "--step", 10, "--name", name, "--steps", steps)
        assert invoke("train", "--resume", name, "--json").exit_code == 0
    told = json.loads(invoke("runs", "compare", "first", "second", "third", "--json").stdout)
    assert told["differences"] == {"train.max_steps": [20, 14, 16]}
    assert told["at_step"]["step"] == 14
    standings = told["at_step"]["runs"]
    assert [each["val_step"] for each in standings] == [10, 14, 10]
    assert min(each["val_behind"] for each in standings) == 0.0
    text = invoke("runs", "compare", "first", "second", "third").stdout
    assert "val loss by step 14" in text and " +0." in text and "third" in text
    alone = invoke("runs", "compare", "first")
    assert alone.exit_code == 2 and "two runs or more" in one_complaint(alone)


def test_a_run_is_renamed_and_noted(trained: Trained) -> None:
    invoke("runs", "fork", "first", "--step", 10, "--name", "child")
    assert invoke("runs", "rename", "first", "the-one").stdout == "first is now the-one\n"
    assert not trained.path.exists()
    assert json.loads((trained.runs / "child" / "run.json").read_text())["parent"]["run"] == "the-one"
    told = json.loads(invoke("runs", "rename", "the-one", "first", "--json").stdout)
    assert told == {"name": "first", "path": str(trained.path), "before": "the-one"}
    taken = invoke("runs", "rename", "first", "child")
    assert taken.exit_code == 1 and "exists; choose another name" in one_complaint(taken)
    assert "nothing is noted" in invoke("runs", "note", "first").stdout
    noted = "a good one\x1b[31m, with rates of\n1e-3"
    assert invoke("runs", "note", "first", noted).exit_code == 0
    assert json.loads(invoke("runs", "note", "first", "--json").stdout) == {"name": "first", "note": noted}
    listed = {run["name"]: run["note"] for run in json.loads(invoke("runs", "list", "--json").stdout)}
    assert listed == {"first": noted, "child": ""}
    for command in (["note", "first"], ["list"], ["show", "first"]):
        text = invoke("runs", *command).stdout
        assert "a good one" in text and "\x1b" not in text
    assert "is gone" in invoke("runs", "note", "first", "").stdout
    assert json.loads(invoke("runs", "show", "first", "--json").stdout)["note"] == ""


def test_a_filter_chooses_what_is_listed(trained: Trained) -> None:
    invoke("runs", "fork", "first", "--step", 10, "--name", "child")

    def listed(filter: str) -> list[str]:
        return sorted(run["name"] for run in json.loads(invoke("runs", "list", filter, "--json").stdout))

    assert listed("") == listed("corpus:pairs") == ["child", "first"]
    assert listed("state:finished val<9") == ["first"]
    assert listed("!step>=20") == ["child"]
    assert "no run in runs is so: lr>1" in invoke("runs", "list", "lr>1").stdout
    wrong = invoke("runs", "list", "lr>much")
    assert wrong.exit_code == 1 and "lr> needs a number" in one_complaint(wrong)


def test_a_pipe_has_whole_lines_whatever_the_terminal_says(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("0", "10"):
        monkeypatch.setenv("COLUMNS", columns)
        assert "bits/byte" in invoke("runs", "show", "first").stdout
        assert "python" in invoke("doctor").stdout.splitlines()[0]


def test_a_run_goes_on_on_another_device(trained: Trained) -> None:
    told = json.loads((trained.path / "run.json").read_text())
    told["environment"]["device"] = "cuda:7"  # of the machine that it began on
    (trained.path / "run.json").write_text(json.dumps(told))
    refused = invoke("train", "--resume", "first", "--steps", 25)
    assert refused.exit_code == 1 and "--device cpu" in one_complaint(refused)
    assert invoke("train", "--resume", "first", "--steps", 25, "--device", "cpu").exit_code == 0
    assert "finished at step 30 of 30" in invoke("train", "--resume", "first", "--steps", 30).stdout


def test_a_fork_has_steps_to_make(trained: Trained) -> None:
    assert "begins at step 20" in one_complaint(invoke("runs", "fork", "first", "--steps", 20))
    assert "--steps 40" in invoke("runs", "fork", "first").stdout  # it ends where it begins
    assert "--steps" not in invoke("runs", "fork", "first", "--steps", 30).stdout


def test_the_settings_of_a_run_train_another(trained: Trained) -> None:
    made = invoke("runs", "show", "first", "--settings")
    Path("mine.toml").write_text(made.stdout)
    again = invoke("train", trained.text, "--config", "mine.toml", "--steps", 12, "--name", "second", "--device", "cpu")
    assert again.exit_code == 0, again.output
    told = json.loads(invoke("runs", "compare", "first", "second", "--json").stdout)
    assert told["differences"] == {"train.max_steps": [20, 12]}
    assert invoke("runs", "show", "first", "--settings", "--json").exit_code == 2


def test_a_list_is_sorted_by_any_figure(trained: Trained) -> None:
    assert invoke("runs", "fork", "first", "--step", 10, "--name", "second", "--steps", 30).exit_code == 0

    def names(*args: str) -> list[str]:
        return [run["name"] for run in json.loads(invoke("runs", "list", "--json", *args).stdout)]

    assert names("--sort", "step") == names("--sort", "name", "--reverse") == ["second", "first"]
    assert names("--sort", "steps") == names("--sort", "name") == ["first", "second"]
    assert sorted(names("--sort", "memory")) == ["first", "second"]  # a fork has none yet
    assert "there are step, steps, val" in one_complaint(invoke("runs", "list", "--sort", "loss"))
