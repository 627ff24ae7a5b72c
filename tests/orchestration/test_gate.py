"""What is published passed: not the last success of a step counts, but its newest attempt."""

from __future__ import annotations

import json

import pytest
from projects import Workflow, dataflow, make_project, run_data, run_folder

from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection

pytestmark = pytest.mark.slow

MAKE = """
import os
from pathlib import Path
from dataflow import stage
from dataflow.shared.db import get_duckdb_connection, write_table
import pandas as pd
mood = Path("../../mood.txt").read_text().strip()
if mood == "fails":
    raise RuntimeError("not today")
with get_duckdb_connection() as conn:
    write_table(conn, pd.DataFrame({"n": [int(mood.split()[-1])]}), "flow_raw.n")
stage.check("good", "bad" not in mood)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(
        tmp_path_factory.mktemp("gate") / "project",
        {
            "flow": Workflow(
                {"make": [MAKE], "use": ["1"]},
                stages=[
                    {"notebook": "make.ipynb", "writes": ["n"]},
                    {"notebook": "use.ipynb"},
                ],
            )
        },
    )
    (made.root / "mood.txt").write_text("good 1")
    result = dataflow(made, "workflow", "run", "flow")
    assert result.returncode == 0, result.stderr
    return made


def run(project: Project, mood: str, *arguments: str) -> str:
    (project.root / "mood.txt").write_text(mood)
    result = dataflow(project, "workflow", "run", "flow", "-q", *arguments)
    return f"exit {result.returncode}\n{result.stderr}"


def shown(project: Project) -> int:
    with get_duckdb_connection(database="published", project=project) as conn:
        return conn.execute("SELECT n FROM flow_raw.n").fetchone()[0]


def test_what_failed_since_its_last_success_is_not_published_and_runs_again(project):
    before = shown(project)
    for first, mood in (
        ([], "fails"),
        (["--from", "publish"], "bad 2"),
    ):  # a failed stage is done again
        assert "exit 1" in run(project, mood, *first)
        assert run_data(project, "flow")["steps"]["make"]["status"] == "failed"

        refused = run(project, mood, "--only", "publish")

        assert "exit 1" in refused
        failed = run_data(project, "flow")["steps"]["publish"]["error"]["message"]
        assert failed.startswith("flow is not published: make failed in run ")
        assert "dataflow workflow run flow --changed" in refused
    assert shown(project) == before
    assert "nothing was run" not in run(project, "good 3", "--changed")
    assert shown(project) == 3


def test_what_is_older_than_what_it_is_made_from_is_not_published(project):
    assert "exit 0" in run(project, "good 4", "--only", "make")

    refused = run(project, "good 4", "--only", "publish")

    assert "use has not run since make did" in refused
    assert "exit 0" in run(project, "good 4", "--from", "publish")
    assert [
        name
        for name, step in run_data(project, "flow")["steps"].items()
        if step["status"] == "succeeded"
    ] == ["use", "publish"]
    assert shown(project) == 4


def test_a_cancelled_or_killed_attempt_did_not_pass(project):
    assert "exit 0" in run(project, "good 5")
    record = run_folder(project, "flow") / "run.json"
    data = json.loads(record.read_text())
    data["process"]["pid"] = 2**22 + 1  # no process has this number
    for run_status, step_status, word in (
        ("cancelled", "cancelled", "cancelled"),
        (None, "running", "killed"),
    ):
        data["status"] = run_status
        data["steps"]["make"]["status"] = step_status
        record.write_text(json.dumps(data))

        refused = run(project, "good 5", "--only", "publish")

        assert f"make {word} in run {data['run_id'][:8]}" in refused


def test_what_was_written_by_hand_after_the_checks_is_not_published_by_a_run(project):
    assert "exit 0" in run(project, "good 5", "--changed")
    with get_duckdb_connection(database="working", project=project) as conn:
        conn.execute("UPDATE flow_raw.n SET n = 99")

    refused = run(project, "good 5", "--only", "publish")

    assert "exit 1" in refused
    assert "flow_raw.n (at " in refused
    assert "written by hand" in refused
    assert "dataflow db publish" in refused
    assert shown(project) == 5
    again = run(project, "good 5", "--changed")  # makes it again
    assert "exit 0" in again
    assert "nothing was run" not in again
    assert shown(project) == 5
    with get_duckdb_connection(database="working", project=project) as conn:
        assert conn.execute("SELECT n FROM flow_raw.n").fetchone()[0] == 5


def test_a_warehouse_that_was_moved_away_is_made_again_and_not_published_empty(project):
    assert "exit 0" in run(project, "good 6")
    project.warehouse.rename(project.warehouse.with_name("moved.duckdb"))

    refused = run(project, "good 7", "--only", "publish")

    assert "readers would lose flow_raw.n" in refused
    assert shown(project) == 6
    assert "exit 0" in run(project, "good 7", "--changed")
    assert run_data(project, "flow")["selection"] is None
    assert shown(project) == 7


def test_what_was_restored_is_not_published_without_running_again(project):
    backup = project.root / "backup.duckdb"
    assert "exit 1" in run(project, "bad 8")
    assert dataflow(project, "db", "backup", str(backup)).returncode == 0
    assert "exit 0" in run(project, "good 9", "--changed")
    assert dataflow(project, "db", "restore", str(backup), "--yes").returncode == 0

    refused = run(project, "good 9", "--only", "publish")

    assert "make undone by a restore" in refused
    assert shown(project) == 9
    assert "exit 0" in run(project, "good 10", "--from", "publish")
    assert shown(project) == 10
