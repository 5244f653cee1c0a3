"""How records are written, to the letter: other programs read these files too."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

import pytest

from engine.runs.lines import finite, json_line, metric_line, pretty_json


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "{}"),
        ({"loss": 1.5, "step": 3, "tokens": 1_000_000}, '{"step":3,"tokens":1000000,"loss":1.5}'),
        ({"mem_bytes": 2**40, "tokens_per_s": 1234567.0, "grad_norm": 0.1, "lr": 3e-4, "loss": 2.0, "time_s": 1.0},
         '{"time_s":1.000,"loss":2,"lr":0.0003,"grad_norm":0.1,"tokens_per_s":1.23457E+06,"mem_bytes":1099511627776}'),
        ({"eval_s": 0.5, "val_bpb": 1 / 3, "val_loss": 2 / 3, "time_s": 12345.6789, "step": 0},
         '{"step":0,"time_s":12345.679,"val_loss":0.666667,"val_bpb":0.333333,"eval_s":0.5}'),
        ({"other": 1, "step": 2, "val_bpb": 3}, '{"step":2,"other":1,"val_bpb":3}'),
        ({"step": 1, "loss": None, "lr": 0.0}, '{"step":1,"lr":0}'),
        ({"step": 1, "loss": math.nan, "grad_norm": math.inf, "time_s": -math.inf},
         '{"step":1,"time_s":null,"loss":null,"grad_norm":null}'),
        ({"step": True, "loss": 123456.5, "lr": 1e-7}, '{"step":1,"loss":123456,"lr":1E-07}'),
    ],
)  # fmt: skip
def test_numbers_are_written_short_in_one_order(fields: dict[str, Any], line: str) -> None:
    assert metric_line(fields) == line.encode() + b"\n"


def test_a_record_is_one_line_of_text_as_it_is() -> None:
    record = {"step": 1, "text": "naïve\n“€”\x7f", "p": [math.nan, (1.5, math.inf)], "m": MappingProxyType({1: None})}
    assert json_line(record) == (
        '{"step":1,"text":"naïve\\n“€”\x7f","p":[null,[1.5,null]],"m":{"1":null}}\n'.encode()
    )  # fmt: skip
    assert json_line({"text": "é\ud800"}) == b'{"text":"\\u00e9\\ud800"}\n'


def test_files_that_people_open_are_indented() -> None:
    assert pretty_json({"a": [1, math.nan], "b": {}}) == b'{\n  "a": [\n    1,\n    null\n  ],\n  "b": {}\n}\n'
    assert finite((True, "x", 2)) == [True, "x", 2] and finite(-math.inf) is None
