"""For every test: one thread a process, and no hurry, for the machine is shared by the tests themselves."""

from __future__ import annotations

import os
import signal
import tempfile

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is loaded
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="tinytui-state-")  # a bug made on purpose is nobody's own

# a test run begun in the background of a script has these ignored, and so would every program that a test starts
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

# under load an example may take any time, which is no defect; a test that uses one folder for all examples says so
UNHURRIED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
# a landing is judged by examples that are the same each time; every run by hand looks for new ones
ALWAYS_ALIKE = os.environ.get("CI") == "true"
settings.register_profile("unhurried", deadline=None, derandomize=ALWAYS_ALIKE, suppress_health_check=UNHURRIED)
settings.load_profile("unhurried")
