"""Files of a run that hold what they must not: each is named with its field, and costs that run or record alone."""

from __future__ import annotations

import json
import os
from math import inf, nextafter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from engine.control import server
from engine.control.protocol import MAX_ALTERNATIVES, MAX_LINE, MAX_PATH, MAX_TOP
from engine.errors import RunError
from engine.runs import schema, tail
from engine.runs.layout import RunDir, list_runs
from engine.runs.lock import PATIENCE, read_owner
from engine.runs.reader import RunReader
from engine.runs.schema import (
    MAX_DEPTH,
    DamagedError,
    Entry,
    Event,
    Info,
    Sample,
    State,
    Status,
    decode,
    load,
    problem_of,
)
from engine.runs.status import SILENCE, overview, read_info, read_status
from engine.runs.summary import csv_lines, summary
from engine.runs.writer import RunWriter

ROOT = Path(__file__).parents[3]


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"corpus": -1}, "corpus must be an object, not -1"),
        ({"corpus": {"name": 3}}, "corpus.name must be text, not 3"),
        ({"config": None}, "config must be an object, not None"),
        ({"config": {"train": [1]}}, "config.train must be an object, not [1]"),
        ({"config": {"train": {"max_steps": "many"}}}, "config.train.max_steps must be a whole number, not 'many'"),
        ({"config": {"model": {"n_layer": {"a": 1}}}}, "config.model.n_layer must be text, a number, true, false or"),
        ({"preset": "y" * 10_000}, "preset must be at most 5,000 characters, not 10,000"),
        ({"created": 1e300}, "created must be at most 100,000,000,000, not 1e+300"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"template": {"stop": [1]}}, "template.stop must be text or a list of texts"),
        ({"environment": "here"}, "environment must be an object, not 'here'"),
        ({"format": "1"}, "format must be a whole number, not '1'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_damaged_description_names_its_field_and_hides_no_other_run(
    run: RunDir, fields: dict[str, Any], said: str
) -> None:
    edit(run.run_json, **fields)
    for reading in (read_info, RunReader, summary, lambda run: list(csv_lines(run))):
        with pytest.raises(RunError) as caught:
            reading(run)
        assert f"run soap-1 is damaged: {run.run_json}: {said}" in str(caught.value)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    facts = overview(run)
    assert facts["state"] == "damaged" and said in facts["problem"]
    assert [each.name for each in list_runs(run.path.parent)] == ["soap-1"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"[1]", "it must be an object, not [1]"),
        (b"null", "it must be an object, not None"),
        (b'{"config": {}, "seed": NaN}', "it is not JSON"),
        ("{}".encode("utf-16"), "it is not UTF-8 text"),
        (b'{"name": "\xff"}', "it is not UTF-8 text"),
        (b"[" * 100_000, "it is nested too deep"),
        (b'{"config": ' + b'{"a":' * 40 + b"1" + b"}" * 41, "it is nested too deep"),
        (b'{"seed": ' + b"9" * 9999 + b"}", "it is not JSON"),
        (b" " * (schema.MAX_BYTES + 1), "has more than 1,048,576 bytes"),
    ],
    ids=["empty", "cut", "list", "null", "NaN", "UTF-16", "bytes", "deep", "deep object", "digits", "huge"],
)
def test_what_is_no_json_object_is_said_in_a_few_words(run: RunDir, content: bytes, said: str) -> None:
    run.run_json.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_info(run)
    assert said in str(caught.value) and str(run.run_json) in str(caught.value)
    run.run_json.unlink()
    with pytest.raises(RunError, match=r"is not a run: it has no run\.json"):
        read_info(run)


