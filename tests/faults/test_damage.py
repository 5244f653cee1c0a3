"""Damage anywhere in a run: what can be known is told rightly, what cannot is named in one line, nothing hangs."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import typer.main
import typer.testing
from typer.testing import CliRunner, Result

from engine.errors import RunError
from engine.runs.layout import RunDir
from engine.runs.lines import copied_part
from engine.runs.lock import RunLock
from engine.runs.reader import RunReader
from engine.training.verify import verify_checkpoint
from tui.cli.app import make_app
from tui.cli.newest import Newest
from tui.cli.output import one_line
from tui.cli.views import Now, tell
from tui.state.drafts import read_draft, write_draft
from tui.state.history import Prompted, PromptHistory
from tui.state.summary import event_words, latest

from .conftest import Campaign
from .tiny import start, train

LIMIT = 60.0
"""Seconds for one command, far above what any takes."""

READERS: tuple[tuple[str, ...], ...] = (
    ("runs", "list"),
    ("runs", "show", "hurt", "--json"),
    ("runs", "plot", "hurt"),
    ("runs", "compare", "hurt", "sound"),
    ("runs", "verify", "hurt", "--json"),
    ("runs", "export", "hurt", "-"),
    ("tokenizer", "show", "hurt", "--json"),
    ("sample", "hurt", "--seed", "1", "--prompt", "a cat", "--tokens", "6", "--raw"),
)
"""Tried at every damage."""
OTHERS: tuple[tuple[str, ...], ...] = (
    ("runs", "fork", "hurt", "--name", "forked"),
    ("runs", "export", "hurt", "hf", "--hf"),
    ("train", "--resume", "hurt", "--steps", "13"),
    ("train", "tiny.txt", "--from", "hurt", "--steps", "1", "--name", "tuned"),
    ("chat", "hurt", "--seed", "1", "--tokens", "4"),
    ("sample", "hurt", "--checkpoint", "live"),
    ("sample", "hurt", "--checkpoint", "9", "--tokens", "3"),
    ("runs", "stop", "hurt"),
    ("runs", "show", "hurt"),
    ("runs", "rm", "hurt", "--yes"),
)
"""One of these is tried beside them."""


@dataclass(frozen=True)
class Place:
    """A folder with a sound run, what is told of it, and room for damaged copies."""

    folder: Path
    told: dict[tuple[str, ...], str]
    weights: dict[int, str]

    @property
    def hurt(self) -> RunDir:
        return RunDir(self.folder / "runs" / "hurt")

    def copy(self) -> RunDir:
        for name in ("hurt", "forked", "tuned"):
            shutil.rmtree(self.folder / "runs" / name, ignore_errors=True)
        shutil.rmtree(self.folder / "hf", ignore_errors=True)
        shutil.copytree(self.folder / "runs" / "sound", self.hurt.path)
        return self.hurt


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A run with two checkpoints, averaged weights, samples, prompts and a lock."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYTUI_CACHE", str(folder / "cache"))
        commands = typer.main.get_command(make_app())  # once, for making it takes as long as most commands
        patch.setattr(typer.testing, "_get_command", lambda _app: commands)
        patch.chdir(folder)
        run = start(folder, "sound", "train.ema=0.5")
        assert train(run).error is None
        with RunLock(run.path, socket="/nowhere/x.sock"):
            pass
        asked = {"temperature": 0.8, "seed": 3}
        PromptHistory(run.path / "prompts.jsonl").append(Prompted("a cat", " sees", "best", 12, asked, ids=(3, 1)))
        write_draft(run, {"prompt": "a dog", "values": {"top_p": 0.9}, "unsent": ["a bird"]})
        weights = {step: verify_checkpoint(run.checkpoint(step)).weights_sha256 for step in run.checkpoint_steps()}
        made = Place(folder, {}, weights)
        made.copy()
        for command in READERS:
            result = ask(*command)
            assert result.exit_code == 0, result.output
            made.told[command] = result.stdout
        made.told["sample of 9",] = ask(*READERS[-1], "--checkpoint", "9").stdout
        yield made


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block when it takes longer."""

    def late(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"it hangs: over {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ask(*command: str) -> Result:
    with within(LIMIT):
        return CliRunner().invoke(make_app(command), list(command), input="a cat\n")


def judged(command: tuple[str, ...], *names: str) -> Result:
    """The command's result: it ended well, or with lines on stderr of which the last names one of `names`."""
    result = ask(*command)
    said = result.stderr.splitlines()
    where = f"{' '.join(command)}: exit {result.exit_code}, {result.output[-300:]!r}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{where}, {result.exception!r}")
    assert result.exit_code in (0, 1), where
    assert "this is a bug" not in result.output and "Traceback" not in result.output, where
    assert all(line.startswith("tinytui: ") and line.isprintable() and len(line) < 1000 for line in said), where
    if result.exit_code and command[1] != "verify":
        assert len(said) >= 1 and any(name in said[-1] for name in names), where
    return result


