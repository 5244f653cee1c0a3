"""The demo's own prompt: filled in, answered once at the first good checkpoint, never after the person came first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pilot_for_tests import until

from engine.preset_files import load_preset
from tui.app import Workbench
from tui.screens.train.prompt import PromptPane
from tui.screens.train.screen import TrainScreen
from tui.state.conversation import DEFAULTS, Conversation
from tui.state.first import FIRST_PROMPT, first_start
from tui.state.showing import Showing
from tui.state.training import Start

SIZE = (120, 36)
EXAMPLE = "a cat"
AT_ONCE = 99.0  # a validation loss that is good enough
SMALL = {"model.n_layer": 1, "model.n_embd": 16, "model.block_size": 32, "train.max_steps": 10**6}
SMALL |= {"train.eval_every": 20, "train.checkpoint_every": 20, "train.sample_tokens": 0}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short answers; and one thread, for tests train side by side."""
    monkeypatch.setitem(cast(dict[str, float], DEFAULTS), "max_tokens", 20)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def training(runs: Path, good_loss: float) -> Workbench:
    """A workbench that begins a real training, of a model that is done with a step in no time."""
    text = Path("words.txt")
    text.write_text("a cat sees a fish\n" * 200)
    showing = Showing(EXAMPLE, good_loss)
    return Workbench(runs, start=Start(str(text), load_preset("nano").replace(SMALL), "nano", showing=showing))


def shown(app: Workbench) -> Conversation:
    return app.screen.query_one(PromptPane).talk


def newest(app: Workbench) -> int:
    """The step of the newest checkpoint; 0 without one."""
    points = app.session.view.checkpoints if app.session.view is not None else ()
    return max((int(point["step"]) for point in points), default=0)


async def end(app: Workbench, pilot: Any) -> None:
    trained = app.session.training
    assert trained is not None
    trained.stop()
    await until(pilot, lambda: not trained.alive, 30)


async def test_the_example_stands_there_and_is_answered_at_the_first_good_checkpoint(runs: Path) -> None:
    app = training(runs, AT_ONCE)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, TrainScreen) and app.session.run is not None, 30)
        await until(pilot, lambda: app.screen.query_one(PromptPane).written == EXAMPLE)
        await until(pilot, lambda: bool(shown(app).jobs) and shown(app).jobs[0].done, 60)
        (job,) = shown(app).jobs
        assert job.request.prompt == EXAMPLE and job.error is None and job.text
        assert newest(app) > 0
        at = newest(app)
        await until(pilot, lambda: job.text in (app.screen.query_one(PromptPane).output or ""))
        await until(pilot, lambda: newest(app) > at, 60)
        assert shown(app).jobs == [job], "once"
        await end(app, pilot)


def test_the_first_run_shows_an_example_that_its_corpus_gives() -> None:
    start = first_start(7)
    assert start.showing is not None and start.showing.example == FIRST_PROMPT
    assert start.config.train.max_steps == 7 and first_start().config.train.max_steps > 1000
