"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from docs_tried import clone, tried  # noqa: F401 - fixtures

# A shell that puts the tests into the background has them ignore Ctrl-C, and what they start
# inherits that; how commands end on Ctrl-C is tested, so it has to be as in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def outside_of_any_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that are started from a run or a project's shell behave as from a plain one."""
    for name in list(os.environ):
        if name.startswith(("DATAFLOW_", "DAGSTER_HOME")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def built_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose `evidence/build` holds the built pages: built once for all tests."""
    from repository import REPOSITORY, copy_repository

    from dataflow.dashboard.build import build_pages, built_hash, pages_hash

    project = copy_repository(tmp_path_factory.mktemp("built") / "project")
    if built_hash(REPOSITORY) == pages_hash(project):
        shutil.copytree(REPOSITORY.evidence / "build", project.evidence / "build")
    build_pages(project)
    return project.root
