"""Dagster: its web pages answer, and the schedule in config.yaml runs the workflow."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from service_helpers import fetch, running, state_of

from dataflow.project import Project

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
    return project


def finished_runs(project: Project) -> list[dict[str, Any]]:
    runs = [json.loads(path.read_text()) for path in project.runs.glob("tick/*/run.json")]
    waiting = ("pending", "running")
    return [
        run
        for run in runs
        if run["steps"] and not [s for s in run["steps"].values() if s["status"] in waiting]
    ]


def test_a_schedule_of_one_minute_runs_the_workflow(
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
        f"http://localhost:{port}/graphql",
        data=query.encode(),
        headers={"Content-Type": "application/json"},
    )
    assert status == 200
    assert "SCHEDULER" in answer

    eventually(lambda: finished_runs(ticking), 95)
    run = finished_runs(ticking)[0]
    assert run["trigger"] == "schedule"
    assert {name: step["status"] for name, step in run["steps"].items()} == {
        "tick": "succeeded", "publish": "succeeded",
    }  # fmt: skip
    assert Path(ticking.runs, "tick", str(run["run_id"]), "tick.ipynb").is_file()

    assert dataflow("service", "stop", "dagster").returncode == 0
    assert running(state) == []
    assert not socket.parent.exists()
