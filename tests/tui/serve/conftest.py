"""One server for all tests of a module that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serve_for_tests import Served, served


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as each:
        yield each
