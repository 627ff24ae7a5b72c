"""What the tests of the documentation share."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from once import MakeOnce
from projects import copy_repository, dataflow

from dataflow.project import Project


@pytest.fixture(scope="session")
def clone(make_once: MakeOnce, built_pages: Path) -> Project:
    """A clone of the repository in which the workflow `earthquakes` has run."""

    def make(folder: Path) -> None:
        project = copy_repository(folder, built_pages)
        for command in (
            ["init", "-q"],
            ["add", "-A", "."],
            ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", "A clone"],
        ):
            subprocess.run(["git", *command], cwd=project.root, check=True, capture_output=True)
        ran = dataflow(project, "workflow", "run", "earthquakes", "--quiet", timeout=300)
        assert ran.returncode == 0, ran.stderr

    return Project(make_once("clone", make))