def look(run: RunDir) -> None:
    """What the screen takes out of a run, as it does a few times a second."""
    try:
        reader = RunReader(run)
    except RunError as error:
        assert str(run.path) in str(error) or run.name in str(error)
        return
    reader.poll()
    newest = Newest(run)
    newest.poll()
    assert latest(reader).step >= 0 and Now.of(newest).facts()
    for event in reader.events:
        event_words(event)
        tell(event)
    for sample in reader.samples:
        part = copied_part(sample)
        assert part is None or str(part)
    for entry in PromptHistory(run.path / "prompts.jsonl").read():
        assert isinstance(entry.prompt, str) and isinstance(entry.text, str) and isinstance(entry.settings, dict)
        assert all(isinstance(id, int) for id in entry.ids) and isinstance(entry.how, str)
    draft = read_draft(run)
    assert isinstance(draft.get("prompt", ""), str) and isinstance(draft.get("values", {}), dict)
    assert all(one_line(problem).isprintable() and len(problem) < 1000 for problem in reader.problems)


def try_all(number: int, run: RunDir, *names: str) -> dict[tuple[str, ...], Result]:
    look(run)
    results = {command: judged(command, "hurt", *names) for command in READERS}
    other = OTHERS[number % len(OTHERS)]
    judged(other, "hurt", *names)
    return results


def check_verified(place: Place, hurt: Path, results: dict[tuple[str, ...], Result]) -> None:
    """What a checkpoint's own sums vouch for is right, or said to be damaged."""
    step = int(hurt.parent.name.removeprefix("step-"))
    verify = json.loads(results[READERS[4]].stdout)["checkpoints"]
    for each in verify:
        assert each["ok"] == (each["step"] != step), each
        assert each["ok"] or hurt.name in each["problem"] or hurt.name == "manifest.json", each
        assert not each["ok"] or each["weights_sha256"] == place.weights[each["step"]], each
    assert results[READERS[4]].exit_code == 1
    tokenizer = results[READERS[6]]
    assert tokenizer.stdout in (place.told[READERS[6]], ""), tokenizer.output
    text = results[READERS[7]]
    right = {place.told[READERS[7]]}
    if step == 12 and "is used" in text.stderr:
        right = {place.told["sample of 9",]}
    assert text.exit_code == 0 and text.stdout in right, text.output


def files_of(run: RunDir) -> list[Path]:
    return sorted(path for path in run.path.rglob("*") if path.is_file())


def test_a_flipped_bit(place: Place, campaign: Callable[..., Campaign]) -> None:
    promise = campaign(
        "a flipped bit in any file of a run is found where sums vouch for it, and costs no more than its record "
        "elsewhere: no command ends with a traceback, hangs, or gives another text than the weights that were saved",
        quick=6,
        whole=1000,
    )
    for number in promise:
        draw = random.Random(f"flip {number}")
        hurt = draw.choice(files_of(place.copy()))
        data = bytearray(hurt.read_bytes())
        bit = draw.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        hurt.write_bytes(data)
        with promise.trial(f"try {number}: bit {bit} of {hurt.relative_to(place.hurt.path)}"):
            results = try_all(number, place.hurt, hurt.name)
            if hurt.parent.parent.name == "checkpoints":
                check_verified(place, hurt, results)


