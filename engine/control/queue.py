"""Commands on their way from clients to the trainer's step boundary."""

from __future__ import annotations

import threading
from collections import deque

from engine.control.protocol import Command, check_command
from engine.errors import RunError

MAX_QUEUED = 1000


class CommandQueue:
    """Commands on their way to the trainer, in the order they came. Any thread puts, the trainer drains."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._arrival = threading.Condition()

    def put(self, command: Command) -> None:
        """Adds a command, checked, and wakes a waiting trainer; RunError when it is not one, or too many wait."""
        command = check_command(command)
        with self._arrival:
            if len(self._commands) >= MAX_QUEUED and command["do"] != "stop":
                raise RunError(f"{MAX_QUEUED} commands wait already; the trainer has not come to a step boundary yet")
            self._commands.append(command)
            self._arrival.notify_all()

    def drain(self) -> list[Command]:
        """All that wait, oldest first; never blocks. Free when nothing waits: the trainer asks at every step."""
        if not self._commands:
            return []
        with self._arrival:
            commands = list(self._commands)
            self._commands.clear()
        return commands

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until something waits, at most `timeout` seconds; True when something waits."""
        with self._arrival:
            if not self._commands:
                self._arrival.wait(timeout)
            return bool(self._commands)
