"""What one server gives away at most, to all its browsers and to each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; times are in seconds, sizes in bytes."""

    sessions: int = 4
    """Browsers with a workbench at a time, those that are just ending included."""
    waiting: int = 32
    """Connections that have not yet shown the token; one more closes the oldest."""
    connections: int = 128
    """Connections of any kind; one more is closed at once."""
    knock: float = 10.0
    """A connection that has not shown the token by then is closed."""
    message: int = 1 << 18
    """Of one message of a browser; a larger one ends its session."""
    columns: int = 400
    rows: int = 200
    """Of a terminal; a larger one is given no more."""
    rate: float = 500.0
    """Messages that are taken from a browser in a second."""
    flow: float = 1 << 20
    """Bytes that are taken from a browser in a second."""
    idle: float = 7200.0
    """Without a key or a click a session ends."""
    heartbeat: float = 10.0
    """A browser that is asked for a sign of life this often, and gives none for half as long, has gone."""
    opening: float = 60.0
    """A session must have begun to draw by then."""
    ending: float = 5.0
    """A session that was told to end has this long before it is ended by force, where it holds nothing."""
    saving: float = 90.0
    """The same for one that may train, and has a checkpoint to write."""

    def size(self, columns: int, rows: int) -> tuple[int, int]:
        """Columns and rows as they are given."""
        return min(max(columns, 1), self.columns), min(max(rows, 1), self.rows)
