"""Screen 2: written in many lines, answered token by token, looked at by the rules as they are set, and branched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import on_screen, until
from runs_for_tests import write_run
from textual import events
from textual.pilot import Pilot

from engine.control import CommandQueue, ControlServer
from engine.runs.layout import RunDir
from engine.runs.writer import RunWriter
from engine.sampling.chat import Chat
from engine.sampling.generate import Piece, generate
from engine.sampling.kept import TopLogits
from engine.training.checkpoint import load_model
from tui.actions import ACTIONS
from tui.app import Workbench
from tui.screens.dialogs.ask import AskScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.prompt.answer import AnswerPane
from tui.screens.prompt.beside import BarsPane, SamplingPane
from tui.screens.prompt.editor import Editor, EditorPane
from tui.screens.prompt.grid import GridScreen
from tui.screens.prompt.screen import PromptScreen
from tui.screens.train.prompt import PromptPane
from tui.screens.train.promptinput import PromptInput
from tui.state.nexttoken import next_token
from tui.state.prompting import PromptJob
from tui.theme import ANSI, CONTRAST, DARK, LIGHT

KEPT = Path(__file__).parents[2] / "kept" / "format-1" / "runs" / "grouped-heads"
WORDS = (" sore", " throat", " x", " 3", " days", ".")
OTHERS = (" and", " for", " of", " with", "\n", " the")


class Talking:
    """A trainer that answers every prompt with WORDS, each with the logits of twelve tokens."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def answer(self, request: dict[str, Any], cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        import numpy as np

        self.asked.append(request)
        forced = request.get("forced", [])
        names = [*WORDS, *OTHERS]
        ids = [*forced, *range(len(forced), len(WORDS))]
        for place, token in enumerate(ids):
            logits = np.linspace(2.0, -3.0, len(names)).astype(np.float32)
            logits[token] = 4.0
            piece: dict[str, Any] = {"id": token, "text": names[token]}
            if place >= len(forced):
                piece["top"] = TopLogits(np.arange(len(names)), logits, 0, float("-inf")).to_dict()
                piece["alternatives"] = [(i, name.replace("\n", "\\n"), 0.1, 0.1) for i, name in enumerate(names)]
            yield {"piece": piece}
        seed = request["settings"]["seed"]
        yield {
            "done": {"stop_reason": "stop", "tokens": len(ids), "seed": seed, "step": 340, "tokens_per_second": 422.0}
        }


@contextmanager
def talking(run: RunDir) -> Iterator[Talking]:
    """`run` with such a trainer."""
    model = Talking()
    with RunWriter(run) as writer, ControlServer(run, CommandQueue(), model.answer) as server:
        writer.status(state="running", phase="training", step=340, steps=500)
        writer.serve_at(server.path)
        yield model


@pytest.fixture
def kept(runs: Path) -> RunDir:
    """A run that was trained for a few steps, with its checkpoints."""
    shutil.copytree(KEPT, runs / "kept")
    return RunDir((runs / "kept").absolute())


def screen(app: Workbench) -> PromptScreen:
    assert isinstance(app.workplace, PromptScreen)
    return app.workplace


def editor(app: Workbench) -> Editor:
    return screen(app).query_one("#editor", Editor)


async def go(pilot: Pilot[Any], app: Workbench) -> PromptScreen:
    """To screen 2, when the run is read."""
    await until(pilot, lambda: app.session.view is not None)
    app.action_go("prompt")
    await until(pilot, lambda: isinstance(app.screen, PromptScreen) and app.focused is editor(app))
    found = screen(app)
    await until(pilot, lambda: found.main.run is not None)
    return found


async def answered(pilot: Pilot[Any], app: Workbench, versions: int) -> AnswerPane:
    """When so many answers are there and all is drawn."""
    here = screen(app)
    await until(pilot, lambda: here.main.version[1] == versions and not here.busy and not here.pane.streaming, 60)
    return here.pane


def history(run: RunDir) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "prompts.jsonl").read_text().splitlines()]


