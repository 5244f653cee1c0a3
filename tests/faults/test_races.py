"""Two who want to write one run: one wins, the other ends with one line, and the numbers are those of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Campaign
from .tiny import Outcome, start, state_of
from .zygote import Zygote


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Zygote, Zygote]]:
    with Zygote() as one, Zygote() as other:
        yield one, other


def test_two_trainers(
    tmp_path: Path,
    campaign: Callable[..., Campaign],
    two: tuple[Zygote, Zygote],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promise = campaign(
        "of two that train one run at the same moment one wins; the other says who has it in one line, and the run "
        "comes to the numbers of one",
        quick=2,
        whole=100,
    )
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    sets = ("train.max_steps=60",)  # longer than the second waits for the lock
    job = {"do": "train", "cache": str(tmp_path / "cache")}
    whole = start(tmp_path, "whole", *sets)
    assert two[0].do({**job, "path": str(whole.path)}) == 0
    expected = Outcome.of(whole)
    for number in promise:
        with promise.trial(f"race {number}"):
            run = start(tmp_path, f"r{number}", *sets)
            refusals = [tmp_path / f"said{each}" for each in range(2)]
            first, second = two if number % 2 else two[::-1]
            for each, file in zip((first, second), refusals, strict=True):
                each.begin({**job, "path": str(run.path), "says": str(file)})
            codes = [each.end() for each in (first, second)]
            said = [file.read_text() if file.exists() else "" for file in refusals]
            if codes == [0, 0]:  # the second came when the first had finished, and had nothing left to do
                assert said == ["", ""]
            else:
                assert sorted(codes) == [0, 1], (codes, said)
                loser = said[codes.index(1)]
                assert f"run {run.name} is being trained by process" in loser and "\n" not in loser, loser
                assert said[codes.index(0)] == ""
            assert state_of(run) == "finished"
            assert Outcome.of(run) == expected
            shutil.rmtree(run.path)
            for file in refusals:
                file.unlink(missing_ok=True)


def test_two_makers(
    tmp_path: Path,
    campaign: Callable[..., Campaign],
    two: tuple[Zygote, Zygote],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promise = campaign(
        "of two that make a run of one name at the same moment one wins, the other says so in one line, and the run "
        "is whole",
        quick=2,
        whole=100,
    )
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    whole = start(tmp_path, "whole")  # the tokens are there, and the two close to each other
    for number in promise:
        with promise.trial(f"race {number}"):
            name = f"r{number}"
            job = {"do": "start", "path": str(tmp_path), "name": name, "cache": str(tmp_path / "cache")}
            files = [tmp_path / f"said{each}" for each in range(2)]
            for each, file in zip(two, files, strict=True):
                each.begin({**job, "says": str(file)})
            codes = [each.end() for each in two]
            assert sorted(codes) == [0, 1], codes
            loser = files[codes.index(1)].read_text()
            assert f"run {name} exists; choose another name" in loser and "\n" not in loser
            run = whole.path.with_name(name)
            assert (run / "run.json").is_file()
            assert sorted(path.name for path in run.parent.iterdir()) == sorted([name, "whole"])
            shutil.rmtree(run)
            for file in files:
                file.unlink(missing_ok=True)
