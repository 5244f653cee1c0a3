"""Screen 6: the list, the text of any size, what was counted; adding, fetching, removing, a run on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pilot_for_tests import on_screen, still, until
from runs_for_tests import write_run
from textual.pilot import Pilot
from textual.widgets import Input

from engine.text import catalog
from engine.text.card import write_card
from engine.text.corpus import Corpus
from tui.app import Workbench
from tui.screens.corpora.add import AddScreen, PathScreen
from tui.screens.corpora.leaf import FactsLeaf, TextLeaf
from tui.screens.corpora.screen import CorporaScreen
from tui.screens.dialogs.choose import ChooseScreen
from tui.screens.dialogs.confirm import ConfirmScreen
from tui.screens.newrun.screen import NewRunScreen
from tui.screens.runs.screen import RunsScreen
from tui.screens.welcome.screen import WelcomeScreen
from tui.state.tokencounts import TokenCounts
from tui.theme import ANSI, CONTRAST, DARK, LIGHT
from tui.widgets.form import SettingsForm
from tui.widgets.menu import Menu

Snap = Callable[..., bool]
PAIRS = [("sore throat", "Gargle."), ("a cough\x1b]0;no\x07", "Rest."), ("fever", "Fluids.")]


@pytest.fixture
def bench(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """A workbench with a text of 200 KB, a table, one corpus to fetch and a damaged one; all by relative paths."""
    shipped = Path("shipped")
    for name, text in (("far", ""), ("hurt", "name = [")):
        (shipped / name).mkdir(parents=True)
        far = Corpus(name, title="Far away", license="CC0", path=Path("far.txt"), url="https://example.org/far.txt")
        write_card(shipped / name, far)
        if text:
            (shipped / name / "corpus.toml").write_text(text)
    monkeypatch.setattr(catalog, "shipped_dir", lambda: shipped)
    lines = (f"{number:05} the patient reports a {'very ' * (number % 7)}sore throat\n" for number in range(4000))
    Path("ward.txt").write_text("".join(lines))
    Path("asked.csv").write_text("question,answer,place\n" + "".join(f"{q},{a},here\n" for q, a in PAIRS * 40))
    catalog.add_corpus(Path("ward.txt"), corpora_dir=Path("corpora"))
    return Workbench(runs, Path("corpora"))


async def corpora(pilot: Pilot[Any]) -> CorporaScreen:
    app = pilot.app
    assert isinstance(app, Workbench)
    await until(pilot, lambda: isinstance(app.screen, WelcomeScreen | RunsScreen))
    app.action_go("corpora")
    await until(pilot, lambda: isinstance(app.screen, CorporaScreen) and bool(app.session.shelf.entries))
    screen = app.screen
    assert isinstance(screen, CorporaScreen)
    await choose(pilot, screen, "ward")
    return screen


async def choose(pilot: Pilot[Any], screen: CorporaScreen, name: str) -> None:
    names = [each.name for each in screen.shelf.entries or ()]
    menu = screen.query_one("#list", Menu)
    menu.focus()
    menu.action_move(names.index(name) - menu.cursor)
    await until(pilot, lambda: screen.shelf.cursor == name)


async def counted(pilot: Pilot[Any]) -> CorporaScreen:
    screen = await corpora(pilot)
    await until(pilot, lambda: screen.shelf.statistics_of(screen.shelf.chosen) is not None)  # type: ignore[arg-type]
    await until(pilot, lambda: "00001 the patient" in on_screen(pilot.app))
    return screen


async def test_a_text_is_read_through_without_reading_it_whole(bench: Workbench) -> None:
    async with bench.run_test(size=(100, 30)) as pilot:
        screen = await counted(pilot)
        leaf, reading = screen.query_one(TextLeaf), screen.shelf.reading
        assert reading is not None and reading.count > 30
        await pilot.press("enter")
        assert screen.focused is leaf
        seen: list[str] = []
        for _ in range(30):
            assert len(leaf._sight()[0]) == leaf.size.height
            seen += [line for line in leaf._sight()[0] if line[:5].isdigit()]
            await pilot.press("pagedown")
            await until(pilot, lambda: len(leaf._sight()[0]) == leaf.size.height)
        numbers = sorted({int(line[:5]) for line in seen})
        assert numbers == list(range(len(numbers))) and len(numbers) > 250, "no line is left out on the way"
        await pilot.press("end")
        await until(pilot, lambda: "03999 the patient" in on_screen(bench))
        assert len(leaf._sight()[0]) == leaf.size.height, "the last lines fill the screen"
        await pilot.press("up")
        await until(pilot, lambda: "03999 the patient" not in on_screen(bench))
        await pilot.press("home")
        await until(pilot, lambda: "00000 the patient" in on_screen(bench))
        await pilot.press("g", "ctrl+u", *"50", "enter")
        await until(pilot, lambda: reading.number == reading.count // 2)
        held = len(reading.pages)
        assert held < reading.count
        await pilot.press("4", "6")
        await until(pilot, lambda: bench.screen is screen)
        assert reading.number == reading.count // 2, "as it was left"


async def test_the_most_frequent_tokens_of_a_tokenizer(bench: Workbench) -> None:
    async with bench.run_test(size=(140, 40)) as pilot:
        screen = await counted(pilot)
        await pilot.press("o")
        await until(pilot, lambda: isinstance(bench.screen, ChooseScreen))
        await pilot.press(*"char", "enter")
        entry = screen.shelf.chosen
        assert entry is not None
        await until(pilot, lambda: isinstance(screen.shelf.tokens_of(entry), TokenCounts), 30)
        told = screen.shelf.tokens_of(entry)
        text = Path("ward.txt").read_text()
        assert isinstance(told, TokenCounts) and told.tokens == told.n_bytes == len(text)
        assert told.top[:2] == (("␣", text.count(" ")), ("e", text.count("e")))
        assert told.distinct == told.vocab_size == len(set(text))
        await until(pilot, lambda: "most frequent tokens  char" in on_screen(bench))
        assert f"{text.count('e'):,}  ━" in on_screen(bench)
        screen.shelf.count_tokens("bpe", 3)
        await until(pilot, lambda: "✖" in on_screen(bench) and "vocab_size" in on_screen(bench))


async def test_what_was_counted_is_shown_and_scrolled(bench: Workbench) -> None:
    async with bench.run_test(size=(140, 40)) as pilot:
        screen = await counted(pilot)
        told = screen.shelf.statistics_of(screen.shelf.chosen)  # type: ignore[arg-type]
        assert told is not None
        shown = on_screen(bench)
        assert f"{told.characters:,}" in shown and f"{told.gzip_bits_per_byte:.3f}" in shown
        assert f"{100 * told.shared_windows.share:.1f}%" in shown
        await pilot.press("tab", "tab", "end")
        assert isinstance(screen.focused, FactsLeaf)
        await until(pilot, lambda: "most frequent characters" in on_screen(bench))


async def test_states_have_their_words(bench: Workbench) -> None:
    async with bench.run_test(size=(140, 40)) as pilot:
        screen = await corpora(pilot)
        await choose(pilot, screen, "far")
        await until(pilot, lambda: "not on this machine yet; f fetches it" in on_screen(bench))
        assert not screen.check_action("remove", ()) and not screen.check_action("new_run_on", ())
        await choose(pilot, screen, "hurt")
        await until(pilot, lambda: on_screen(bench).count("✖") >= 2)
        assert "damaged" in on_screen(bench)


async def test_a_folder_that_cannot_be_read_is_said(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> list[Corpus]:
        raise PermissionError(13, "not allowed", "corpora")

    monkeypatch.setattr(catalog, "list_corpora", refuse)
    app = Workbench(runs, Path("corpora"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, WelcomeScreen | RunsScreen))
        app.action_go("corpora")
        await until(pilot, lambda: isinstance(app.screen, CorporaScreen) and "not allowed" in on_screen(app))


async def test_a_table_is_added_with_the_columns_chosen_in_its_preview(bench: Workbench) -> None:
    async with bench.run_test(size=(100, 30)) as pilot:
        screen = await corpora(pilot)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(bench.screen, PathScreen) and "asked.csv" in on_screen(bench))
        await pilot.press(*"as")
        await until(pilot, lambda: isinstance(bench.screen, PathScreen) and bench.screen._found.typed == "as")
        await pilot.press("tab")
        assert bench.screen.query_one(Input).value == "asked.csv"
        await until(pilot, lambda: "takes it" in on_screen(bench))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(bench.screen, AddScreen) and "sore throat" in on_screen(bench))
        form = bench.screen.query_one(SettingsForm)
        assert (form.value("prompt"), form.value("response")) == ("question", "answer")
        form.go_to("response")
        await pilot.press("right")
        assert form.value("response") == "place"
        form.go_to("name")
        await pilot.press(*"a/b", "ctrl+s")
        assert isinstance(bench.screen, AddScreen) and "✖" in on_screen(bench)
        await pilot.press("ctrl+u", *"asked", "ctrl+s")
        await until(pilot, lambda: bench.screen is screen and screen.shelf.cursor == "asked")
        await until(pilot, lambda: len(screen.shelf.entries or ()) == 4)
        added = catalog.find_corpus("asked", Path("corpora"))
        assert added.columns == ("question", "place")
        await until(pilot, lambda: "You: sore throat" in on_screen(bench))
        assert "\x1b]0" not in on_screen(bench) and "␛]0;no" in on_screen(bench)


async def test_what_is_no_text_says_so_before_it_is_added(bench: Workbench) -> None:
    Path("junk.bin").write_bytes(bytes(range(256)))
    async with bench.run_test(size=(80, 24)) as pilot:
        await corpora(pilot)
        bench.push_screen(AddScreen(bench.session, "junk.bin"))
        await until(pilot, lambda: "✖" in on_screen(bench))
        await pilot.press("ctrl+s")
        assert isinstance(bench.screen, AddScreen)
        for closing in ("escape", "ctrl+c", "ctrl+q"):
            await pilot.press(closing)
            await until(pilot, lambda: not bench.in_dialogue)
            assert bench.return_value is None
            bench.push_screen(AddScreen(bench.session, "ward.txt"))
            await until(pilot, lambda: "00000 the patient" in on_screen(bench) and bench.in_dialogue)


async def test_removing_says_which_runs_need_it(bench: Workbench) -> None:
    run = write_run(bench.session.runs_dir)
    info = json.loads(run.run_json.read_text())
    info["corpus"]["name"] = "ward"
    run.run_json.write_text(json.dumps(info))
    async with bench.run_test(size=(100, 30)) as pilot:
        screen = await corpora(pilot)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(bench.screen, ConfirmScreen))
        await until(pilot, lambda: run.name in on_screen(bench))
        await pilot.press("enter")  # the cursor stands on keeping it
        await until(pilot, lambda: bench.screen is screen)
        assert catalog.find_corpus("ward", Path("corpora")).available
        await pilot.press("x")
        await until(pilot, lambda: isinstance(bench.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: "ward" not in [each.name for each in screen.shelf.entries or ()])


async def test_a_fetch_shows_how_far_it_is_and_is_given_up(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    stuck = threading.Event()

    def slow(url: str, path: Path, progress: Callable[[str, float], None], local: str = "") -> None:
        while not stuck.wait(0.002):
            progress("fetching", 0.37)

    monkeypatch.setattr("engine.text.fetch.download", slow)
    async with bench.run_test(size=(100, 30)) as pilot:
        screen = await corpora(pilot)
        await choose(pilot, screen, "far")
        await pilot.press("f", "enter")
        await until(pilot, lambda: "fetching far" in on_screen(bench) and "37%" in on_screen(bench))
        assert not screen.check_action("fetch", ()) and screen.check_action("cancel", ())
        await pilot.press("c")
        await until(pilot, lambda: screen.shelf.job is None and "a adds a file" in on_screen(bench))
    stuck.set()


async def test_a_new_run_on_it(bench: Workbench) -> None:
    async with bench.run_test(size=(100, 30)) as pilot:
        await corpora(pilot)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(bench.screen, NewRunScreen))
        await until(pilot, lambda: bench.screen.query_one(SettingsForm).value("corpus") == "ward")


async def test_any_size(bench: Workbench) -> None:
    async with bench.run_test(size=(140, 40)) as pilot:
        screen = await corpora(pilot)
        for size in ((140, 40), (100, 30), (80, 24), (39, 12), (20, 5), (200, 60)):
            await pilot.resize_terminal(*size)
            for _ in range(3):
                await pilot.press("tab")
                part = screen.focused
                assert part is not None and part.is_on_screen and part.region.area, size
            assert isinstance(part, Menu)


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        ((140, 40), DARK),
        ((140, 40), LIGHT),
        ((100, 30), CONTRAST),
        ((100, 30), ANSI),
        ((80, 24), DARK),
        ((20, 5), DARK),
    ],
    ids=lambda value: value.removeprefix("tinytui-") if isinstance(value, str) else f"{value[0]}x{value[1]}",
)
def test_picture(snap_compare: Snap, bench: Workbench, size: tuple[int, int], theme: str) -> None:
    async def show(pilot: Pilot[Any]) -> None:
        if size[0] >= 100:
            await counted(pilot)
        else:
            await corpora(pilot)
        await still(pilot)

    bench.theme = theme
    assert snap_compare(bench, terminal_size=size, run_before=show)
