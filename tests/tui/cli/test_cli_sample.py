from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cli_for_tests import Trained, invoke, one_complaint

from tui.cli.sample import MOST_PROMPT


def sample(*args: object, **kwargs: Any) -> dict[str, Any]:
    result = invoke("sample", "first", "--tokens", 12, *args, "--json", **kwargs)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_json_has_what_is_promised(trained: Trained) -> None:
    told = sample("--prompt", "how far", "--seed", 3)
    assert told.keys() >= {"prompt", "text", "tokens", "stop_reason", "seed", "tokens_per_second"}
    assert (told["prompt"], told["seed"]) == ("how far", 3)
    assert told["tokens"] <= 12
    assert told["stop_reason"] in ("length", "stop")


def test_the_same_seed_writes_the_same(trained: Trained) -> None:
    one, two = (sample("--prompt", "how far", "--seed", 3, "--temperature", 2)["text"] for _ in range(2))
    others = {sample("--prompt", "how far", "--seed", seed, "--temperature", 2)["text"] for seed in range(4, 9)}
    assert one == two
    assert others != {one}


def test_without_a_seed_one_is_drawn_and_told(trained: Trained) -> None:
    told = sample("--prompt", "how far", "--temperature", 2)
    assert sample("--prompt", "how far", "--temperature", 2, "--seed", told["seed"])["text"] == told["text"]


def test_what_is_streamed_is_what_json_tells(trained: Trained) -> None:
    options = ("--prompt", "how far", "--seed", 3, "--tokens", 12)
    told = sample(*options)
    assert invoke("sample", "first", *options).stdout == told["text"] + ("" if told["text"].endswith("\n") else "\n")


def test_the_template_is_applied_unless_raw(trained: Trained) -> None:
    """The corpus is one of pairs: the prompt becomes a question, and only the answer is shown."""
    template = json.loads((trained.path / "run.json").read_text())["template"]
    applied = template["prefix"] + "how far" + template["infix"]
    answer = sample("--prompt", "how far", "--temperature", 0)["text"]
    raw = sample("--prompt", applied, "--raw", "--temperature", 0)["text"]
    assert raw.startswith(answer)
    shown = invoke("sample", "first", "--prompt", applied, "--raw", "--temperature", 0, "--tokens", 12).stdout
    assert shown.startswith(applied)


def test_a_prompt_from_standard_input(trained: Trained) -> None:
    assert sample("--prompt", "-", input="how far\n")["prompt"] == "how far"
    endless = invoke("sample", "first", "--prompt", "-", input=b"x" * (MOST_PROMPT + 1))
    assert endless.exit_code == 1 and "more than 16 MiB" in one_complaint(endless)
    broken = invoke("sample", "first", "--prompt", "-", input=b"\xff\xfe")
    assert broken.exit_code == 1
    assert "not UTF-8" in one_complaint(broken)