def test_a_file_cut_short(place: Place, campaign: Callable[..., Campaign]) -> None:
    promise = campaign("a file of a run cut short anywhere is found likewise", quick=4, whole=200)
    for number in promise:
        draw = random.Random(f"cut {number}")
        hurt = draw.choice([path for path in files_of(place.copy()) if path.stat().st_size])
        size = draw.randrange(hurt.stat().st_size)
        with hurt.open("r+b") as file:
            file.truncate(size)
        with promise.trial(f"try {number}: {hurt.relative_to(place.hurt.path)} cut to {size} bytes"):
            results = try_all(number, place.hurt, hurt.name)
            if hurt.parent.parent.name == "checkpoints":
                check_verified(place, hurt, results)


WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 7.5, 1e308, -1e308, 10**30, 10**400, float("nan"), float("inf"),
    "", "x", "\x1b]0;title\x07\x1b[31m", "\ud800", "\u202e", "../../etc/passwd", "/dev/zero", "y" * 100_000,
    [], [1, "a", None], {}, {"a": {"b": []}}, json.loads("[" * 60 + "]" * 60),
)  # fmt: skip


def edited(draw: random.Random, tree: Any) -> tuple[Any, str]:
    """`tree` with one value in it replaced by one of another type, taken out, or put in beside it; and where."""
    place: list[str | int] = []
    parent, at = {"": tree}, ""
    top: Any = parent
    while True:
        value = parent[at]
        keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        if not keys or (place and draw.random() < 0.3):
            break
        parent, at = value, draw.choice(keys)
        place.append(at)
    how = draw.randrange(8)
    new = draw.choice(WRONG)
    if how == 0 and place:
        del parent[at]
        return top[""], f"{'.'.join(map(str, place))} taken out"
    if how == 1 and isinstance(parent, dict) and place:
        parent[f"{at}_"] = new
    else:
        parent[at] = new
    return top[""], f"{'.'.join(map(str, place))} = {new!r:.40}"


def edit(draw: random.Random, path: Path) -> str:
    """One value of a JSON file, or of a line of a JSONL file, is changed; a checkpoint's sums are made to fit."""
    if path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        number = draw.randrange(len(lines))
        tree, what = edited(draw, json.loads(lines[number]))
        lines[number] = json.dumps(tree)
        path.write_text("\n".join(lines) + "\n")
        return f"{path.name} line {number + 1}: {what}"
    tree, what = edited(draw, json.loads(path.read_text()))
    path.write_text(json.dumps(tree))
    manifest = path.with_name("manifest.json")
    if manifest.is_file() and path != manifest:
        told = json.loads(manifest.read_text())
        told["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest.write_text(json.dumps(told))
    return f"{path.name}: {what}"


def test_a_value_of_another_type(place: Place, campaign: Callable[..., Campaign]) -> None:
    promise = campaign(
        "a value of a wrong type, size or shape in any JSON of a run (with sums that fit) is named with its file, "
        "or does no harm; the other runs do not notice",
        quick=8,
        whole=500,
    )
    for number in promise:
        draw = random.Random(f"edit {number}")
        run = place.copy()
        choices = [path for path in files_of(run) if path.suffix in (".json", ".jsonl") or path.name == "lock"]
        what = edit(draw, hurt := draw.choice(choices))
        with promise.trial(f"try {number}: {what}"):
            results = try_all(number, place.hurt, hurt.name)
            assert "sound" in results[READERS[0]].stdout
            assert ask("runs", "show", "sound").exit_code == 0
