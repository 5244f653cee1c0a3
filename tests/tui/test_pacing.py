"""One frame under way at a time; a stalled terminal neither blocks the loop nor loses the picture."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import queue
import select
import signal
import sys
import time
from types import SimpleNamespace
from typing import Any

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.app import App, ComposeResult
from textual.drivers.linux_driver import LinuxDriver
from textual.events import CursorPosition
from textual.geometry import Region, Size
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.widgets import Static

from tui.terminal.diff import GAP, Shown, changed_runs
from tui.terminal.pacing import CONGESTED, INTERVAL, REQUEST, SLOW_INTERVAL, TIMEOUT, Paced, PacedDriver, Pacer


class Link:
    """A clock and a terminal to pace by."""

    def __init__(self) -> None:
        self.now, self.written, self.waiting = 100.0, "", 0
        self.pacer = Pacer(clock=lambda: self.now)
        self.pacer.attach(self.write, lambda: self.waiting)

    def write(self, data: str) -> None:
        self.written += data

    def frame(self) -> None:
        assert self.pacer.ready()
        self.pacer.drew()
        self.pacer.sent()


def test_a_frame_that_wrote_nothing_asks_nothing() -> None:
    link = Link()
    for _ in range(3):
        link.pacer.sent()
        link.now += INTERVAL
        assert link.written == "" and link.pacer.ready()
    link.frame()
    assert link.written == REQUEST


def test_no_frame_before_the_last_one_arrived() -> None:
    link = Link()
    link.frame()
    assert link.written == REQUEST
    link.now += INTERVAL * 1.01
    assert not link.pacer.ready()
    link.pacer.answered()
    assert link.pacer.ready()
    assert link.pacer.round_trip == pytest.approx(INTERVAL * 1.01)


def test_a_fast_terminal_still_gets_few_frames() -> None:
    link = Link()
    link.frame()
    link.pacer.answered()
    assert not link.pacer.ready()
    link.now += INTERVAL
    assert link.pacer.ready()


def test_a_terminal_that_never_answers_is_drawn_to_by_the_clock() -> None:
    link = Link()
    for _ in range(2):
        link.frame()
        link.now += TIMEOUT - 0.01
        assert not link.pacer.ready()
        link.now += 1.0
    link.pacer.ready()
    assert not link.pacer.answering
    link.frame()
    link.now += SLOW_INTERVAL - 0.01
    assert not link.pacer.ready()
    link.now += 0.02
    link.frame()
    link.pacer.answered()
    assert link.pacer.answering


def test_nothing_is_drawn_while_writes_wait() -> None:
    link = Link()
    link.waiting = 1
    assert not link.pacer.ready()
    link.waiting = CONGESTED
    link.pacer.drew()
    link.pacer.sent()
    assert link.written == ""


def test_without_a_terminal_every_frame_may_be_drawn() -> None:
    pacer = Pacer()
    pacer.sent()
    assert pacer.ready()


class Bench(Paced, App[None]):
    def compose(self) -> ComposeResult:
        yield Static("one", id="one")
        yield Static("two", id="two")


class Stuck:
    """The writer thread of a terminal that takes nothing."""

    def __init__(self) -> None:
        self._queue: queue.Queue[str | None] = queue.Queue(30)

    def is_alive(self) -> bool:
        return True

    def join(self, timeout: float | None = None) -> None:
        pass


async def test_a_full_queue_drops_and_remembers_instead_of_blocking() -> None:
    app = Bench()
    async with app.run_test():
        driver = PacedDriver.__new__(PacedDriver)
        driver._writer_thread = Stuck()  # type: ignore[assignment]
        driver._app = app
        for _ in range(40):
            driver.write("x")
        assert driver.backlog == 30 and driver.congested and driver.lost
        driver.close()


async def test_an_answer_reaches_the_pacer_and_not_the_app() -> None:
    app = Bench()
    async with app.run_test():
        driver = PacedDriver.__new__(PacedDriver)
        driver._app = app
        app.pacer.attach(lambda _: None, lambda: 0)
        app.pacer.drew()
        app.pacer.sent()
        assert not app.pacer.ready()
        driver.process_message(CursorPosition(3, 4))
        assert app.pacer.round_trip is not None


def strip(*parts: tuple[str, str]) -> Strip:
    return Strip([Segment(text, Style.parse(style)) for text, style in parts])


def test_only_differing_cells_are_named() -> None:
    old = strip(("abcdefghij", "red"), (" " * 20, ""), ("klm", "blue"))
    assert list(changed_runs(old, old)) == []
    assert list(changed_runs(old, strip(("abXdefghij", "red"), (" " * 20, ""), ("klm", "blue")))) == [(2, 3)]
    far = strip(("Xbcdefghij", "red"), (" " * 20, ""), ("klX", "blue"))
    assert list(changed_runs(old, far)) == [(0, 1), (32, 33)]
    near = strip(("Xbc" + "Y" + "efghij", "red"), (" " * 20, ""), ("klm", "blue"))
    assert GAP > 2 and list(changed_runs(old, near)) == [(0, 4)]
    assert list(changed_runs(old, strip(("abc", "red"), ("defghij" + " " * 20 + "klm", "")))) == [(3, 10), (30, 33)]


def test_wide_characters_are_never_halved() -> None:
    assert list(changed_runs(strip(("漢字ab", "")), strip(("漢xyab", "")))) == [(2, 4)]
    assert list(changed_runs(strip(("xyab", "")), strip(("漢ab", "")))) == [(0, 2)]
    assert list(changed_runs(strip(("漢ab", "")), strip(("字ab", "")))) == [(0, 2)]


ALIKE = (("a", "b", "e\u0301"), ("漢", "字", "xy"))
"""Texts of one cell and of two."""
pairs = st.sampled_from(ALIKE).flatmap(lambda texts: st.tuples(st.sampled_from(texts), st.sampled_from(texts)))


@given(st.lists(pairs, max_size=12))
def test_what_is_named_makes_the_new_of_the_old(segments: list[tuple[str, str]]) -> None:
    """However cells, halves of wide ones and marks are parted in segments."""
    old, new = (strip(("|", ""), *((pair[which], "") for pair in segments), ("|", "")) for which in (0, 1))
    console, shown = Console(file=io.StringIO(), force_terminal=True), Shown()
    written = [
        shown.narrow(LayoutUpdate([[each]], Region(0, 0, old.cell_length, 1))).render_segments(console)
        for each in (old, new)
    ]
    assert screen_after(*written) == screen_after(new.render(console))


def screen_after(*writes: str) -> list[str]:
    screen = pyte.Screen(30, 3)
    pyte.Stream(screen).feed("".join(writes))
    return [line.rstrip() for line in screen.display]


def test_the_terminal_shows_what_the_full_update_would() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor")
    shown = Shown()

    def layout(*rows: list[Strip]) -> str:
        return shown.narrow(LayoutUpdate(list(rows), Region(0, 0, 20, 2))).render_segments(console)

    right = strip((" right 2222222", ""))
    written = [layout([strip(("left 1", "red")), right], [strip(("second row" + " " * 10, ""))])]
    update = ChopsUpdate([{0: strip(("left 2", "red")), 6: right}, {}], [(0, 0, 20)], [[6, 20], []])
    written.append(shown.narrow(update).render_segments(console))
    assert len(written[-1]) < 30
    assert screen_after(*written)[0] == "left 2 right 2222222"
    assert shown.narrow(update).render_segments(console) == ""
    shown.forget()
    assert "right" in shown.narrow(update).render_segments(console)


def test_a_row_divided_otherwise_is_written_whole() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    shown = Shown()
    shown.narrow(LayoutUpdate([[strip(("aaaa", "")), strip(("bbbb", ""))]], Region(0, 0, 8, 1)))
    whole = ChopsUpdate([{0: strip(("aaaabbbb", ""))}], [(0, 0, 8)], [[8]])
    assert "aaaabbbb" in shown.narrow(whole).render_segments(console)
    halves = ChopsUpdate([{0: strip(("aaaa", "")), 4: strip(("bbbb", ""))}], [(0, 0, 8)], [[4, 8]])
    assert "bbbb" in shown.narrow(halves).render_segments(console)


def test_a_picture_of_the_whole_screen_is_written_as_far_as_it_is_new() -> None:
    """As with all that changes behind a dialogue; however its rows and those before are divided."""
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor")
    shown = Shown()

    def picture(*rows: list[Strip]) -> str:
        return shown.narrow(LayoutUpdate(list(rows), Region(0, 0, 12, len(rows)))).render_segments(console)

    behind = strip(("aaaa", "red")), strip(("bbbb", "blue"))
    written = [picture([*behind, strip(("cccc", ""))], [strip(("漢字", "")), strip(("dddddddd", ""))])]
    assert picture([*behind, strip(("cccc", ""))], [strip(("漢字dddddddd", ""))]) == "", "the same, divided otherwise"
    written.append(picture([behind[0], strip(("bbXb", "blue"), ("cccc", ""))], [strip(("漢字dddddddd", ""))]))
    assert 0 < len(written[-1]) < 40 and "X" in written[-1]
    part = ChopsUpdate(
        [{}, {0: strip(("漢Y ", "")), 4: strip(("dddd", "")), 8: None}], [(0, 0, 0), (1, 0, 8)], [[], [4, 8, 12]]
    )
    written.append(shown.narrow(part).render_segments(console))
    written.append(picture([*behind, strip(("cccc", ""))], [strip(("漢Y dddddddd", ""))]))
    assert screen_after(*written)[:2] == ["aaaabbbbcccc", "漢Y dddddddd"]
    shown.forget()
    again = picture([*behind, strip(("cccc", ""))], [strip(("漢Y dddddddd", ""))])
    assert screen_after(again) == screen_after(*written)


async def test_what_moves_behind_a_dialogue_costs_what_it_costs_without() -> None:
    class Counted(Paced, App[None]):
        written = 0

        def compose(self) -> ComposeResult:
            yield Static("0", id="number")
            yield Static("still " * 200)

        def _display(self, screen: Screen[Any], renderable: Any) -> None:
            update = self.shown.narrow(renderable) if isinstance(renderable, CompositorUpdate) else renderable
            self.written += (
                len(update.render_segments(Console(file=io.StringIO(), force_terminal=True))) if update else 0
            )
            super()._display(screen, renderable)

    app = Counted()
    async with app.run_test(size=(100, 30)) as pilot:
        costs = []
        for _ in range(2):
            await pilot.pause()
            app.written = 0
            for number in ("1", "2"):
                app.screen_stack[0].query_one("#number", Static).update(number)
                await pilot.pause(0.05)
            costs.append(app.written)
            await app.push_screen(ModalScreen())
            await pilot.pause(0.05)
        assert 0 < costs[1] <= 2 * costs[0] < 200


PROGRAM = """
from textual.app import App
from textual.widgets import Static
from tui.terminal.pacing import Paced, PacedDriver

