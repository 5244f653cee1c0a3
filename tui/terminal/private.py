"""What of Textual's own, unnamed in its manual, the terminal's side leans on: all of it here, and whether it is there.

`missing()` is asked once, at the start. Where a newer Textual has moved one of these, its own driver is used and cells
are written as it writes them: slower over a slow link, but right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cache, lru_cache
from queue import Queue
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

try:
    from textual._compositor import ChopsUpdate as ChopsUpdate
    from textual._compositor import CompositorUpdate as CompositorUpdate
    from textual._compositor import LayoutUpdate as LayoutUpdate
except ImportError:  # then no update is one of these

    class CompositorUpdate:  # type: ignore[no-redef]
        pass

    class ChopsUpdate(CompositorUpdate):  # type: ignore[no-redef]
        pass

    class LayoutUpdate(CompositorUpdate):  # type: ignore[no-redef]
        pass


if TYPE_CHECKING:
    from textual.app import App
    from textual.drivers.linux_driver import LinuxDriver
    from textual.geometry import Region
    from textual.message import Message
    from textual.screen import Screen
    from textual.strip import Strip

    _Screen = Screen[Any]
else:
    _Screen = object


def writer_queue(driver: LinuxDriver) -> Queue[str | None] | None:
    """What waits for the driver's writer thread; None where none runs."""
    thread = driver._writer_thread
    return thread._queue if thread is not None else None


def read_pastes_as_text(driver: ModuleType) -> None:
    """Have the input that a driver of that module of Textual's reads go through `Pastes` first."""
    from textual._xterm_parser import XTermParser

    from tui.terminal.pastes import Pastes

    class Parser(XTermParser):
        def __init__(self, debug: bool = False) -> None:
            super().__init__(debug)
            self._pastes = Pastes()

        def feed(self, data: str) -> Iterable[Message]:
            cleaned = self._pastes.cleaned(data)
            return super().feed(cleaned) if cleaned or not data else ()  # nothing would be the end of all input

    driver.XTermParser = Parser  # type: ignore[attr-defined]


def draws(app: App[Any]) -> bool:
    """Whether `App._display` is going to write (as it decides itself): only then is the picture on the terminal."""
    return app._running and not app._closed and not app.is_headless and not app._batch_count


def picture_of(screen: Screen[Any], rows: Collection[int]) -> dict[int, Strip]:
    """These lines of a screen, as it would be drawn now, as far as it has them."""
    from textual.geometry import Region
    from textual.strip import Strip

    rows = [y for y in rows if y < screen._compositor.size.height]  # in a terminal that grew it is laid out later
    if not rows:
        return {}
    crop = Region(0, min(rows), screen.size.width, max(rows) + 1 - min(rows))
    chops = screen._compositor._render_chops(crop, {*rows}.__contains__)
    return {y: Strip.join(chops[y].values()) for y in rows}


def release_strips() -> None:
    """Let a widget's painted lines go with the widget.

    `StylesCache.get_inner_outer` is meant for a class method: cached by its two colours. As Textual 8.2 has it, it is
    cached by the instance too, and 1,024 of them are kept with every line they painted: some 100 MB of dialogues and
    toasts that are long gone.
    """
    try:
        from textual._styles_cache import StylesCache
    except ImportError:
        return
    kinds: Any = StylesCache
    cached: Any = vars(kinds).get("get_inner_outer")
    if hasattr(cached, "cache_info"):  # cached, and no class method
        by_colours: Any = lru_cache(1024)(cached.__wrapped__)
        kinds.get_inner_outer = classmethod(by_colours)


class Layer(_Screen):
    """Mixin for a Screen: a change of it while another lies over it is drawn once, and only where it is.

    As Textual 8.2 has it, what changed below is marked to be drawn again with each later change there, so that soon all
    of it is with every one; and as it marks the screen above as a whole, what changed of that in the same moment waits
    for the next change.
    """

    def _compositor_refresh(self) -> None:
        required, regions = self._repaint_required, {*self._repaint_regions}
        super()._compositor_refresh()
        if self.app.screen is not self and _layers():
            self._repaint_required, self._repaint_regions = required, regions

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """As Textual's; parts of it are drawn together with what else is new."""
        if not regions or layout or recompose or not self.is_mounted or not _layers():
            return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)
        self._set_dirty(*regions)
        self._dirty_widgets.add(self)
        self.check_idle()
        return self


@cache
def _layers() -> bool:
    from textual.screen import Screen
    from textual.widget import Widget

    return _uses(Screen._compositor_refresh, "_repaint_required", "_set_dirty", "_dirty_widgets") and _uses(
        Widget._exchange_repaint_regions, "_repaint_regions"
    )


def _uses(function: Callable[..., Any], *names: str) -> bool:
    """Whether `function` reads or sets attributes of these names."""
    return set(names) <= set(function.__code__.co_names)


def _update_classes() -> bool:
    chops = ChopsUpdate.__init__.__code__.co_names
    return {"chops", "spans", "chop_ends"} <= set(chops) and _uses(LayoutUpdate.__init__, "strips", "region")


def _queue() -> bool:
    from textual.drivers._writer_thread import WriterThread

    return _uses(WriterThread.__init__, "_queue") and _uses(WriterThread.write, "_queue")


def _driver() -> bool:
    from textual.drivers.linux_driver import LinuxDriver

    return _uses(LinuxDriver.__init__, "_file", "_writer_thread", "_in_band_window_resize") and all(
        hasattr(LinuxDriver, name)
        for name in (
            "_enable_mouse_support",
            "_disable_mouse_support",
            "_sigtstp_application",
            "_sigcont_application",
            "_get_terminal_size",
            "suspend_application_mode",
            "resume_application_mode",
        )
    )


def _parser() -> bool:
    from textual.drivers.linux_driver import LinuxDriver

    return _uses(LinuxDriver.run_input_thread, "XTermParser", "feed")


def _display() -> bool:
    from textual.app import App

    return hasattr(App, "_display") and _uses(App._display, "_running", "_closed", "_batch_count")


def _mouse() -> bool:
    from textual.driver import Driver

    return _uses(Driver.__init__, "_app", "_mouse")


PARTS: dict[str, Callable[[], bool]] = {
    "textual._compositor: ChopsUpdate.chops, .spans, .chop_ends, LayoutUpdate.strips, .region": _update_classes,
    "textual.drivers._writer_thread: WriterThread._queue": _queue,
    "textual.drivers.linux_driver: LinuxDriver._file, ._writer_thread, mouse, size and stop handlers": _driver,
    "textual.screen: Screen._compositor_refresh with _repaint_required, _set_dirty, _dirty_widgets": _layers,
    "textual.app: App._display with _running, _closed, _batch_count": _display,
    "textual.driver: Driver._app, ._mouse": _mouse,
    "textual.drivers.linux_driver: XTermParser and its feed, in run_input_thread": _parser,
}
"""What is leaned on, in words, and whether this Textual has it."""


def missing() -> list[str]:
    """What this Textual does not have, in words."""
    found = []
    for name, has in PARTS.items():
        try:
            there = has()
        except (ImportError, AttributeError):
            there = False
        if not there:
            found.append(name)
    return found
