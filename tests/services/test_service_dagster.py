"""Dagster: its web pages answer, and the schedules in config.yaml run the workflows."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from dagster import DagsterInstance, DagsterRunStatus, job, op
from dagster._core.storage.tags import GRPC_INFO_TAG
from projects import copy_dbt, wait_until
from service_helpers import fetch, running, state_of

from dataflow.orchestration.instance import HOME_VARIABLE, open_instance
from dataflow.project import Project
from dataflow.runs.record import Run, RunRecord, newest_first
from dataflow.services.dagster import cancel_runs, prepare

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
            nbformat.v4.new_code_cell("import os; print(os.getppid(), os.environ.get('CITY'))"),
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


@pytest.mark.slow
def test_schedules_of_one_minute_run_workflows_of_notebooks_and_of_python(
    ticking: Project, dataflow: Cli, port: int
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

    wait_until(lambda: finished_runs(ticking, "tick") and finished_runs(ticking, "tock"))
    run = finished_runs(ticking, "tick")[0]
    assert run["trigger"] == "schedule"
    assert {name: step["status"] for name, step in run["steps"].items()} == {
        "tick": "succeeded", "publish": "succeeded",
    }  # fmt: skip
    assert (RunRecord(ticking, "tick", run["run_id"]).folder / "tick.ipynb").is_file()
    python = finished_runs(ticking, "tock")[0]
    assert python["trigger"] == "schedule"
    assert {name: step["status"] for name, step in python["steps"].items()} == {
        "count": "succeeded", "tables": "succeeded", "publish": "succeeded",
    }  # fmt: skip
    log = (RunRecord(ticking, "tock", python["run_id"]).folder / "count.log").read_text()
    assert "counted to four" in log

    # The next run's kernel comes from the same process, unless `.env` has changed.
    parent, city = printed(ticking, run["run_id"])
    assert [parent, city] == printed(ticking, launched_to_its_end(ticking, port))
    assert city == "None"
    (ticking.root / ".env").write_text("CITY=Lima\n")
    other, city = printed(ticking, launched_to_its_end(ticking, port))
    assert (city, other != parent) == ("Lima", True)

    assert dataflow("service", "stop", "dagster").returncode == 0
    wait_until(lambda: not psutil.pid_exists(int(parent)) and not psutil.pid_exists(int(other)))
    assert running(state) == []
    assert not socket.parent.exists()


def printed(project: Project, run_id: str) -> list[str]:
    """What the last cell of `tick` has printed in a run."""
    folder = RunRecord(project, "tick", run_id).folder
    notebook: Any = nbformat.read(folder / "tick.ipynb", 4)
    return list(notebook.cells[-1].outputs[0].text.split())


def launched_to_its_end(project: Project, port: int) -> str:
    """A run of `tick` that has succeeded: its id."""
    run_id = launched(port, LAUNCH % ("tick", "tick"))
    wait_until(lambda: ended(project, run_id))
    assert ended(project, run_id)[0].status == "succeeded"
    return run_id


LAUNCH = """
mutation { launchRun(executionParams: {
  selector: {repositoryLocationName: "dataflow", repositoryName: "__repository__", jobName: "%s"},
  executionMetadata: {tags: [{key: "dagster/schedule_name", value: "%s_schedule"}]},
  runConfigData: {}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
# What the button "Re-execute from failure" on a run's page sends.
AGAIN = """
mutation { launchRunReexecution(
  reexecutionParams: {parentRunId: "%s", strategy: FROM_FAILURE}
) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""


def graphql(port: int, query: str) -> dict[str, Any]:
    status, answer = fetch(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert status == 200, answer
    return dict(json.loads(answer)["data"])


def launched(port: int, mutation: str) -> str:
    (answer,) = graphql(port, mutation).values()
    assert "run" in answer, answer
    return str(answer["run"]["runId"])


# The query that is cancelled leaves the other core to those who cancel it.
ONE_CORE = "{{ config(pre_hook='SET threads TO 1') }}"
FROM_TICKS = "select count(*) as n from {{ source('tick_raw', 'ticks') }}"


def ended(project: Project, run_id: str) -> list[Run]:
    return [run for run in newest_first(project) if run.run_id == run_id and run.data["status"]]


def text_in(project: Project, pattern: str) -> str:
    return "".join(path.read_text() for path in project.runs.glob(pattern))


@pytest.mark.slow
def test_stopped_runs_are_cancelled_for_good_until_somebody_executes_them_again(
    ticking: Project, dataflow: Cli, port: int
) -> None:
    for name in ("tick", "tock"):
        config = ticking.notebooks / name / "config.yaml"
        config.write_text(config.read_text().replace('  schedule: "* * * * *"\n', ""))
    (ticking.notebooks / "tock" / "dagster_job.py").write_text(
        JOB.replace(
            "count():\n",
            "count():\n    import time; print('asleep', flush=True)\n    time.sleep(300)\n",
        )
    )
    copy_dbt(ticking)
    model = ticking.dbt / "models" / "tick" / "counted.sql"
    model.parent.mkdir(parents=True)
    model.write_text(f"{ONE_CORE}{FROM_TICKS}, range(10000000) a, range(10000000) b")
    (model.parent / "sources.yml").write_text(
        "sources: [{name: tick_raw, schema: tick_raw, tables: [{name: ticks}]}]"
    )
    assert dataflow("service", "start", "dagster", "-d", "--port", str(port)).returncode == 0
    in_dbt, in_op = (launched(port, LAUNCH % (name, name)) for name in ("tick", "tock"))
    wait_until(lambda: "asleep" in text_in(ticking, "tock/*/count.log"))
    wait_until(lambda: "START sql" in text_in(ticking, "tick/*/dbt.log"))

    assert dataflow("service", "stop", "all").returncode == 0

    with DagsterInstance.from_config(str(ticking.dagster_home)) as instance:
        for run_id in (in_dbt, in_op):
            assert instance.get_run_by_id(run_id).status == DagsterRunStatus.CANCELED
        # Runs that failed are started again, so that the wait for this one is one for all.
        instance.report_run_failed(instance.get_run_by_id(in_op))
    assert {run.run_id: run.status for run in newest_first(ticking)} == {
        in_dbt: "cancelled", in_op: "cancelled",
    }  # fmt: skip
    (run,) = (run for run in newest_first(ticking) if run.run_id == in_dbt)
    assert {name: step["status"] for name, step in run.steps.items()} == {
        "tick": "succeeded", "dbt": "cancelled", "publish": "not run",
    }  # fmt: skip

    model.write_text(FROM_TICKS)
    assert dataflow("service", "start", "dagster", "-d", "--port", str(port)).returncode == 0
    wait_until(lambda: len(list(newest_first(ticking))) > 2)
    again, *_ = newest_first(ticking)
    assert (again.workflow_id, again.data["trigger"]) == ("tock", "retry")
    assert [run.run_id for run in newest_first(ticking) if run.workflow_id == "tick"] == [in_dbt]

    by_hand = launched(port, AGAIN % in_dbt)

    wait_until(lambda: ended(ticking, by_hand))
    (run,) = ended(ticking, by_hand)
    assert (run.data["trigger"], run.data["parent"]) == ("re-execution", in_dbt)
    assert run.status == "succeeded"
    assert {name: step["status"] for name, step in run.steps.items()} == {
        "tick": "left out", "dbt": "succeeded", "publish": "succeeded",
    }  # fmt: skip


LOST = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": "/nowhere/code.sock"})}


@op
def nothing() -> None: ...


@job
def empty() -> None:
    nothing()


def test_only_the_services_own_runs_are_cancelled_and_those_without_a_server_too() -> None:
    with DagsterInstance.ephemeral() as instance:
        started = DagsterRunStatus.STARTED
        by_hand = instance.create_run_for_job(empty, status=started)
        by_service = instance.create_run_for_job(empty, status=started, tags=LOST)

        assert cancel_runs(instance, 0.1) == [by_service.run_id]

        assert instance.get_run_by_id(by_hand.run_id).status == started
        assert instance.get_run_by_id(by_service.run_id).status == DagsterRunStatus.CANCELED


def test_runs_that_went_on_when_the_machine_went_down_have_failed_at_the_next_start(
    project: Project, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, "")  # unset afterwards
    monkeypatch.delenv(HOME_VARIABLE)
    with open_instance(project) as instance:
        started = DagsterRunStatus.STARTED
        by_hand = instance.create_run_for_job(empty, status=started)
        lost = instance.create_run_for_job(empty, status=started, tags=LOST)

        shutil.rmtree(str(prepare(project, port, False).remove))

        assert instance.get_run_by_id(by_hand.run_id).status == started
        assert instance.get_run_by_id(lost.run_id).status == DagsterRunStatus.FAILURE
