"""Runs that Dagster started, ended from outside: Terminate on its pages, and a killed worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nbformat
import pytest
from projects import Workflow, dataflow, free_port, kernels_of, make_project, statuses, wait_until

from dataflow.project import Project
from dataflow.runs.record import RunRecord

pytestmark = pytest.mark.slow

# Printed in two parts: the source alone must not look like the output that is waited for.
SLEEP = "import time\nprint('as' 'leep', flush=True)\ntime.sleep(600)"
QUERY = (
    "import duckdb\nduckdb.sql('SET threads TO 1')\nprint('as' 'leep', flush=True)\n"
    "duckdb.sql('select count(*) from range(10000000) a, range(10000000) b').fetchall()"
)


@dataclass
class Server:
    """A project whose Dagster runs, and a client of it."""

    project: Project
    client: Any

    def start(self, workflow: str) -> str:
        """Have Dagster start a run; answers when its notebook is in the long cell."""
        run_id = str(self.client.submit_job_execution(workflow))
        run = RunRecord(self.project, workflow, run_id)
        wait_until(lambda: (run.folder / "work.ipynb").exists())
        wait_until(lambda: "asleep" in (run.folder / "work.ipynb").read_text())
        assert self.kernels(run_id)
        return run_id

    def kernels(self, run_id: str) -> list[Any]:
        """The kernels of this run; Dagster may start another in place of a killed one."""
        return kernels_of(self.project, DATAFLOW_RUN_ID=run_id)

    def run(self, workflow: str, run_id: str) -> dict[str, Any]:
        return RunRecord(self.project, workflow, run_id).read()

    def notebook(self, workflow: str, run_id: str) -> Any:
        return nbformat.read(
            RunRecord(self.project, workflow, run_id).folder / "work.ipynb", as_version=4
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = make_project(
        tmp_path_factory.mktemp("dagster") / "project",
        {
            "sleeps": Workflow(
                notebooks={"work": ["1 + 1", SLEEP, "'never'"]},
                stages=[{"notebook": "work.ipynb", "retries": 2}],
            ),
            "asks": Workflow(notebooks={"work": ["1 + 1", QUERY, "'never'"]}),
        },
    )
    port = free_port()
    started = dataflow(project, "service", "start", "dagster", "-d", "--port", str(port))
    assert started.returncode == 0, started.stderr
    try:
        from dagster_graphql import DagsterGraphQLClient

        yield Server(project, DagsterGraphQLClient("127.0.0.1", port_number=port))
    finally:
        dataflow(project, "service", "stop", "dagster")


@pytest.mark.parametrize(("workflow", "by"), [("sleeps", "command"), ("asks", "page")])
def test_a_cancel_ends_a_run_in_the_middle_of_a_cell(server, workflow, by):
    run_id = server.start(workflow)

    if by == "page":
        server.client.terminate_run(run_id)
    else:
        ended = dataflow(server.project, "runs", "cancel", run_id[:8])
        assert (ended.returncode, ended.stderr.split()[-1]) == (0, "cancelled."), ended.stderr

    wait_until(lambda: not server.kernels(run_id))
    wait_until(lambda: server.client.get_run_status(run_id).value == "CANCELED")
    run = server.run(workflow, run_id)
    assert run["status"] == "cancelled"
    assert [step["status"] for step in run["steps"].values()] == ["cancelled", "not run"]
    assert run["steps"]["work"]["attempt"] == 1
    assert statuses(server.notebook(workflow, run_id)) == ["completed", "cancelled", "pending"]


def test_a_killed_run_worker_takes_its_kernel_along(server):
    run_id = server.start("sleeps")
    worker = server.run("sleeps", run_id)["process"]["pid"]

    os.kill(worker, signal.SIGKILL)

    wait_until(lambda: not server.kernels(run_id))
    listed = json.loads(dataflow(server.project, "runs", "list", "--json").stdout)
    assert {run["run_id"]: run["status"] for run in listed}[run_id] == "killed"
    assert statuses(server.notebook("sleeps", run_id)) == ["completed", "running", "pending"]