async def test_an_answer_is_walked_looked_at_and_branched(kept: RunDir, runs: Path) -> None:
    model, tokenizer, _ = load_model(kept, "best")
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(140, 40)) as pilot:
        here = await go(pilot, app)
        here.main.sheet = replace(here.main.sheet, values={**here.main.sheet.values, "max_tokens": 8.0}, seed="5")
        here.main.locked = True
        here.show_sheet()
        await pilot.press(*"one", "enter")
        pane = await answered(pilot, app, 1)
        job = here.main.job
        assert job is not None
        settings = job.request.settings
        drawn = [each for each in generate(model, tokenizer, job.request.applied, settings) if isinstance(each, Piece)]
        ids = [piece.id for piece in drawn]
        assert [token.id for token in pane.tokens] == ids and pane.text.answer == "".join(p.text for p in drawn)
        assert "8 tokens" in str(pane.border_subtitle) and "loss" in str(pane.border_subtitle)

        await pilot.press("escape", "left", "left", "left")
        assert pane.text.cursor == 5
        bars = here.query_one(BarsPane).bars
        logits = app.session.talks.models.logits.get(pane.tokens[5].kept)
        assert logits is not None

        def right() -> bool:
            now = here.main.sheet.settings(settings.stop).replace(seed=None)
            wanted = next_token(logits, now, [], ids[5], tokenizer.token_label)
            return bars._tokens == wanted.bars

        await until(pilot, right)
        before = bars._tokens
        here.sliders["temperature"].focus()
        await pilot.press("2", "enter")
        await until(pilot, lambda: bars._tokens != before and right())
        here.sliders["top_k"].focus()
        await pilot.press("1", "enter")
        await until(pilot, lambda: sum(not bar.cut for bar in bars._tokens) == 1 and right())
        assert "top-k" in on_screen(app) and len(here.main.jobs) == 1, "no model was asked"
        await pilot.press("end")

        bars.focus()
        other = next(i for i, bar in enumerate(bars._tokens) if not bar.taken)
        bars._row = other
        await pilot.press("enter")
        pane = await answered(pilot, app, 2)
        branch = [token.id for token in pane.tokens]
        assert branch[:5] == ids[:5] and branch[5] == bars_id(before, other, branch[5]) != ids[5]
        assert len(branch) == 5 + 1 + 8 and app.focused is pane.text
        assert pane.tokens[2].kept == job.written.tokens[2].kept is not None, "what comes again keeps its logits"
        forced = generate(
            model, tokenizer, job.request.applied, here.main.jobs[1].request.settings.replace(max_tokens=14),
            forced=branch[:6],
        )  # fmt: skip
        assert pane.text.answer == "".join(each.text for each in forced if isinstance(each, Piece))

        assert "2 of 2" in str(pane.border_title)
        await pilot.press("left_square_bracket")
        assert "1 of 2" in str(pane.border_title) and [token.id for token in pane.tokens] == ids
        await pilot.press("m")
        pane = await answered(pilot, app, 3)
        assert [token.id for token in pane.tokens][:8] == ids and len(pane.tokens) == 16
        await pilot.press("ctrl+u")
        assert pane.tinted and "surprise" in str(pane.border_subtitle)

        await pilot.press("e")
        edit = pane.query_one(Editor)
        assert app.focused is edit and edit.text == pane.written.text
        await pilot.press("ctrl+home", "f7", "backspace", *"two", "enter")
        pane = await answered(pilot, app, 4)
        assert pane.text.answer.startswith("two") and len(pane.text.answer) > 3
        await pilot.press("e", "x", "escape")
        assert pane.text.answer.startswith("two") and here.main.version == (4, 4)
    entries = history(kept)
    assert [entry["how"] for entry in entries] == ["", "token", "on", "edited"]
    assert entries[0]["ids"] == ids and entries[1]["ids"] == branch
    async with Workbench(runs, run=kept).run_test(size=(140, 40)) as pilot:
        app = pilot.app  # type: ignore[assignment]
        here = await go(pilot, app)
        await pilot.press("up")
        await until(pilot, lambda: bool(here.pane.tokens), 30)
        assert here.main.version == (4, 4) and [token.id for token in here.pane.tokens] == entries[3]["ids"]
        await until(pilot, lambda: "has no logits" in on_screen(app))