class Ticking(Paced, App):
    ticks = 0
    def get_driver_class(self): return PacedDriver
    def compose(self): yield Static("frame 0")
    def on_mount(self): self.set_interval(0.05, self.tick)
    def tick(self):
        if self.pacer.ready():
            self.ticks += 1
            self.query_one(Static).update(f"frame {min(2, self.ticks)}")
            self.call_after_refresh(self.pacer.sent)

Ticking().run()
"""


class Terminal:
    """A program in a pseudo-terminal whose other end reads and answers only when told to."""

    def __init__(self) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(sys.executable, [sys.executable, "-c", PROGRAM])
        self.seen = ""

    def read(self, seconds: float, until: str = "") -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (until and until in self.seen):
            if select.select([self.fd], [], [], 0.05)[0]:
                self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # asked to quit, Textual's own input thread may spin on the closed terminal
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def test_a_real_terminal_is_waited_for() -> None:
    terminal = Terminal()
    try:
        terminal.read(60, until=REQUEST)
        terminal.read(0.6)
        assert terminal.seen.count(REQUEST) == 1  # unanswered: no other frame
        terminal.seen = terminal.seen.replace(REQUEST, "")
        os.write(terminal.fd, b"\x1b[1;1R")
        terminal.read(60, until=REQUEST)
        assert REQUEST in terminal.seen and "1003h" not in terminal.seen and "1002h" in terminal.seen
        terminal.seen = ""
        os.write(terminal.fd, b"\x1b[1;1R")
        terminal.read(0.5)
        assert terminal.seen == "", "frames that are all alike"
    finally:
        terminal.end()


async def test_of_two_sizes_at_once_the_last_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is read after the signals, not in their midst."""
    monkeypatch.setattr(LinuxDriver, "start_application_mode", lambda driver: None)
    sizes, told = [(80, 24), (100, 30)], list[Size]()
    driver: Any = PacedDriver.__new__(PacedDriver)
    driver._in_band_window_resize = False
    driver._app = SimpleNamespace(post_message=lambda event: told.append(event.size))
    driver._get_terminal_size = lambda: sizes[-1]
    before = signal.getsignal(signal.SIGWINCH)
    try:
        driver.start_application_mode()
        for _ in range(2):
            signal.raise_signal(signal.SIGWINCH)
        assert told == []
        sizes.append((120, 40))
        await asyncio.sleep(0)
        assert told == [Size(120, 40)] * 2
    finally:
        signal.signal(signal.SIGWINCH, before)
