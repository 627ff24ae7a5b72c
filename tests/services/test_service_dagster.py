"""Dagster: its web pages answer, and the schedules in config.yaml run the workflows."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from dagster import DagsterInstance, DagsterRunStatus, job, op
from dagster._core.storage.tags import GRPC_INFO_TAG
from service_helpers import fetch, running, state_of

from dataflow.project import Project
from dataflow.runs.index import list_runs
from dataflow.services.dagster_cancel import cancel_runs

Cli = Callable[..., subprocess.CompletedProcess[str]]

CONFIG = """\
workflow:
  name: Tick
  schedule: "* * * * *"
stages:
  - notebook: tick.ipynb
    writes: [ticks]
"""
PARAMETERS = "rows: int = 3"
WORK = """\
import duckdb
from dataflow.shared.db import get_duckdb_connection, write_table
with get_duckdb_connection() as connection:
    write_table(connection, connection.sql(f"select i from range({rows}) t(i)"), "ticks")
"""

JOB = """\
import pandas as pd
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.workflows.registry import register_workflow

@register_workflow(name="tock")
def count():
    with get_duckdb_connection() as connection:
        write_table(connection, pd.DataFrame({"i": range(4)}), "tocks")
    print("counted to four")
"""


@pytest.fixture
def ticking(project: Project) -> Project:
    folder = project.notebooks / "tick"
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        cells=[
            nbformat.v4.new_markdown_cell("# Count"),
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(WORK),
        ],
    )
    nbformat.write(notebook, folder / "tick.ipynb")
    python = project.notebooks / "tock"
    python.mkdir()
    (python / "config.yaml").write_text(CONFIG.split("stages:")[0].replace("Tick", "Tock"))
    (python / "dagster_job.py").write_text(JOB)
    return project


def finished_runs(project: Project, workflow: str) -> list[dict[str, Any]]:
    runs = [json.loads(path.read_text()) for path in project.runs.glob(f"{workflow}/*/run.json")]
    waiting = ("pending", "running")
    return [
        run
        for run in runs
        if run["steps"] and not [s for s in run["steps"].values() if s["status"] in waiting]
    ]


def test_schedules_of_one_minute_run_workflows_of_notebooks_and_of_python(
    ticking: Project, dataflow: Cli, port: int, eventually: Callable[..., None]
) -> None:
    started = dataflow("service", "start", "dagster", "-d", "--port", str(port))
    assert started.returncode == 0, started.stderr
    state = state_of(ticking, "dagster")
    (code_server,) = [c for c in running(state) if "code-server" in c]
    socket = Path(code_server.split("--socket ")[1].split(" ")[0])
    assert socket.parent.stat().st_mode & 0o077 == 0
    query = json.dumps(
        {"query": "{ instance { daemonHealth { allDaemonStatuses { daemonType } } } }"}
    )
    status, answer = fetch(
        f"http://127.0.0.1:{port}/graphql",
        data=query.encode(),
        headers={"Content-Type": "application/json"},
    )
    assert status == 200
    assert "SCHEDULER" in answer

    eventually(lambda: finished_runs(ticking, "tick") and finished_runs(ticking, "tock"), 120)
    run = finished_runs(ticking, "tick")[0]
    assert run["trigger"] == "schedule"
    assert {name: step["status"] for name, step in run["steps"].items()} == {
        "tick": "succeeded", "publish": "succeeded",
    }  # fmt: skip
    assert Path(ticking.runs, "tick", str(run["run_id"]), "tick.ipynb").is_file()
    python = finished_runs(ticking, "tock")[0]
    assert python["trigger"] == "schedule"
    assert {name: step["status"] for name, step in python["steps"].items()} == {
        "count": "succeeded", "tables": "succeeded", "publish": "succeeded",
    }  # fmt: skip
    log = Path(ticking.runs, "tock", str(python["run_id"]), "count.log").read_text()
    assert "counted to four" in log

    assert dataflow("service", "stop", "dagster").returncode == 0
    assert running(state) == []
    assert not socket.parent.exists()


LAUNCH = """
mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "dataflow", repositoryName: "__repository__", jobName: "tick"},
  runConfigData: {}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""


def graphql(port: int, query: str) -> dict[str, Any]:
    status, answer = fetch(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert status == 200, answer
    return dict(json.loads(answer)["data"])


def test_stopping_cancels_the_runs_under_way_and_they_do_not_start_again(
    ticking: Project, dataflow: Cli, port: int, eventually: Callable[..., None]
) -> None:
    folder = ticking.notebooks / "tick"
    (folder / "config.yaml").write_text(CONFIG.replace('  schedule: "* * * * *"\n', ""))
    shutil.rmtree(ticking.notebooks / "tock")
    notebook = nbformat.read(folder / "tick.ipynb", as_version=4)
    begun = folder / "begun"
    notebook.cells[
        -1
    ].source = f"import pathlib, time; pathlib.Path({str(begun)!r}).touch(); time.sleep(300)"
    nbformat.write(notebook, folder / "tick.ipynb")
    assert dataflow("service", "start", "dagster", "-d", "--port", str(port)).returncode == 0
    launched = graphql(port, LAUNCH)["launchRun"]
    assert "run" in launched, launched
    run_id = launched["run"]["runId"]
    eventually(begun.exists, 90)

    assert dataflow("service", "stop", "dagster").returncode == 0

    with DagsterInstance.from_config(str(ticking.dagster_home)) as instance:
        assert instance.get_run_by_id(run_id).status == DagsterRunStatus.CANCELED
    (run,) = list_runs(ticking)
    assert (run.run_id, run.status) == (run_id, "cancelled")
    assert run.steps["tick"]["status"] == "cancelled"


def test_only_the_services_own_runs_are_cancelled_and_those_without_a_server_too() -> None:
    @op
    def nothing() -> None: ...

    @job
    def empty() -> None:
        nothing()

    with DagsterInstance.ephemeral() as instance:
        started = DagsterRunStatus.STARTED
        lost = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": "/nowhere/code.sock"})}
        by_hand = instance.create_run_for_job(empty, status=started)
        by_service = instance.create_run_for_job(empty, status=started, tags=lost)

        assert cancel_runs(instance, 0.1) == [by_service.run_id]

        assert instance.get_run_by_id(by_hand.run_id).status == started
        assert instance.get_run_by_id(by_service.run_id).status == DagsterRunStatus.CANCELED
