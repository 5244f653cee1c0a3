"""What is closed is let go of: a workbench that is used all day holds what is on its screens, and no more."""

from __future__ import annotations

import gc
from collections.abc import Callable

from pilot_for_tests import until
from textual._styles_cache import StylesCache
from textual.pilot import Pilot
from textual.widget import Widget

from tui.app import Workbench

DIALOGUES = ("new_run", "help", "palette", "settings", "keys", "jump")


def left_behind() -> set[int]:
    """Widgets that are on no screen, and painted lines of no widget, which are still held."""
    gc.collect()
    found = gc.get_objects()
    widgets = [each for each in found if isinstance(each, Widget)]
    owned = {id(each._styles_cache) for each in widgets}
    lines = [each for each in found if isinstance(each, StylesCache) and id(each) not in owned]
    return {id(each) for each in widgets if not each.is_attached} | {id(each) for each in lines}


async def opened_and_closed(app: Workbench, pilot: Pilot[object], dialogue: str) -> None:
    app.call_later(app.run_action, dialogue)
    await until(pilot, lambda: app.in_dialogue and app.screen.is_mounted)
    await pilot.pause()  # painted
    await pilot.press("escape")
    await until(pilot, lambda: not app.in_dialogue)


async def test_what_is_closed_is_let_go_of(bench: Callable[..., Workbench]) -> None:
    app = bench()
    before = left_behind()  # of other tests
    async with app.run_test(size=(140, 40)) as pilot:
        await until(pilot, lambda: app.session.view is not None)
        for number, dialogue in enumerate(DIALOGUES):
            await opened_and_closed(app, pilot, dialogue)
            app.clear_notifications()
            app.notify(f"checkpoint {number}", timeout=60)
            await until(pilot, lambda text=f"checkpoint {number}": shown(app) == [text])  # type: ignore[misc]
        app.clear_notifications()
        await until(pilot, lambda: shown(app) == [])
        await pilot.pause()
        kept = left_behind() - before
        names = sorted(repr(each)[:80] for each in gc.get_objects() if id(each) in kept)
        assert len(names) <= 2, names  # Textual's own first screen, and what it holds


def shown(app: Workbench) -> list[str]:
    return [notice.message for notice in app._notifications]
