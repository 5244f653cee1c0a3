"""For every test: one thread a process, for the machine is shared by the tests themselves."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is loaded
