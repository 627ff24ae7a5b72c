"""A small project, free ports, and the command line; nothing is left running."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import projects
import pytest

from dataflow.project import Project
from dataflow.services import control
from dataflow.services.catalog import SERVICES


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    root = tmp_path / "project"
    (root / "notebooks").mkdir(parents=True)
    (root / "pyproject.toml").write_text("[tool.dataflow]\n")
    project = Project(root)
    yield project
    for service in SERVICES.values():
        control.stop(project, service)


@pytest.fixture
def port() -> int:
    return projects.free_port()


@pytest.fixture
def dataflow(project: Project) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in the project."""
    return partial(projects.dataflow, project, timeout=200)


@pytest.fixture(autouse=True)
def _no_dagster_home_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    # Dagster's instance of the project is chosen by a variable that starting it sets.
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert "DAGSTER_HOME" not in os.environ
