"""How runs end: a cancel is final, a retry is waited for in words, one run goes at a time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from projects import (
    Workflow,
    dataflow,
    make_project,
    run_data,
    run_folder,
    start_dataflow,
    wait_until,
)

from dataflow.orchestration.instance import open_instance
from dataflow.orchestration.sensors import sensors
from dataflow.project import Project
from dataflow.runs.record import RunRecord

pytestmark = pytest.mark.slow

# With something left behind that is in nobody's process group.
LEAVE = """
import subprocess, time
subprocess.Popen(["sleep", "600"], start_new_session=True)
subprocess.run("nohup sleep 600 > /dev/null 2>&1 &", shell=True)
"""
SLEEP = f"{LEAVE}\nprint('as' 'leep', flush=True)\ntime.sleep(600)"
JOB = """
import multiprocessing, subprocess, time
from dagster import RetryPolicy, job, op
from dataflow.workflows.registry import register_workflow

@op(retry_policy=RetryPolicy(max_retries=2, delay=60))
def sleeps():
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
    multiprocessing.get_context("fork").Process(target=time.sleep, args=[600]).start()
    print("as" + "leep", flush=True)
    time.sleep(600)

@job
def whole():
    sleeps()

register_workflow(workflow_id="in_python", job=whole)
"""
# DuckDB makes an error of its own of what a signal raises.
QUERY = """
import duckdb
from dagster import RetryPolicy, job, op
from dataflow.workflows.registry import register_workflow

@op(retry_policy=RetryPolicy(max_retries=2, delay=1))
def queries():
    duckdb.sql("SET threads TO 1")
    print("as" + "leep", flush=True)
    duckdb.sql("SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3").fetchall()

@job
def whole():
    queries()

register_workflow(workflow_id="in_duckdb", job=whole)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(
        tmp_path_factory.mktemp("ends") / "project",
        {
            "sleeps": Workflow(
                {"work": [SLEEP]}, stages=[{"notebook": "work.ipynb", "retries": 2}]
            ),
            "fails": Workflow(
                {"work": ["1 / 0"]}, stages=[{"notebook": "work.ipynb", "retries": 5}]
            ),
            "quick": Workflow({"work": [LEAVE]}),
        },
    )
    for name, job in {"in_python": JOB, "in_duckdb": QUERY}.items():
        home = made.notebooks / name
        home.mkdir()
        (home / "config.yaml").write_text("workflow:\n  name: In Python\n", "utf-8")
        (home / "dagster_job.py").write_text(job, "utf-8")
    return made


def begin(project: Project, workflow: str, state: str) -> subprocess.Popen[str]:
    """Start a run and wait until its first step is in `state`."""
    known = set(project.runs.glob(f"{workflow}/*"))
    process = start_dataflow(project, "workflow", "run", workflow)

    def reached() -> bool:
        assert process.poll() is None, process.communicate()[1]
        new = set(project.runs.glob(f"{workflow}/*")) - known
        texts = [path.read_text("utf-8", "replace") for run in new for path in run.glob("[!.]*.*")]
        return any(state in text for text in texts)

    wait_until(reached)
    return process


def cancel(process: subprocess.Popen[str]) -> str:
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=120)[1]


