"""Settings: every one has bounds, what is wrong is said in one line, and what is suggested can be had."""

from __future__ import annotations

import json
import math
import os
import random
import re
import string
import time
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import SECTIONS, Config, as_typed, make_config, split_key
from engine.errors import ConfigError
from engine.preset_files import MOST_BYTES, load_config, load_preset, preset_names
from engine.runs.lines import pretty_json
from engine.runs.schema import MAX_BYTES

SOON = 20.0  # seconds; each of these takes milliseconds, and one that is waited for never ends
NAMES = {f"{section}.{name}": field for section, cls in SECTIONS.items() for name, field in cls.model_fields.items()}


def kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


def bound(key: str, *names: str) -> float | None:
    """The first of a setting's bounds `le`, `lt`, `max_length`, ... that it has."""
    found = (getattr(each, name, None) for each in NAMES[key].metadata for name in names)
    return next((value for value in found if value is not None), None)


NUMBERS = [key for key, field in NAMES.items() if {int, float} & {*kinds(field.annotation)}]
TEXTS = [key for key, field in NAMES.items() if field.annotation is str]
LISTS = [key for key, field in NAMES.items() if field.annotation == tuple[str, ...] | None]


def refused(changes: dict[str, Any]) -> str:
    """What is said of these settings, one short line."""
    with pytest.raises(ConfigError) as caught:
        Config().replace(changes)
    return one_line(caught.value)


def one_line(error: Exception) -> str:
    message = str(error)
    assert message.isprintable() and len(message) < 400
    return message


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_finite_bounds_and_beyond_them_is_refused_by_name(key: str) -> None:
    low, high = bound(key, "ge", "gt"), bound(key, "le", "lt")
    assert low is not None and high is not None and math.isfinite(high)
    for wrong in (low - 1, 2 * high + 1, 10**400, "1e999", "nan", "-inf", True, "x" * 100_000, [1], {"a": {"b": {}}}):
        assert refused({key: wrong}).startswith(key)


@pytest.mark.parametrize("key", TEXTS)
def test_every_text_has_a_greatest_length(key: str) -> None:
    most = bound(key, "max_length")
    assert most is not None
    assert Config().replace({key: "x" * int(most)})
    assert refused({key: "x" * (int(most) + 1)}).startswith(key)


@pytest.mark.parametrize("key", LISTS)
def test_every_list_of_texts_has_a_greatest_length_and_a_form_on_one_line(key: str) -> None:
    most = bound(key, "max_length")
    assert most is not None
    section, name = split_key(key)
    for values in (["x"] * int(most), ["a\nb", '"c" \\n', "[d]", "é\t"], [""]):
        config = Config().replace({key: values})
        written = as_typed(config.model_dump()[section][name])
        assert written.isprintable()
        assert (
            config
            == Config().replace({key: values})
            == load_config("nano", sets=[f"{key}={written}"]).replace(
                {f"{other}.{n}": v for other in SECTIONS for n, v in getattr(Config(), other) if f"{other}.{n}" != key}
            )
        )
    for wrong in (["x"] * (int(most) + 1), [], [1], ["x" * 10**6], '["a"', '["a", 1]', "[" * 10_000, 3, {"a": "b"}):
        assert refused({key: wrong}).startswith(key)


