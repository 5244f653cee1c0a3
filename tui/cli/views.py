"""What a training without a screen shows: a progress line, plain lines, or the records themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tui.cli.output import console, one_line, print_json, say

if TYPE_CHECKING:
    from rich.text import Text

    from engine.runs.layout import RunDir
    from engine.runs.reader import RunReader
    from engine.runs.tail import Tail

LINE_EVERY = 5.0  # seconds between two plain lines
WINDOW = 50  # records over which the shown speed is averaged
FIRST_ESTIMATE = 5  # records before the time that is left is told
TOLD = ("alarm", "early_stop", "learning_rate", "paused", "unpaused", "not_finite", "rollback")  # worth a line