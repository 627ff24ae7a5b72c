"""A project as version 0.1.0 left it: its runs, warehouse, configuration and locks work today.

`project_0.1.0.tar.xz` was made by that version: a workflow `sample` from the template `minimal`
that ran and was published, and a workflow `broken` whose run failed.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from projects import dataflow

from dataflow.project import Project
from dataflow.runs.record import find_run


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).with_name("project_0.1.0.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return Project(folder)


def test_its_runs_are_listed_and_read(old: Project) -> None:
    listed = dataflow(old, "runs", "list", "--json")
    shown = dataflow(old, "runs", "show", "last")
    opened = dataflow(old, "runs", "open", "last", "--no-browser")

    runs = [(run["workflow"], run["status"]) for run in json.loads(listed.stdout)]
    assert runs == [("broken", "failed"), ("sample", "succeeded")]
    assert "ZeroDivisionError" in shown.stdout + shown.stderr
    assert opened.stdout.startswith("file://"), opened.stderr
    assert opened.stdout.strip().endswith("/fail.html")


def test_its_tables_are_read(old: Project) -> None:
    counted = dataflow(old, "db", "query", "--csv", "SELECT count(*) AS n FROM sample_raw.readings")
    listed = dataflow(old, "db", "tables", "--json")

    assert counted.stdout.split() == ["n", "4320"], counted.stderr
    assert "sample_raw" in {table["schema"] for table in json.loads(listed.stdout)}
    assert dataflow(old, "db", "check").returncode == 0


def test_its_workflows_are_valid_and_run(old: Project) -> None:
    valid = dataflow(old, "workflow", "validate")
    before = find_run(old, "last").run_id
    ran = dataflow(old, "workflow", "run", "sample", "--quiet", timeout=400)

    assert valid.returncode == 0, valid.stderr
    assert ran.returncode == 0, ran.stderr
    newest = find_run(old, "last")
    assert newest.run_id != before
    assert newest.status == "succeeded"
    versions = {path.name for path in (old.root / ".duckdb" / "published").glob("[0-9]*")}
    assert "2" in versions
