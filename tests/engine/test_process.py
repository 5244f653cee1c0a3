from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from engine import process


@pytest.mark.parametrize("before", [None, "/elsewhere"])
def test_a_process_finds_this_very_program_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before:
        monkeypatch.setenv("PYTHONPATH", before)
    monkeypatch.setattr(process, "subprocess", subprocess)  # and none that is forked
    child = process.start("site", stdout=subprocess.PIPE)
    assert os.getsid(child.pid) == child.pid
    told = child.communicate(timeout=30)[0].decode()
    assert f"'{Path(process.__file__).parents[1]}'" in told and (before is None or f"'{before}'" in told)


def test_it_has_what_is_given_to_it_alone() -> None:
    assert process.environment(GIVEN="1") == {**process.environment(), "GIVEN": "1"} and "GIVEN" not in os.environ
