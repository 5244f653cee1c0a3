"""The corpora as the workbench knows them, without a screen: read, counted, added, fetched, removed beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.text import catalog
from engine.text.pages import Pages
from tui.state import corpora as state
from tui.state.corpora import Addition, Shelf
from tui.state.paths import list_paths
from tui.state.session import Session

TEXT = "".join(f"line {number} of the text, long enough to fill pages\n" for number in range(3000))


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("TINYTUI_CACHE", str(tmp_path / "cache"))
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    monkeypatch.setattr(catalog, "shipped_dir", lambda: shipped)
    (tmp_path / "mine.txt").write_text(TEXT)
    catalog.add_corpus(tmp_path / "mine.txt", corpora_dir=tmp_path / "corpora")
    return Session(tmp_path / "runs", tmp_path / "corpora")


def until(session: Session, test: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not test():
        assert time.monotonic() < end, "it did not happen"
        session.poll()
        time.sleep(0.002)


def opened(session: Session) -> Shelf:
    shelf = session.shelf
    shelf.look()
    until(session, lambda: bool(shelf.entries))
    shelf.open()
    until(session, lambda: shelf.reading is not None and shelf.reading.found.statistics is not None)
    return shelf


def test_a_text_is_prepared_counted_and_paged_through(session: Session) -> None:
    shelf = opened(session)
    assert shelf.chosen is not None and (shelf.chosen.name, shelf.chosen.where) == ("mine", "yours")
    reading = shelf.reading
    assert reading is not None and reading.found.text is not None
    told = shelf.statistics_of(shelf.chosen)
    assert told is not None and (told.characters, told.lines) == (len(TEXT), 3000)
    assert reading.count == len(Pages(reading.found.text)) > 20
    until(session, lambda: shelf.page(7) is not None)
    assert shelf.page(7) == Pages(reading.found.text).page(7)
    for number in range(0, reading.count, 4):
        until(session, lambda number=number: shelf.page(number) is not None)  # type: ignore[misc]
        assert len(reading.pages) <= state.MOST_PAGES + 4
    session.end()


def test_what_was_counted_is_known_at_the_next_start(session: Session) -> None:
    opened(session)
    session.end()
    again = Session(session.runs_dir, session.corpora_dir)
    again.shelf.look()
    until(again, lambda: bool(again.shelf.entries) and again.shelf.statistics_of(again.shelf.entries[0]) is not None)  # type: ignore[index]
    again.end()


def test_a_large_text_is_counted_when_asked(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "COUNTED_UNASKED", 100)
    shelf = session.shelf
    shelf.look()
    until(session, lambda: bool(shelf.entries))
    shelf.open()
    until(session, lambda: shelf.reading is not None and shelf.reading.found.text is not None)
    until(session, lambda: not session.works.asked("corpus"))
    assert shelf.chosen is not None and shelf.statistics_of(shelf.chosen) is None
    shelf.count()
    until(session, lambda: shelf.statistics_of(shelf.chosen) is not None)  # type: ignore[arg-type]
    session.end()


def test_a_text_that_cannot_be_read_is_said_in_its_place(session: Session, tmp_path: Path) -> None:
    (tmp_path / "corpora" / "mine" / "mine.txt").write_bytes(b"\xff\xfe\x00\xd8 no text")
    shelf = session.shelf
    shelf.look()
    until(session, lambda: bool(shelf.entries))
    shelf.open()
    until(session, lambda: shelf.reading is not None and bool(shelf.reading.problem))
    assert shelf.reading is not None and "\n" not in shelf.reading.problem and not session.notices
    session.end()


def test_the_cursor_stays_on_its_corpus(session: Session, tmp_path: Path) -> None:
    shelf = opened(session)
    (tmp_path / "a.txt").write_text("a text that comes before it\n" * 20)
    shelf.add(Addition(str(tmp_path / "a.txt"), "a-first"))
    assert shelf.job is not None and "adding" in shelf.job.doing
    until(session, lambda: shelf.job is None)
    until(session, lambda: len(shelf.entries or ()) == 2)
    assert shelf.cursor == "a-first", "what was added is under the cursor"
    shelf.go(1)
    assert shelf.cursor == "mine"
    shelf.remove(shelf.entries[0])  # type: ignore[index]
    until(session, lambda: len(shelf.entries or ()) == 1)
    assert shelf.cursor == "mine" and shelf.index == 0
    session.end()


def test_what_cannot_be_added_is_said_and_leaves_nothing(session: Session, tmp_path: Path) -> None:
    shelf = session.shelf
    (tmp_path / "bad.bin").write_bytes(bytes(range(256)) * 10)
    before = sorted(path.name for path in (tmp_path / "corpora").iterdir())
    shelf.add(Addition(str(tmp_path / "bad.bin")))
    until(session, lambda: shelf.job is None)
    (notice,) = session.notices
    assert notice.bad and "\n" not in notice.text
    assert sorted(path.name for path in (tmp_path / "corpora").iterdir()) == before
    session.end()


def test_a_fetch_that_is_given_up_ends_and_leaves_nothing(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []

    def endless(url: str, path: Path, progress: Callable[[str, float], None], local: str = "") -> None:
        try:
            while True:
                progress("fetching", 0.5)
                time.sleep(0.001)
        finally:
            ended.append(url)

    monkeypatch.setattr("engine.text.fetch.download", endless)
    shelf = session.shelf
    shelf.fetch("https://example.org/text.txt")
    until(session, lambda: shelf.job is not None and shelf.job.fraction == 0.5)
    shelf.cancel()
    until(session, lambda: bool(ended))
    until(session, lambda: [path.name for path in (tmp_path / "corpora").iterdir()] == ["mine"])
    assert shelf.job is None and "given up" in session.notices[-1].text
    session.end()


def test_only_ones_own_corpora_are_asked_to_be_removed(session: Session, tmp_path: Path) -> None:
    shelf = opened(session)
    told: list[list[str]] = []
    shelf.ask_needs(shelf.chosen, lambda names: told.append(list(names)))  # type: ignore[arg-type]
    until(session, lambda: bool(told))
    assert told == [[]]
    session.end()


def test_paths_are_completed(tmp_path: Path) -> None:
    for name in ("notes.txt", "Notes.csv", ".hidden"):
        (tmp_path / name).write_text("x")
    (tmp_path / "nothing").mkdir()
    found = list_paths(f"{tmp_path}/no")
    assert [(each.shown, each.folder, each.size) for each in found.entries] == [
        ("nothing/", True, None),
        ("notes.txt", False, 1),
    ]
    assert not found.exact and list_paths(found.entries[1].path).exact
    assert [each.shown for each in list_paths(f"{tmp_path}/").entries] == ["nothing/", "Notes.csv", "notes.txt"]
    assert [each.shown for each in list_paths(f"{tmp_path}/.h").entries] == [".hidden"]
    assert list_paths(f"{tmp_path}/none/there").entries == ()
