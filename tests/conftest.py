"""What all tests share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def outside_of_any_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that are started from a run or a project's shell behave as from a plain one."""
    for name in list(os.environ):
        if name.startswith(("DATAFLOW_", "DAGSTER_HOME")):
            monkeypatch.delenv(name)
