"""Dagster's context in a notebook: made when it is used, and what a notebook hands to Dagster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from projects import Workflow, dataflow, environment, executed, make_project, run_data
from projects import text_of as printed_by

from dataflow.project import Project

pytestmark = pytest.mark.slow

SECRET = {"TOKEN": "a-secret-of-ours"}
USE = """\
context.log.info("three gauges")
print("run", context.run_id, "partition", context.partition_key, end=" ")
print("resources", sorted(context.resources._asdict()))"""
YIELD = """\
import os

import dagster as dg
import dagstermill

token = os.environ["TOKEN"]
dagstermill.yield_event(
    dg.AssetMaterialization(
        "extra", description=f"made with {token}", metadata={"rows": 3, "url": f"x?key={token}"}
    )
)"""
FAIL = """\
import os

import dagster as dg
import dagstermill

token = os.environ["TOKEN"]
dagstermill.yield_event(dg.Failure(f"no data for {token}", metadata={"key": token}))"""
UNUSED = """\
import sys

print("loaded:", sorted({"dagster", "dagstermill"} & set(sys.modules)))"""
BY_HAND = """\
import dagstermill

context = dagstermill.get_context()
context.log.info("by hand")
print(type(context).__name__)"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    secret = {"key": "${TOKEN}"}
    return make_project(
        tmp_path_factory.mktemp("context") / "project",
        {
            "used": Workflow({"use": [USE], "yields": [YIELD]}, config=secret),
            "failing": Workflow({"fail": [FAIL], "last": ["print()"]}, config=secret),
            "unused": Workflow({"look": [UNUSED], "asks": [BY_HAND]}),
        },
    )


def run(project: Project, workflow: str) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    done = dataflow(project, "workflow", "run", workflow, env=SECRET)
    return run_data(project, workflow), done


def events(project: Project, run_id: str) -> list[Any]:
    """Everything Dagster has stored about a run."""
    from dagster import DagsterInstance

    with DagsterInstance.from_config(str(project.dagster_home)) as instance:
        return list(instance.all_logs(run_id))


def printed(notebook: Any) -> str:
    """What the cells of an executed notebook printed."""
    return "".join(printed_by(cell) for cell in notebook.cells if cell.cell_type == "code")


def test_the_context_knows_its_run_and_what_is_yielded_reaches_dagster_without_secrets(
    project: Project,
) -> None:
    ran, done = run(project, "used")

    assert done.returncode == 0, done.stderr
    assert f"run {ran['run_id']} partition None" in printed(executed(project, "used", "use"))
    stored = events(project, ran["run_id"])
    assert "three gauges" in [event.user_message for event in stored]
    made = [
        event.dagster_event.step_materialization_data.materialization
        for event in stored
        if event.dagster_event and event.dagster_event.is_step_materialization
    ]
    [extra] = [one for one in made if one.asset_key.path == ["extra"]]
    assert extra.description == "made with ${TOKEN}"
    assert extra.metadata["rows"].value == 3
    assert extra.metadata["url"].value == "x?key=${TOKEN}"


def test_a_failure_that_is_yielded_fails_the_stage_without_secrets(project: Project) -> None:
    ran, done = run(project, "failing")

    assert done.returncode == 1
    assert ran["steps"]["fail"]["status"] == "failed"
    assert ran["steps"]["last"]["status"] == "not run"
    assert "no data for ${TOKEN}" in done.stderr
    told = "".join(str(event) for event in events(project, ran["run_id"])) + done.stderr
    assert "no data for ${TOKEN}" in told
    assert SECRET["TOKEN"] not in told


def test_a_notebook_that_leaves_the_context_alone_does_not_pay_for_it(project: Project) -> None:
    _, done = run(project, "unused")

    assert done.returncode == 0, done.stderr
    assert "loaded: []" in printed(executed(project, "unused", "look"))
    assert "DagstermillRuntimeExecutionContext" in printed(executed(project, "unused", "asks"))


def test_by_hand_dagstermills_own_stand_in_is_there(project: Project, tmp_path: Path) -> None:
    output = tmp_path / "executed.ipynb"
    source = project.notebooks / "unused" / "asks.ipynb"

    subprocess.run(
        [sys.executable, "-m", "papermill", "--cwd", source.parent, source, output],
        env=environment(),
        check=True,
        capture_output=True,
        timeout=120,
    )

    assert "DagstermillExecutionContext" in printed(nbformat.read(output, as_version=4))
