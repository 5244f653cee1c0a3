"""Commands to a trainer: a queue it empties between steps, a Unix socket that fills it, and the client of that socket.

The protocol is JSON, one object a line. A request is a command `{"do": "pause"}`; the answer is `{"ok": true}` once it
is queued (it takes effect at the next step) or `{"error": "one line"}`. `prompt` is answered by a stream of lines that
ends with `{"done": {...}}` or `{"error": ...}`; hanging up cancels it. No client can make the trainer wait.
"""

from __future__ import annotations

from engine.control.client import ControlClient
from engine.control.server import CommandQueue, ControlServer

__all__ = ["CommandQueue", "ControlClient", "ControlServer"]
