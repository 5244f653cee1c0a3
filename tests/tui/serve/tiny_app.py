"""A small Textual app for the browser's driver: it says its process, its size and the keys it was given."""

from __future__ import annotations

import os
import time

from textual import events
from textual.app import App, ComposeResult
from textual.geometry import Size
from textual.widgets import Static


class Tiny(App[None]):
    keys = ""
    given = Size(0, 0)

    def compose(self) -> ComposeResult:
        yield Static(id="said", markup=False)

    def on_resize(self, event: events.Resize) -> None:
        self.given = event.size
        self.tell()

    def tell(self) -> None:
        said = f"pid {os.getpid()} size {self.given.width}x{self.given.height} keys <{self.keys}>"
        self.query_one("#said", Static).update(said)

    def on_key(self, event: events.Key) -> None:
        if event.character == "q":
            self.exit()
        elif event.character == "z":
            time.sleep(3600)
        self.keys += event.character or f"[{event.key}]"
        self.tell()


if __name__ == "__main__":
    Tiny().run()