def test_several_texts_have_seeds_one_apart(trained: Trained) -> None:
    result = invoke("sample", "first", "--prompt", "how", "--seed", 3, "--num", 3, "--tokens", 6, "--json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["seed"] for each in told] == [3, 4, 5]
    assert told[1]["text"] == sample("--prompt", "how", "--seed", 4, "--tokens", 6)["text"]


def test_several_texts_are_decoded_side_by_side_and_are_those_of_their_seeds(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.sampling import generate

    plain, batches = generate.generate_many, []

    def many(model: object, tokenizer: object, prompt: object, settings: object, num: int) -> object:
        batches.append(num)
        return plain(model, tokenizer, prompt, settings, num)  # type: ignore[arg-type]

    monkeypatch.setattr(generate, "generate_many", many)
    monkeypatch.setattr(generate, "BATCH", 2)
    asked = ("--prompt", "how", "--temperature", 1.5, "--tokens", 20)
    result = invoke("sample", "first", *asked, "--seed", 3, "--num", 5, "--json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert batches == [2, 2, 1]
    one_by_one = [sample(*asked, "--seed", seed) for seed in range(3, 8)]
    assert batches == [2, 2, 1], "a single text is streamed"
    for key in ("text", "seed", "tokens", "stop_reason", "step"):
        assert [each[key] for each in told] == [each[key] for each in one_by_one]
    shown = invoke("sample", "first", *asked, "--seed", 3, "--num", 2).stdout
    assert shown.startswith(f"--- 1 of 2 ---\n{told[0]['text']}") and f"\n--- 2 of 2 ---\n{told[1]['text']}" in shown
    fresh = invoke("sample", "first", *asked, "--num", 3, "--json")
    first, *others = (json.loads(line)["seed"] for line in fresh.stdout.splitlines())
    assert others == [first + 1, first + 2]


def test_beams_give_the_likeliest_first(trained: Trained) -> None:
    result = invoke("sample", "first", "--prompt", "how", "--beams", 3, "--num", 2, "--tokens", 6, "--json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(told) == 2
    assert told[0]["text"] != told[1]["text"]
    assert all(each["seed"] is None for each in told)


def test_out_writes_the_file_whole(trained: Trained, tmp_path: Path) -> None:
    out = tmp_path / "answer.txt"
    result = invoke("sample", "first", "--prompt", "how", "--seed", 1, "--tokens", 12, "--out", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert out.read_text() == sample("--prompt", "how", "--seed", 1)["text"].rstrip("\n") + "\n"
    nowhere = invoke("sample", "first", "--tokens", 2, "--out", tmp_path / "none" / "x.txt")
    assert nowhere.exit_code == 1
    assert "x.txt" in one_complaint(nowhere)


def test_a_stop_string_ends_the_text(trained: Trained) -> None:
    told = sample("--prompt", "how", "--seed", 3, "--temperature", 2, "--tokens", 60)
    letter = told["text"][2]
    stopped = sample("--prompt", "how", "--seed", 3, "--temperature", 2, "--tokens", 60, "--stop", letter)
    assert stopped["stop_reason"] == "stop"
    assert stopped["text"] == told["text"].partition(letter)[0]


def test_a_stop_string_is_read_as_settings_are(trained: Trained) -> None:
    r"""`--stop '\n'` is a line end, not a backslash and an n that no text ever has."""
    options = ("--prompt", "how", "--raw", "--seed", 3, "--temperature", 2, "--tokens", 200)
    told = sample(*options)["text"]
    assert "\n" in told
    assert sample(*options, "--stop", r"\n")["text"] == told.partition("\n")[0]
    talk = ("chat", "first", "--seed", 3, "--temperature", 2, "--tokens", 60)
    assert invoke(*talk, input="how\n").stdout.count("\n") > 1
    assert invoke(*talk, "--stop", r"\n", input="how\n").stdout.count("\n") == 1


def test_any_checkpoint_can_be_asked(trained: Trained) -> None:
    assert sample("--checkpoint", "10")["step"] == 10
    assert sample("--checkpoint", "last")["step"] == 20


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--tokens", -5, "greater than or equal to 0"), ("--length-penalty", 0.5, "give --beams too")],
)
def test_what_an_option_cannot_be_is_told_by_its_own_name(option: str, value: float, said: str) -> None:
    result = invoke("sample", "first", option, value)
    assert result.exit_code == 2 and option in result.output and said in result.output


BAD = {
    "no such checkpoint": (["--checkpoint", "7"], "no checkpoint '7'"),
    "nobody trains it": (["--checkpoint", "live"], "first"),
    "beams of live weights": (["--checkpoint", "live", "--beams", "2"], "--checkpoint last"),
    "negative temperature": (["--temperature", "-1"], "temperature must be"),
    "top-p above 1": (["--top-p", "1.5"], "top_p must be"),
    "empty stop": (["--stop", ""], "stop"),
    "unknown character": (["--prompt", "how 日"], "U+65E5 '日' (cjk unified ideograph-65e5)"),
    "its place": (["--prompt", "how 日 far", "--raw"], "number 5 of 9, after 'how ', before ' far'"),
}


@pytest.mark.parametrize(("args", "said"), BAD.values(), ids=BAD)
def test_sample_refuses(trained: Trained, args: list[str], said: str) -> None:
    result = invoke("sample", "first", *args)
    assert result.exit_code == 1
    assert said in one_complaint(result)
    assert not result.stdout, "the complaint stands at the end of a line that was begun"


def test_8_bits_write_and_say_what_they_cost(trained: Trained) -> None:
    options = ("--prompt", "how far", "--seed", 3, "--tokens", 12, "--int8")
    for more in ((), ("--num", 2), ("--beams", 2)):
        result = invoke("sample", "first", *options, *more)
        assert result.exit_code == 0 and result.stdout.strip()
        (line,) = result.stderr.splitlines()
        told = re.fullmatch(r"tinytui: int8: val loss (\d\.\d{4}) for (\d\.\d{4}), on [\d,]+ held-out tokens", line)
        assert told and abs(float(told[1]) - float(told[2])) < 0.05
    assert "int8: val loss" in invoke("chat", "first", "--int8", "--tokens", 4, input="how far\n").stderr
    live = invoke("sample", "first", "--checkpoint", "live", "--int8")
    assert live.exit_code == 1 and "--int8 is for a checkpoint" in one_complaint(live)


def test_8_bits_without_the_corpus_write_all_the_same(trained: Trained) -> None:
    told = json.loads((trained.path / "run.json").read_text())
    told["corpus"] |= {"name": "gone", "path": None}
    (trained.path / "run.json").write_text(json.dumps(told))
    result = invoke("sample", "first", "--int8", "--tokens", 4)
    assert result.exit_code == 0 and "int8: what it costs in loss is not known: run.json of first" in result.stderr


def test_a_damaged_checkpoint_is_named(trained: Trained) -> None:
    weights = trained.path / "checkpoints" / "step-00000020" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    result = invoke("sample", "first", "--checkpoint", "20")
    assert result.exit_code == 1
    assert "model.safetensors is damaged" in one_complaint(result)


def test_chat_answers_each_line_and_survives_a_bad_one(trained: Trained) -> None:
    result = invoke("chat", "first", "--tokens", 4, "--seed", 1, input="how far\n日\n/reset\nhow far\n/quit\nhow\n")
    assert result.exit_code == 0
    assert "'日'" in one_complaint(result)
    first, second = result.stdout.splitlines()[:1], result.stdout.splitlines()[-1:]
    assert first == second, "after /reset the first answer comes again"


def test_what_is_copied_from_the_corpus_is_told(trained: Trained) -> None:
    told = sample("--prompt", "how far", "--temperature", 2, "--seed", 1, "--tokens", 30, "--copied")
    passage = told["copied"]
    assert passage
    assert passage in told["text"]
    said = invoke("sample", "first", "--prompt", "how far", "--temperature", 2, "--seed", 1, "--tokens", 30, "--copied")
    assert f"at most {len(passage)} characters" in said.stderr


def test_a_damaged_best_is_passed_over_and_said_on_stderr(trained: Trained) -> None:
    options = ("sample", "first", "--prompt", "how far", "--seed", 3, "--tokens", 8)
    by_hand = {step: invoke(*options, "--checkpoint", step).stdout for step in (10, 20)}
    best = json.loads(invoke(*options, "--json").stdout)["step"]
    weights = trained.path / "checkpoints" / f"step-{best:08d}" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    for command in (
        options,
        ("chat", "first", "--seed", 3, "--tokens", 8),
        (*options, "--num", 2),
        (*options, "--beams", 2),
    ):
        result = invoke(*command, input="how far\n")
        assert result.exit_code == 0, result.output
        said = one_complaint(result)
        assert f"step-{best:08d} cannot be used: model.safetensors is damaged" in said
        assert said.endswith(f"; step-{30 - best:08d} is used")
    assert invoke(*options).stdout == by_hand[30 - best]
    refused = invoke(*options, "--checkpoint", best)
    assert refused.exit_code == 1 and "model.safetensors is damaged" in one_complaint(refused)
