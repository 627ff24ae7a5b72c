"""What a test cannot do without a program that this machine lacks."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

NOT_TESTED = "NOT TESTED"  # begins the reason of a skip that the last line repeats


def not_tested(what: str) -> NoReturn:
    """Skip a test, loudly; in CI, which installs everything, that is a failure."""
    without = f"{NOT_TESTED}: {what}"
    pytest.fail(without) if os.environ.get("CI") else pytest.skip(without)
