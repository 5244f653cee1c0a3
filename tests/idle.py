"""When an app under test has nothing to do: asked of its loop, not of the clock.

After each key Textual waits until its process has used next to no processor for 20 ms, twice: most of the time that
tests of screens take, and on a busy machine, where a process is given no processor, no wait at all.
"""

from __future__ import annotations

import asyncio
from typing import Any

ANSWERED = 0.04
"""Seconds that what was asked of a worker is waited for: it may be that the test keeps it from being answered."""


async def idle(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """Wait until no callback is due, all is drawn, and what was asked of the workers is told; `max_sleep` at most."""
    from textual._context import active_app

    loop: Any = asyncio.get_running_loop()
    app: Any = active_app.get(None)
    began = loop.time()
    while (passed := loop.time() - began) < max_sleep:
        await asyncio.sleep(0)
        if loop._ready:
            continue
        if app is None or not app.is_running or not app._screen_stack:
            return
        if undrawn(app.screen):
            app.screen._on_timer_update()
            await asyncio.sleep(0 if loop._ready else 0.001)
        elif app._resize_event is not None or app._resize_timer is not None or (passed < ANSWERED and asked(app)):
            await asyncio.sleep(0.001)
        else:
            return


def undrawn(screen: Any) -> bool:
    return bool(screen._callbacks or screen._dirty_widgets or screen._layout_required or screen._repaint_required)


def asked(app: Any) -> bool:
    """Whether a worker of the workbench has something to do, or to deliver."""
    session = getattr(app, "session", None)
    workers = getattr(session, "workers", ())
    return any(ticket.every is None for worker in workers for ticket in [*worker._current.values()])
