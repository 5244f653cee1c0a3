"""What a program is told before its first line reaches it, whichever way it is begun."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.forked import READ_AT_EXEC, Forked

TOLD = "print(open('/proc/self/environ').read().count('TO_BE_SEEN'))"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")
def test_what_the_loader_reads_is_told_to_a_program_of_its_own() -> None:
    for name, executed in (*((each + "TO_BE_SEEN", True) for each in READ_AT_EXEC), ("TO_BE_SEEN", False)):
        with Forked(
            [sys.executable, "-c", TOLD], env={**os.environ, name: "1"}, stdout=subprocess.PIPE, text=True
        ) as program:
            said, _ = program.communicate(timeout=60)
        assert said == f"{int(executed)}\n", name
