"""The pytest plugin of DATAFLOW; pytest finds it by its entry point.

It offers the fixture `run_stage`, and lets tests import modules below `notebooks/` as notebooks do
(`from my_workflow.ingestion import extract_data`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dataflow.errors import ProjectNotFound
from dataflow.project import Project
from dataflow.testing.runner import StageRunner


def pytest_configure(config: pytest.Config) -> None:
    """Put the project's `notebooks/` on Python's path, as in a stage's kernel."""
    try:
        notebooks = str(Project.find(config.rootpath).notebooks)
    except ProjectNotFound:
        return  # the plugin is installed, but these are another project's tests
    if notebooks not in sys.path:
        sys.path.append(notebooks)


@pytest.fixture
def dataflow_project(request: pytest.FixtureRequest) -> Project:
    """The project whose stages `run_stage` runs: the one that holds the test's file.

    Override it to test stages of another project, such as one created in `tmp_path`.
    """
    try:
        return Project.find(request.path.parent)
    except ProjectNotFound:
        return Project.find(request.config.rootpath)


@pytest.fixture
def run_stage(
    request: pytest.FixtureRequest, dataflow_project: Project, tmp_path: Path
) -> StageRunner:
    """Run one stage of a workflow on small tables, in the test's own warehouse.

    ::

        def test_a_blast_is_no_earthquake(run_stage):
            run = run_stage(
                "earthquakes", "transform", tables={"events": [{"id": "a", "type": "blast"}]}
            )
            assert run.tables["events_clean"].empty

    See `dataflow.testing.runner.StageRunner` for the arguments, and
    `dataflow.testing.stage_run.StageRun` for what comes back. Stages that one test runs share
    the warehouse, so they can be run one after the other.
    """
    return StageRunner(dataflow_project, tmp_path / "run_stage", files=request.path.parent)