def bars_id(bars: Any, row: int, taken: int) -> int:
    """The token of the row that was chosen; the rows may have been drawn anew by then."""
    return taken if taken in {bar.id for bar in bars} else -1


async def test_an_answer_of_a_run_without_a_tokenizer_is_shown_as_it_was_kept(runs: Path) -> None:
    """Nobody knows its tokens: their finding comes back empty, and that ended the workbench."""
    run = write_run(runs)
    (run.path / "prompts.jsonl").write_text(json.dumps({"prompt": "sore", "text": " throat", "ids": [1, 2]}) + "\n")
    app = Workbench(runs, run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        here = await go(pilot, app)
        await until(pilot, lambda: here.main.history is not None and len(here.main.history.entries) == 1)
        await pilot.press("up")
        await until(pilot, lambda: " throat" in on_screen(app))
        await until(pilot, lambda: not app.session.works.asked("tokens a"))
        assert " throat" in on_screen(app)


async def test_the_editor_has_many_lines_and_loses_nothing(runs: Path) -> None:
    run = write_run(runs)
    (run.path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": name}) + "\n" for name in ("one", "two")))
    app = Workbench(runs, run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        here = await go(pilot, app)
        await until(pilot, lambda: here.main.history is not None and len(here.main.history.entries) == 2)
        await pilot.press("up")
        await until(pilot, lambda: editor(app).text == "two")
        await pilot.press("up")
        await until(pilot, lambda: editor(app).text == "one")
        await pilot.press("down", "down")
        await until(pilot, lambda: editor(app).text == "")
        await pilot.press(*"first", "alt+enter", *"second")
        editor(app).post_message(events.Paste(" \x1b]0;x\x07end\r\nthird"))
        await until(pilot, lambda: editor(app).text == "first\nsecond ␛]0;x␇end\nthird")
        await pilot.press("up", "up", "up")
        assert editor(app).text.startswith("first"), "the lines of a text that was typed are walked first"
        await pilot.press("up")
        await until(pilot, lambda: editor(app).text == "two")
        await pilot.press("down")
        await until(pilot, lambda: editor(app).text.startswith("first\nsecond"))
        out = lambda: [each.key for each in app.keys_here() if each.label == "out"]  # noqa: E731
        assert out() == ["escape"], "the footer says how one comes to where 1 to 6 are screens"
        await pilot.press("ctrl+z", "escape")
        await until(pilot, lambda: not editor(app).has_focus and out() == [])
        here.sliders["min_p"].focus()
        await pilot.press("0", ".", "1", "enter")
        await until(pilot, lambda: (run.path / "draft.json").exists())
        saved = lambda: json.loads((run.path / "draft.json").read_text())  # noqa: E731
        await until(pilot, lambda: saved().get("values") == {"min_p": 0.1})
        assert saved()["prompt"] == editor(app).text

        app.action_go("train")
        await until(pilot, lambda: bool(app.screen.query(PromptPane)) and not isinstance(app.screen, PromptScreen))
        small = app.screen.query_one(PromptPane)
        await until(pilot, lambda: small.query_one(PromptInput).text == here.main.sheet.prompt != "")
        small.focus_target()
        await pilot.press("!")
        app.action_go("prompt")
        await until(pilot, lambda: isinstance(app.screen, PromptScreen) and editor(app).text.endswith("!"))
        draft = editor(app).text
    app = Workbench(runs, run=run)
    async with app.run_test(size=(120, 36)) as pilot:
        here = await go(pilot, app)
        await until(pilot, lambda: editor(app).text == draft)
        assert here.sliders["min_p"].value == 0.1
        await pilot.press("ctrl+n")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
        await pilot.press(*"keep these", "enter")
        await until(pilot, lambda: isinstance(app.screen, AskScreen))
        await pilot.press(*"mine", "enter")
        await until(pilot, lambda: here.preset_name() == "mine")
        await pilot.press("ctrl+n", *"greedy", "enter")
        await until(pilot, lambda: here.sliders["temperature"].value == 0.0)
        assert "greedy" in str(here.query_one(SamplingPane).border_title)
        await pilot.press("ctrl+n", *"mine", "enter")
        await until(pilot, lambda: here.sliders["min_p"].value == 0.1)
        await pilot.press("ctrl+n", *"forget", "enter", "enter")
        await until(pilot, lambda: here._own == {})


async def test_a_living_run_sends_what_the_bars_need(runs: Path) -> None:
    run = write_run(runs, step=340)
    with talking(run) as model:
        app = Workbench(runs, run=run)
        async with app.run_test(size=(140, 40)) as pilot:
            here = await go(pilot, app)
            await until(pilot, lambda: app.session.live)
            await pilot.press(*"Pt.", "enter")
            pane = await answered(pilot, app, 1)
            assert pane.text.answer == "".join(WORDS) and model.asked[0]["top"] > 0
            await pilot.press("escape", "left", "left", "left")
            bars = here.query_one(BarsPane).bars
            await until(pilot, lambda: any(bar.taken and bar.text == WORDS[3] for bar in bars._tokens))
            assert abs(sum(bar.after for bar in bars._tokens) - 1) < 1e-6
            await pilot.press("enter", "down", "enter")
            pane = await answered(pilot, app, 2)
            assert model.asked[1]["forced"] == [0, 1, 2, bars_of(pane)] and model.asked[1]["settings"]["seed"] == int(
                history(run)[0]["settings"]["seed"]
            )
            await pilot.press("ctrl+y")
            assert app.clipboard == pane.text.answer
            await pilot.press("ctrl+b")
            await until(pilot, lambda: here.main.other is not None and here.side == "b")
            here.sliders["temperature"].focus()
            await pilot.press("1", "enter")
            assert here.main.other is not None and here.main.other.sheet.value("temperature") == 1.0
            assert here.main.sheet.value("temperature") == 0.8
            here.focus_editor()
            await pilot.press("enter")
            await until(pilot, lambda: len(model.asked) == 4 and not here.busy)
            first, second = (asked["settings"] for asked in model.asked[2:])
            assert first["seed"] == second["seed"] and first["temperature"] != second["temperature"]
            await until(pilot, lambda: all(not each.streaming for each in here._answers.values()))
            await until(pilot, lambda: here._answers["b"].text._different == set())
            await pilot.press("ctrl+b")
            assert here.main.other is None and here.side == "a"

            await pilot.press("ctrl+r")
            await until(pilot, lambda: isinstance(app.screen, GridScreen) and here.main.grid is not None)
            grid = here.main.grid
            assert grid is not None
            await until(pilot, lambda: grid.done and on_screen(app).count("throat") == 9)
            nine = [asked["settings"] for asked in model.asked[4:]]
            assert len({(each["temperature"], each["top_p"]) for each in nine}) == 9 == len(nine)
            assert len({each["seed"] for each in nine}) == 1 and len(history(run)) == 4, "nine that nobody keeps"
            await pilot.press("up", "left", "enter")
            await until(pilot, lambda: here.sliders["temperature"].value == 0.4)
            assert here.sliders["top_p"].value == 0.95
            await pilot.press("ctrl+r", "escape")
            await until(pilot, lambda: here.main.grid is not None and here.main.grid.done)
            assert here.sliders["temperature"].value == 0.4, "closed without a choice"
            await pilot.resize_terminal(160, 44)
            await pilot.press("ctrl+r")
            await until(pilot, lambda: on_screen(app).count("throat") == 16)
            await pilot.press("down", "enter")
            await until(pilot, lambda: here.sliders["temperature"].value == 0.8)


async def test_a_chat_holds_as_many_turns_as_the_context_does(kept: RunDir, runs: Path) -> None:
    info = json.loads(kept.run_json.read_text())
    info["template"] = {"prefix": "", "infix": " ", "suffix": "\n", "stop": ["zzz"]}
    kept.run_json.write_text(json.dumps(info))
    model, tokenizer, _ = load_model(kept, "best")
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(140, 40)) as pilot:
        here = await go(pilot, app)
        here.main.sheet = replace(here.main.sheet, values={**here.main.sheet.values, "max_tokens": 2.0})
        here.show_sheet()
        await pilot.press("f4")
        assert here.main.chatting and editor(app).region.y > here.pane.region.y
        for number, said in enumerate(("one", "two", "the cat", "one"), 1):
            await pilot.press(*("space" if char == " " else char for char in said), "enter")
            await until(pilot, lambda number=number: len(here.main.chat) == number)  # type: ignore[misc]
            await answered(pilot, app, 1)
            assert editor(app).text == ""
        job = here.main.chat[-1]
        assert job.request.chat is not None
        turns = list(job.request.chat.turns)
        chat = Chat(model, tokenizer, job.request.chat.template, job.request.settings)
        chat.history = turns
        ids, held = chat.fit("one")
        assert job.held == held < 3 and [int(id) for id in tokenizer.encode(job.applied)] == ids
        assert f"{3 - held} of 3 turns out of context" in str(here.pane.border_subtitle)
        shown = here.pane.text.text
        assert [line for line in shown.split("\n") if line.startswith("❯")] == ["❯ one", "❯ two", "❯ the cat", "❯ one"]
        await pilot.press("escape", "r")
        pane = await answered(pilot, app, 2)
        assert len(here.main.chat) == 4 and here.main.chat[-1] is here.main.jobs[-1]
        await pilot.press("left_square_bracket")
        assert here.main.chat[-1] is job is pane.shown
        await pilot.press("f4")
        assert not here.main.chatting and editor(app).region.y < here.pane.region.y
        await pilot.press("f4")
    assert [entry["how"] for entry in history(kept)] == ["chat"] * 5
    app = Workbench(runs, run=kept)
    async with app.run_test(size=(140, 40)) as pilot:
        here = await go(pilot, app)
        await until(pilot, lambda: here.has_class("chat") and "❯ the cat" in here.pane.text.text)
        assert here.pane.text.text.endswith(shown[shown.rindex("❯") :]), "a chat outlives the program"
        await pilot.press("escape", "r")
        await answered(pilot, app, 2)
        last = here.main.chat[-1]
        assert isinstance(last, PromptJob) and last.request.chat is not None and list(last.request.chat.turns) == turns
        app.screen.focus()
        app.do(next(action for action in ACTIONS if action.id == "prompt.new_chat"))
        await until(pilot, lambda: not here.main.chat)
        await until(pilot, lambda: "chat" not in json.loads((kept.path / "draft.json").read_text()))


async def test_two_runs_answer_beside_each_other(kept: RunDir, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(kept.path, runs / "other")
    app, said = Workbench(runs, run=kept), list[str]()
    monkeypatch.setattr(app, "notify", lambda text, **_: said.append(text))
    async with app.run_test(size=(140, 40)) as pilot:
        here = await go(pilot, app)
        here.main.sheet = replace(here.main.sheet, values={**here.main.sheet.values, "max_tokens": 4.0})
        here.show_sheet()
        await pilot.press(*"one", "ctrl+b", "ctrl+o", *"another", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and "the run to ask" in on_screen(app))
        await pilot.press("enter")
        await until(pilot, lambda: here.main.other is not None and here.main.other.run != kept)
        here.focus_editor()
        await pilot.press("enter")
        panes = here._answers
        await until(pilot, lambda: not here.busy and all(len(each.tokens) == 4 for each in panes.values()), 60)
        assert panes["a"].text.answer == panes["b"].text.answer, "the same weights and seed"
        await until(pilot, lambda: panes["b"].text._different == set())
        here.side = "b"
        await pilot.press("ctrl+o", *"in 8 bits", "enter")
        await until(pilot, lambda: "best checkpoint int8" in on_screen(app))
        here.focus_editor()
        await pilot.press("enter")
        other = here.main.other
        await until(pilot, lambda: not here.busy and other is not None and other.version[1] == 2, 60)
        await until(pilot, lambda: any("int8: what it costs in loss is not known" in text for text in said))
        here.side = "b"
        await pilot.press("ctrl+o", *"as they are")
        await until(pilot, lambda: "matrices as they are" in on_screen(app))
        assert "int8: what it costs in loss is not known" in on_screen(app)
        await pilot.press("enter")
        assert other is not None and not other.int8 and not here.main.int8
    assert [each["source"] for each in history(RunDir(runs / "other"))] == ["best", "best int8"]
    assert [each["source"] for each in history(kept)] == ["best", "best"]


def bars_of(pane: AnswerPane) -> int:
    return pane.tokens[3].id


async def test_prompts_of_other_runs_can_be_asked_again(runs: Path) -> None:
    run, other = write_run(runs, "a-1"), write_run(runs, "b-1")
    (other.path / "prompts.jsonl").write_text(json.dumps({"prompt": "from elsewhere", "time": 5.0}) + "\n")
    app = Workbench(runs, run=run)
    async with app.run_test(size=(100, 30)) as pilot:
        await go(pilot, app)
        await pilot.press("ctrl+g")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and "from elsewhere" in on_screen(app))
        await pilot.press(*"b-1", "enter")
        await until(pilot, lambda: editor(app).text == "from elsewhere")


async def test_who_may_only_look_asks_nothing(runs: Path) -> None:
    run = write_run(runs, step=340)
    with talking(run) as model:
        app = Workbench(runs, run=run, read_only=True)
        async with app.run_test(size=(100, 30)) as pilot:
            here = await go(pilot, app)
            await until(pilot, lambda: app.session.live)
            said: list[str] = []
            app._news.add = lambda notice: said.append(notice.text)  # type: ignore[method-assign]
            await pilot.press(*"Pt.", "enter", "ctrl+r")
            await until(pilot, lambda: len(said) == 2 and all("only looks" in text for text in said))
            here.pane.text.focus()
            await pilot.press("r", "m", "e")
            assert not here.main.jobs and here.main.grid is None and not model.asked
    assert not (run.path / "prompts.jsonl").exists() and not (run.path / "draft.json").exists()


SIZES = [(140, 40), (80, 24), (44, 12), (20, 5)]


async def test_every_pane_is_reached_and_seen_at_every_size(runs: Path) -> None:
    app = Workbench(runs, run=write_run(runs))
    async with app.run_test(size=SIZES[0]) as pilot:
        here = await go(pilot, app)
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await pilot.pause()
            seen = list[type]()
            for _ in range(4):
                pane = here._focused_pane()
                assert pane is not None and app.focused is not None
                await until(pilot, lambda: bool(app.focused and app.focused.region.area), 5)
                assert app.focused.region.right <= size[0] and app.focused.region.y < size[1], size
                seen.append(type(pane))
                await pilot.press("tab")
                await pilot.pause()
            assert seen == [EditorPane, AnswerPane, SamplingPane, BarsPane], size
        await pilot.resize_terminal(*SIZES[0])


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        ((140, 40), DARK),
        ((140, 40), LIGHT),
        ((100, 30), CONTRAST),
        ((80, 24), ANSI),
        ((44, 12), LIGHT),
    ],
)
def test_pictures(snap_compare: Callable[..., bool], runs: Path, size: tuple[int, int], theme: str) -> None:
    run = write_run(runs, step=340)
    with talking(run):
        app = Workbench(runs, run=run, theme=theme)

        async def ask(pilot: Pilot[Any]) -> None:
            here = await go(pilot, app)
            await until(pilot, lambda: app.session.live)
            here.main.locked, here.main.sheet = True, replace(here.main.sheet, seed="5341")
            here.show_sheet()
            await pilot.press(*"Pt. complains of", "enter")
            await answered(pilot, app, 1)
            await pilot.press("escape", "left", "left", "left")
            bars = here.query_one(BarsPane).bars
            await until(pilot, lambda: any(bar.taken and bar.text == WORDS[3] for bar in bars._tokens))
            await pilot.pause()

        assert snap_compare(app, terminal_size=size, run_before=ask)
