"""A small project, free ports, and the command line; nothing is left running."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataflow.project import Project
from dataflow.services import control
from dataflow.services.catalog import SERVICES

sys.path.insert(0, str(Path(__file__).parent))

from service_helpers import COMMAND, environment, free_port


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
    return free_port()


@pytest.fixture
def dataflow(project: Project) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in the project."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=project.root,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run


@pytest.fixture
def eventually() -> Callable[[Callable[[], object], float], None]:
    """Waits until something is true."""

    def wait(condition: Callable[[], object], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.1)

    return wait


@pytest.fixture(autouse=True)
def _no_dagster_home_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    # Dagster's instance of the project is chosen by a variable that starting it sets.
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert "DAGSTER_HOME" not in os.environ