def test_all_prompts_of_a_run_fit_its_file() -> None:
    """run.json is read up to 1 MiB; the longest settings there can be must be written in less."""
    most = 700_000 // len(json.dumps("\U0001f600")[1:-1]) - 100
    config = Config().replace({"train.sample_prompts": ["\U0001f600" * (most // 16 - 10)] * 16})
    assert len(pretty_json(config.model_dump(mode="json"))) < MAX_BYTES
    for key in ("train.sample_prompt", "train.sample_prompts"):
        assert refused({key: "\U0001f600" * 100_000}).startswith(key)


def test_one_prompt_that_is_given_later_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[train]\nsample_prompts = ["a", "b"]\n')
    assert Config().train.prompts == ("\n",)
    assert load_config(file=tmp_path / "x.toml").train.prompts == ("a", "b")
    assert load_config(file=tmp_path / "x.toml", sets=["sample_prompt=c"]).train.prompts == ("c",)
    assert load_config(sets=["sample_prompts=one\\nmore"]).train.prompts == ("one\nmore",)
    assert load_config(file=tmp_path / "x.toml", sets=["sample_prompts=none"]).train.prompts == ("\n",)


def test_there_is_no_other_kind_of_setting_without_bounds() -> None:
    others = {*NAMES} - {*NUMBERS, *TEXTS, *LISTS}
    assert all(NAMES[key].annotation is bool or "Literal" in str(NAMES[key].annotation) for key in others)


FILES: dict[str, tuple[str, bytes, str]] = {
    "a key of many parts": ("x.toml", b".".join([b"a"] * 50_000) + b" = 1", "16 parts"),
    "a quoted key of many parts": ("x.toml", b"[" + b" . ".join([b'"a.b"'] * 20_000) + b"]", "16 parts"),
    "a key of many parts inside": ("x.toml", b"model = {" + b".".join([b"a"] * 50_000) + b" = 1}", "16 parts"),
    "many deep keys": ("x.toml", b"".join(b"a." * 14 + b"b%d = 1\n" % i for i in range(6000)), "no setting 'a.a"),
    "deep lists": ("x.toml", b"n_layer = " + b"[" * 50_000, "too deeply"),
    "deep tables": ("x.toml", b"n_layer = " + b"{a=" * 50_000, "too deeply"),
    "deep and whole": ("x.toml", b"n_layer = " + b"[" * 50_000 + b"]" * 50_000, "too deeply"),
    "deep JSON": ("x.json", b'{"model":' * 20_000 + b"1" + b"}" * 20_000, "too deeply"),
    "deep JSON lists": ("x.json", b"[" * 50_000, "too deeply"),
    "not that deep": ("x.json", b'{"model":' * 300 + b"1" + b"}" * 300, "model.model"),
    "a large number": ("x.toml", b"n_layer = " + b"9" * 5000, "not valid TOML"),
    "a large number in JSON": ("x.json", b'{"n_layer": ' + b"9" * 4000 + b"}", "model.n_layer "),
    "NaN": ("x.json", b'{"learning_rate": NaN}', "train.learning_rate "),
    "half a character": ("x.json", b'{"sample_prompt": "\\ud800"}', "train.sample_prompt "),
    "a long name": ("x.json", json.dumps({"x" * 100_000: 1}).encode(), "no setting 'xxx"),
    "an escape sequence": ("x.json", b'{"\\u001b]0;hi\\u0007": 1}', "no setting"),
    "no text": ("x.toml", b"\xff\xfe\x00", "not text"),
    "a list": ("x.json", b"[1]", "by name"),
    "a section that is none": ("x.toml", b"model = 3", "model is a section"),
    "too large": ("x.toml", b"#" * (MOST_BYTES + 1), "larger than 0.25 MiB"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_makes_no_sense_is_refused_at_once(case: str, tmp_path: Path) -> None:
    name, data, said = FILES[case]
    (tmp_path / name).write_bytes(data)
    began = time.thread_time()  # of its own work: the machine may be busy
    with pytest.raises(ConfigError) as caught:
        load_config(file=tmp_path / name)
    assert time.thread_time() - began < SOON
    message = one_line(caught.value).replace(str(tmp_path), "")
    assert said in message and len(message) < 250


def no_files(tmp_path: Path) -> dict[str, Path]:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    return {
        "a device": Path("/dev/zero"),
        "a link to a device": tmp_path / "link",
        "a pipe": tmp_path / "pipe",
        "a folder": tmp_path,
        "nothing": tmp_path / "none.toml",
        "a long name": tmp_path / ("x" * 256),
    }


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    for case, path in no_files(tmp_path).items():
        began = time.monotonic()
        with pytest.raises(ConfigError, match="cannot read") as caught:
            load_config(file=path)
        assert time.monotonic() - began < SOON, case
        assert "; " in one_line(caught.value), case


def test_a_settings_file_as_an_editor_of_another_system_saves_it(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf[model]\r\nn_layer = 2\r\n")
    assert load_config(file=tmp_path / "x.toml").model.n_layer == 2


def test_a_prompt_with_many_dots_is_no_long_key(tmp_path: Path) -> None:
    prompt = "see a.b.c.d.e.f.g and " + "." * 300 + " and www.a-b.c.d"
    (tmp_path / "x.toml").write_text(f'[train]\nsample_prompt = "{prompt}"\n')
    assert load_config(file=tmp_path / "x.toml").train.sample_prompt == prompt


def test_a_preset_of_no_name() -> None:
    for name in ("", "../nano", "x" * 5000, "nano\0", "NANO"):
        with pytest.raises(ConfigError, match=r"no preset .*; there are nano") as caught:
            load_preset(name)
        one_line(caught.value)
    assert all(load_preset(name) for name in preset_names())


SHAPES = st.fixed_dictionaries(
    {
        "n_embd": st.integers(1, 16384),
        "n_head": st.integers(1, 256),
        "n_kv_head": st.none() | st.integers(1, 256),
        "position": st.sampled_from(["rope", "learned"]),
    }
)


@given(SHAPES)
@settings(max_examples=500)
def test_what_is_suggested_for_a_shape_is_a_shape(shape: dict[str, Any]) -> None:
    for _ in range(2):  # the width, then the key/value heads
        try:
            make_config({"model": shape})
            break
        except ConfigError as error:
            found = re.search(r"try (n_embd|n_kv_head) (\d+)$", str(error))
            assert found, str(error)
            assert shape[found[1]] != int(found[2])
            shape = shape | {found[1]: int(found[2])}
    model = make_config({"model": shape}).model
    assert model.n_head % model.kv_heads == 0 and (model.position != "rope" or model.head_dim % 2 == 0)


def test_the_width_suggested_is_the_nearest() -> None:
    assert "try n_embd 128" in refused({"model.n_embd": 129})  # 129 of 3 heads would have odd heads
    assert "try n_embd 132" in refused({"model.n_embd": 129, "model.n_head": 6})
    assert "try n_embd 129" in refused({"model.n_embd": 128, "model.n_head": 3, "model.position": "none"})
    assert "try n_kv_head 3" in refused({"model.n_embd": 132, "model.n_head": 6, "model.n_kv_head": 4})


def suggestions(key: str) -> list[str]:
    with pytest.raises(ConfigError, match="no setting") as caught:
        split_key(key)
    return re.findall(r"\w+\.\w+(?= or |\?)", one_line(caught.value))


@pytest.mark.parametrize("name", [key for key in NAMES if len(key.split(".")[1]) > 4])
def test_a_name_mistyped_is_found(name: str) -> None:
    section, bare = name.split(".")
    dice = random.Random(name)
    for _ in range(10):
        place = dice.randrange(1, len(bare))
        typed = bare[:place] + dice.choice(["", "q", bare[place] * 2]) + bare[place + 1 :]
        if typed in SECTIONS[section].model_fields or any(typed in cls.model_fields for cls in SECTIONS.values()):
            continue
        assert name in suggestions(typed) and name in suggestions(f"{section}.{typed}")
    assert name in suggestions(bare.upper())


WRONG: dict[str, tuple[Any, str]] = {
    "train.sample_prompts": ([], "must have at least 1, not 0"),
    "train.sample_stop": ("x" * 10_001, "must be at most 10,000 characters, not 10,001"),
    "train.sample_prompt": ("\ud800", "must be text, not '\\ud800'"),
    "train.beta1": (1.0, "must be below 1, not 1.0"),
    "train.grad_clip": ("much", "must be a number, not 'much'"),
    "train.compile": ("perhaps", "must be true or false, not 'perhaps'"),
    "data.tokenizer": ("bp", "must be one of char, byte, bpe, word, gpt2, not 'bp'"),
    "model.n_layer": (2.5, "must be a whole number, not 2.5"),
}


@pytest.mark.parametrize("key", WRONG)
def test_what_a_setting_must_be_is_said_in_a_few_words(key: str) -> None:
    value, said = WRONG[key]
    assert refused({key: value}) == f"{key} {said}"


def test_a_setting_of_another_section_is_named() -> None:
    assert suggestions("model.seed") == ["train.seed"]
    assert suggestions("learning-rate")[0] == "train.learning_rate"


def test_nonsense_suggests_nothing() -> None:
    assert not any(map(suggestions, ("bogus", "train.bogus", "model.bogus", "foo", "xyzzy", "x", "", ".", "model.")))
    dice = random.Random(0)
    words = ["".join(dice.choices(string.ascii_lowercase, k=dice.randrange(3, 14))) for _ in range(500)]
    assert sum(bool(suggestions(word)) for word in words) <= 1