def working_in(project: Project) -> list[psutil.Process]:
    """Every process in the project's folders, whatever its environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(project.root):
                found.append(process)
    return found


def dagster_status(project: Project, run: dict[str, Any], monkeypatch: Any) -> str:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(project.dagster_home))
    instance = open_instance(project)
    try:
        return str(instance.get_run_by_id(run["run_id"]).status.value)
    finally:
        instance.dispose()


@pytest.mark.parametrize("workflow", ["sleeps", "in_python", "in_duckdb"])
def test_a_cancel_ends_a_step_that_has_retries_for_good(project, workflow, monkeypatch):
    process = begin(project, workflow, "asleep")

    cancel(process)

    assert process.returncode == 1
    run = run_data(project, workflow)
    states = [step["status"] for step in run["steps"].values()]
    assert not working_in(project), "what the step started goes with it"
    assert run["status"] == "cancelled"
    assert states == ["cancelled"] + ["not run"] * (len(states) - 1)
    step = next(iter(run["steps"].values()))
    assert step["attempt"] == 1
    assert (step.get("notebook") == "work.ipynb") == (workflow == "sleeps"), "to be read"
    assert dagster_status(project, run, monkeypatch) == "CANCELED"


def test_a_step_that_waits_for_its_next_try_says_so_and_can_be_cancelled(project):
    process = begin(project, "fails", '"retrying"')
    run = run_data(project, "fails")
    assert run["steps"]["work"]["retry"] == "tried again in 5 s (1 of 5)"
    assert "ZeroDivisionError" in run["steps"]["work"]["error"]["message"]
    assert run["status"] is None

    said = cancel(process)

    assert "tried again in 5 s" in said
    run = run_data(project, "fails")
    assert (run["status"], run["steps"]["work"]["status"]) == ("cancelled", "cancelled")
    assert run["steps"]["work"]["attempt"] == 1, "the wait for the next try was cut short"


def test_a_second_run_of_a_workflow_waits_for_the_first_and_says_for_whom(project):
    first = begin(project, "sleeps", "asleep")
    its_folder = run_folder(project, "sleeps")
    second = begin(project, "sleeps", 'waiting_for": "Waiting')
    waiting = run_data(project, "sleeps")

    assert waiting["waiting_for"].startswith(
        f"Waiting for workflow sleeps, held by run {its_folder.name[-8:]} by cli"
    )
    listed = json.loads(dataflow(project, "runs", "list", "sleeps", "--json").stdout)
    assert [run["status"] for run in listed[:2]] == ["waiting", "running"]
    assert {step["status"] for step in waiting["steps"].values()} == {"pending"}

    third = start_dataflow(project, "workflow", "run", "sleeps")
    wait_until(lambda: len(waiting_runs(project)) == 2)
    waits = {json.loads(path.read_text())["run_id"] for path in waiting_runs(project)}
    (third_run,) = waits - {waiting["run_id"]}
    ended = dataflow(project, "runs", "cancel", third_run)  # one that waits can be cancelled
    assert f"Run {third_run[:8]} of sleeps has ended: cancelled." in ended.stderr
    assert "Waiting for workflow sleeps, held by" in third.communicate(timeout=120)[1]
    assert third.returncode == 1
    assert "asked to end by" in dataflow(project, "runs", "show", third_run).stdout
    again = dataflow(project, "runs", "cancel", third_run)
    assert (again.returncode, "has ended already: cancelled" in again.stderr) == (0, True)
    assert dataflow(project, "workflow", "run", "quick").returncode == 0  # others don't wait

    cancel(first)
    its_own = RunRecord(project, "sleeps", waiting["run_id"]).folder
    wait_until(lambda: (its_own / "work.ipynb").exists())
    first_run = json.loads((its_folder / "run.json").read_text())
    second_run = json.loads((its_own / "run.json").read_text())
    assert second_run["steps"]["work"]["started_at"] > first_run["ended_at"]
    assert second_run["waiting_for"] is None
    cancel(second)


def waiting_runs(project: Project) -> list[Path]:
    return [
        path
        for path in project.runs.glob("sleeps/*/run.json")
        if json.loads(path.read_text()).get("waiting_for") is not None
        if json.loads(path.read_text())["status"] is None
    ]


def test_a_killed_run_is_shown_as_killed_and_leaves_neither_its_turn_nor_a_process(project):
    process = begin(project, "sleeps", "asleep")
    killed = run_folder(project, "sleeps").name
    assert len(working_in(project)) >= 4  # the run, the kernel, and what that started

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    wait_until(lambda: not working_in(project))
    shown = dataflow(project, "runs", "show", killed).stdout
    assert "killed" in shown
    assert "running" not in shown
    assert "not run" in shown
    after = begin(project, "sleeps", "asleep")  # nobody's turn is taken
    cancel(after)


def test_a_killed_run_ends_in_dagster_too_when_the_next_one_starts(project, monkeypatch):
    killed = begin(project, "sleeps", "asleep")
    its_data = run_data(project, "sleeps")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    living = begin(project, "in_python", "asleep")
    assert dagster_status(project, its_data, monkeypatch) == "FAILURE"

    assert dataflow(project, "workflow", "run", "quick").returncode == 0
    names = [process.name() for process in working_in(project)]
    assert names.count("sleep") == 2, "those of the living run, and of no other"

    living_data = run_data(project, "in_python")
    assert dagster_status(project, living_data, monkeypatch) == "STARTED", "others go on"
    cancel(living)
    assert run_data(project, "in_python")["status"] == "cancelled"


def test_dagsters_daemon_ends_killed_runs(project, monkeypatch):
    killed = begin(project, "sleeps", "asleep")
    its_data = run_data(project, "sleeps")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert dagster_status(project, its_data, monkeypatch) == "STARTED"
    instance = open_instance(project)

    with dg.build_sensor_context(instance=instance) as context:
        told = sensors()[0](context)

    instance.dispose()
    assert its_data["run_id"] in told.skip_message
    assert dagster_status(project, its_data, monkeypatch) == "FAILURE"