def test_a_pipe_or_a_device_in_a_files_place_is_never_waited_for(run: RunDir) -> None:
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir):
        for path in (run.run_json, run.status_json, run.lock, run.metrics, run.events):
            kept = path.read_bytes() if path.exists() else None
            path.unlink(missing_ok=True)
            make(path)
            assert overview(run)["state"] in ("damaged", "failed", "new")
            read_owner(run.lock)
            if path != run.run_json:
                RunReader(run).poll()
            else:
                with pytest.raises(RunError, match=r"it is a (pipe|device|folder)"):
                    RunReader(run)
            path.rmdir() if path.is_dir() else path.unlink()
            if kept is not None:
                path.write_bytes(kept)
    assert RunReader(run).poll() is False


def test_a_damaged_field_of_the_status_is_left_out_and_said(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.status(state="finished", step=5, best_val_loss=2.0, steps=9)
    edit(run.status_json, step="five", eta_s=[], best_val_loss=1.5, memory={"weights": "much"})
    status = read_status(run)
    assert (status["state"], status["best_val_loss"], status["steps"]) == ("finished", 1.5, 9)
    assert not {"step", "eta_s", "memory"} & set(status)
    assert status["problem"] == f"{run.status_json}: step must be a whole number, not 'five'; left out"
    assert overview(run)["step"] == 0
    reader = RunReader(run)
    assert reader.problems == [status["problem"]]
    edit(run.status_json, step=6, eta_s=1, memory={"weights": 7})
    assert reader.poll() and reader.problems == [] and reader.status["step"] == 6


def test_a_status_that_is_no_json_costs_the_status_alone(run: RunDir) -> None:
    with RunWriter(run) as writer:
        writer.metric(step=3, loss=1.0)
        writer.status(state="finished", step=3)
        run.status_json.write_text("{")
        assert read_status(run)["state"] == "running"
    run.status_json.write_text("{")
    status = read_status(run)
    assert status["state"] == "failed"
    assert status["problem"] == f"{run.status_json}: it is not JSON; go on with tinytui train --resume soap-1"
    assert summary(run)["step"] == 3


def test_a_description_damaged_while_it_is_followed_is_said_until_it_is_mended(run: RunDir) -> None:
    reader = RunReader(run)
    good = run.run_json.read_text()
    run.run_json.write_text("{")
    assert reader.poll()
    assert reader.info["name"] == "soap-1" and "run.json: it is not JSON" in reader.problems[0]
    assert not reader.poll()
    run.run_json.write_text(good)
    assert reader.poll() and reader.problems == []


WRONG_SAMPLES = [
    (b'{"text":"a"}', "step is missing"),
    (b'{"step":"1","text":"a"}', "step must be a whole number, not '1'"),
    (b'{"step":true,"text":"a"}', "step must be a whole number, not True"),
    (b'{"step":-1,"text":"a"}', "step must be at least 0, not -1"),
    (b'{"step":1,"text":5}', "text must be text, not 5"),
    (b'{"step":1,"prompt":["a"]}', "prompt must be text, not ['a']"),
    (b'{"step":1,"text":"a","settings":3}', "settings must be an object, not 3"),
    (b'{"step":1,"text":"a","copied":[]}', "copied must be an object, not []"),
    (b'{"resumed":"x"}', "resumed must be a whole number, not 'x'"),
    (b'{"step":1,"text":"a","x":' + b"[" * 40 + b"]" * 40 + b"}", "nested too deep"),
]
WRONG_EVENTS = [
    (b'{"step":1}', "kind is missing"),
    (b'{"step":1,"kind":7}', "kind must be text, not 7"),
    (b'{"step":1.5,"kind":"x"}', "step must be a whole number, not 1.5"),
    (b'{"step":1,"kind":"x","time":"now"}', "time must be a number, not 'now'"),
    (b'{"step":1,"kind":"x","message":{}}', "message must be text, not {}"),
    (b'{"step":1,"kind":"x","warnings":"x"}', "warnings must be a list, not 'x'"),
]


def test_a_record_of_wrong_types_is_left_out_and_named(run: RunDir) -> None:
    good = b'{"step":2,"text":"kept","newer":{"a":[1]}}\n'
    run.samples.write_bytes(good + b"".join(line + b"\n" for line, _ in WRONG_SAMPLES) + good)
    right = b'{"step":2,"kind":"of tomorrow","newer":null}\n'
    run.events.write_bytes(right + b"".join(line + b"\n" for line, _ in WRONG_EVENTS) + right)
    reader = RunReader(run)
    reader.poll()
    assert [sample["text"] for sample in reader.samples] == ["kept", "kept"]
    assert reader.samples[0]["newer"] == {"a": [1]}
    assert [event["kind"] for event in reader.events] == ["of tomorrow"] * 2
    assert reader.problems == [
        *(f"samples.jsonl line {line}: {said}; left out" for line, (_, said) in enumerate(WRONG_SAMPLES, start=2)),
        *(f"events.jsonl line {line}: {said}; left out" for line, (_, said) in enumerate(WRONG_EVENTS, start=2)),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(st.characters()) | st.integers(-(2**70), 2**70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
ODD = [b"9", b"1e999", b"[", b"{", b'"', b"\\ud800", b"NaN", b"-", b"\xff", b"\0", b""]


def readings(text: bytes) -> list[str]:
    """What `text` is read as, or why it is not; and what Python's own reader alone makes of it."""

    def read(not_finite: bool) -> str:
        try:
            return repr(decode(text, not_finite=not_finite))
        except ValueError as error:
            return f"! {error}"

    found = [read(False), read(True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_at_once", lambda _: schema._REFUSED)
        return [*found, read(False), read(True)]


@given(JSON, st.booleans(), st.booleans(), st.floats(0, 1), st.integers(0, 3), st.sampled_from(ODD))
@settings(max_examples=60)
def test_what_is_read_at_once_is_what_pythons_own_reader_makes_of_it(
    value: object, short: bool, ascii_only: bool, where: float, less: int, more: bytes
) -> None:
    separators = (",", ":") if short else (", ", ": ")
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    at = int(where * len(text))
    for one in (text, text[:at] + more + text[at + less :]):
        found = readings(one)
        assert found[:2] == found[2:]


def test_long_numbers_and_deep_objects_are_read_as_by_python() -> None:
    bits = (63, 64, 65, 1000)
    numbers = [sign * 2**bit + by for bit in bits for sign in (1, -1) for by in (-1, 0, 1)]
    forms = [
        "%d",
        "[%d]",
        "[0,%d]",
        "[0, %d]",
        '{"a":%d}',
        '{"a":\n%d}',
        "[\t%d\r]",
        '["%d"]',
        "[%d.5]",
        "[%de-3]",
        "[.%d]",
    ]
    texts = [form % number for form in forms for number in numbers]
    texts += ["[" * deep + "]" * deep for deep in range(MAX_DEPTH - 2, MAX_DEPTH + 3)]
    texts += ['{"a":' * deep + "1" + "}" * deep for deep in range(MAX_DEPTH - 2, MAX_DEPTH + 3)]
    texts += [json.dumps(["[" * MAX_DEPTH, "0" * 64]), "[" * 2000 + "]" * 2000, "", " ", "\ufeff1"]
    for text in texts:
        found = readings(text.encode())
        assert found[:2] == found[2:], text


def test_a_line_beyond_all_bounds_is_passed_over_in_pieces(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "BLOCK", 64)
    monkeypatch.setattr(tail, "MAX_LINE", 1024)
    most = 0
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        nonlocal most
        most = max(most, size)
        return real(fd, size, offset)

    monkeypatch.setattr(tail.os, "pread", pread)
    lines = [b'{"step":1,"text":"a"}', b"x" * 5000, b'{"step":2,"text":"b"}', b"y" * 9000, b'{"step":3,"text":"c"}']
    content = b"\n".join(lines) + b"\n"
    reader = RunReader(run)
    for end in range(0, len(content) + 500, 500):  # while it is being written
        run.samples.write_bytes(content[:end])
        reader.poll()
    once = RunReader(run)
    once.poll()
    for each in (reader, once):
        assert [sample["text"] for sample in each.samples] == ["a", "b", "c"]
        assert [problem.split(":")[0] for problem in each.problems] == ["samples.jsonl line 2", "samples.jsonl line 4"]
    assert most <= 1024


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_value_is_taken_or_refused_in_one_short_line(data: st.DataObject) -> None:
    kind: type[Entry] = data.draw(st.sampled_from((Info, Status, Sample, Event, State)))
    names = st.sampled_from(sorted(kind.model_fields))
    value = data.draw(st.dictionaries(names, anything, max_size=4) | anything)
    said = problem_of(value, kind)
    assert len(said) < 300 and "\n" not in said and said.isprintable()


def test_a_value_of_many_values_is_told_in_one_short_line() -> None:
    deep = {"\x1f" * 30: {str(number) * 30: ["\x1f" * 30] * 6 for number in range(4)}}
    for found in (deep, {"\x1f" * 5: [deep] * 6}):
        said = problem_of({"format": found, "config": found}, Info)
        assert said.startswith("format must be a whole number, not {") and len(said) < 160
    assert len(problem_of({"config": {"\x1f" * 80: None}}, Info)) < 160


def test_a_name_of_controls_is_told_in_escapes() -> None:
    assert problem_of({"config": {"\x1f\x1b]0;": None}}, Info) == r"config.\x1f\x1b]0; must be an object, not None"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE-+ntrufalsNI \\ud8', max_size=60).map(str.encode))
def test_any_bytes_are_a_value_or_a_word_about_them(line: bytes) -> None:
    try:
        value = decode(line)
    except ValueError as error:
        assert str(error) in ("it is not JSON", "it is not UTF-8 text", "it is nested too deep")
    else:
        json.dumps(value, allow_nan=False)


def test_what_is_not_known_here_is_kept(run: RunDir, tmp_path: Path) -> None:
    edit(run.run_json, tomorrow={"deep": [1, {"er": None}]})
    assert read_info(run)["tomorrow"] == {"deep": [1, {"er": None}]}
    path = tmp_path / "x.json"
    path.write_text('{"kind": "x", "step": 1.0}')
    with pytest.raises(DamagedError, match=r"x\.json: step must be a whole number, not 1\.0"):
        load(path, Event)


def test_the_bounds_are_those_that_the_contract_tells() -> None:
    told = " ".join((ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8").split())
    for bound in (
        f"at most {schema.MAX_BYTES >> 20} MiB, UTF-8, JSON nested at most {schema.MAX_DEPTH} deep",
        f"a line of more than {tail.MAX_LINE >> 20} MiB",
        f"each below {MAX_LINE >> 20} MiB",
        f"{server.MAX_CLIENTS} clients are served at once, {server.MAX_PROMPTS} prompts among them",
        f"`alternatives`, 0 to {MAX_ALTERNATIVES}",
        f"`top`, 0 to {MAX_TOP}",
    ):
        assert bound in told, bound
    assert SILENCE == 120 and "more than two minutes from now" in told
    assert PATIENCE == 0.5 and "tries again for half a second" in told
    assert MAX_PATH == 100 and "stays under 100 bytes" in told


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        (schema.Whole, 0, 2**53),
        (schema.Number, -1e300, 1e300),
        (schema.Seconds, 0.0, 1e12),
        (schema.Time, 0.0, 1e11),
    ],
)
def test_a_number_beyond_what_can_be_meant_is_damage(kind: Any, least: float, most: float) -> None:
    numbers = TypeAdapter(kind)
    below, above = (-1, most + 1) if isinstance(most, int) else (nextafter(least, -inf), nextafter(most, inf))
    for value in (least, most):
        assert numbers.validate_python(value) == value
    for value in (below, above):
        with pytest.raises(ValueError, match=r"greater|less"):
            numbers.validate_python(value)
