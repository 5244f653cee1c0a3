"""For every test: one thread a process, and no hurry, for the machine is shared by the tests themselves."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is loaded

# under load an example may take any time, which is no defect; a test that uses one folder for all examples says so
UNHURRIED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("unhurried", deadline=None, suppress_health_check=UNHURRIED)
settings.load_profile("unhurried")
