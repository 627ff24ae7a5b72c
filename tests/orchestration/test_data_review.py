"""What came of the data, in real runs: data.json, without secrets, and never a reason to fail."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

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

from dataflow.project import Project
from dataflow.runs.data import read_data
from dataflow.shared.db import get_duckdb_connection

MAKE = """
import json, os
from pathlib import Path
import pandas as pd
from dataflow.shared.db import get_duckdb_connection, write_table
rows = json.loads(Path("../../rows.json").read_text())
with get_duckdb_connection() as conn:
    write_table(conn, pd.DataFrame(rows, columns=["id", "<b>Ü"]), "things", key="id")
    conn.execute(f"CREATE OR REPLACE TABLE flow_raw.told AS SELECT '{os.environ['TOLD_KEY']}' AS said")
    conn.execute("CREATE OR REPLACE VIEW flow_staging.counted AS "
                 "SELECT count(*) AS n FROM dataflow.flow_raw.things")
    if len(rows) > 3:
        conn.execute("CREATE OR REPLACE VIEW flow_staging.counted AS SELECT count(*) AS n "
                     "FROM range(100_000_000_000_000)")
"""
SECRET = "swordfish-4711-and-more"
ENV = {"TOLD_KEY": SECRET}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A workflow whose table has the rows of rows.json, and a secret in another one."""
    workflow = Workflow(
        {"make": [MAKE]},
        stages=[{"notebook": "make.ipynb", "writes": ["things", "told", "flow_staging.counted"]}],
        config={"ingestion": {"parameters": {"key": "${TOLD_KEY}"}}},
    )
    return make_project(tmp_path / "project", {"flow": workflow})


def run(project: Project, *rows: tuple[int, str]) -> None:
    (project.root / "rows.json").write_text(json.dumps(rows))
    ended = dataflow(project, "workflow", "run", "flow", env=ENV)
    assert ended.returncode == 0, ended.stderr


def published(project: Project) -> list[tuple[int]]:
    with get_duckdb_connection(database="published", project=project) as conn:
        return conn.execute("SELECT count(*) FROM flow_raw.things").fetchall()


@pytest.mark.slow
def test_each_run_tells_what_came_of_its_tables_and_a_failure_of_that_fails_no_run(project):
    """Rows are matched by the key of `write_table`, secrets stay names; what prevents the
    comparison is a warning of a run that succeeds; a kill leaves what was published."""
    # Whatever goes wrong in it: here its folder cannot be made.
    scratch = project.root / ".duckdb" / "comparing"
    scratch.parent.mkdir()
    scratch.write_text("")
    run(project, (1, "a"), (2, "b"))
    step = run_data(project, "flow")["steps"]["publish"]
    assert (step["status"], step["version"]) == ("succeeded", 1)
    assert step["warnings"][0].startswith("the data was not compared")
    assert not (run_folder(project, "flow") / "data.json").exists()
    scratch.unlink()

    run(project, (1, "a"), (2, "c"), (3, "d"))
    folder = run_folder(project, "flow")
    found = read_data(folder)
    things = found.tables[0]
    assert (found.old, found.new, things.key) == ("version 1", "version 2", ("id",))
    assert things.summary == "2 → 3 rows: 1 added, 1 changed"
    assert things.changed_rows[0].changes == (("<b>Ü", "b", "c"),)
    assert SECRET not in (folder / "data.json").read_text()
    assert found.tables[1].columns[0].new.max == "${TOLD_KEY}"
    facts = run_data(project, "flow")["steps"]["publish"]["data"]
    assert facts["changed"] == {
        "flow_raw.things": "2 → 3 rows: 1 added, 1 changed",
        "flow_staging.counted": "1 row: 1 added, 1 removed",
    }
    shown = dataflow(project, "runs", "show", "last", "--data")
    assert "2 → 3 rows: 1 added, 1 changed" in shown.stdout, shown.stderr

    # Its view never ends, and neither would the comparison.
    (project.root / "rows.json").write_text(json.dumps([(n, "x") for n in range(5)]))
    process = start_dataflow(
        project, "workflow", "run", "flow", env={**ENV, "DATAFLOW_DATA_REVIEW_SECONDS": "600"}
    )
    wait_until(lambda: list(scratch.glob("*-*")))
    wait_until(lambda: published(project) == [(5,)])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run_folder(project, "flow") / "data.json").exists()
    assert published(project) == [(5,)]

    run(project, (1, "a"), (2, "b"))
    assert (
        read_data(run_folder(project, "flow")).tables[0].summary
        == "5 → 2 rows: 3 removed, 2 changed"
    )
    assert list(scratch.iterdir()) == []


def test_a_file_that_is_no_comparison_is_none(tmp_path):
    """A broken data.json, or none, is no comparison and no error."""
    assert read_data(tmp_path) is None
    (tmp_path / "data.json").write_text('{"tables": [{"schema"')
    assert read_data(tmp_path) is None
