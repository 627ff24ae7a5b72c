"""The dashboard step: export aside, try the pages on it, build, and show all of it together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dashboard_helpers import write
from projects import dataflow

from dataflow.dashboard.build import StagedPages
from dataflow.dashboard.catalog import workflows_for_pages
from dataflow.dashboard.export import exported_files, read_manifest, staged_export
from dataflow.dashboard.paths import build_folder, data_folder
from dataflow.dashboard.refresh import refresh_dashboard
from dataflow.errors import DataflowError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
from dataflow.validation.workflow import examine_workflow
from dataflow.warehouse.store import publish

PAGE = "# Quakes\n\n```sql strong\nselect magnitude from quakes.events\n```\n"


@pytest.fixture
def shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose page shows what its workflow published."""
    monkeypatch.setenv("DATAFLOW_NO_BUILD", "1")
    write(project.evidence / "pages" / "quakes" / "index.md", PAGE)
    publish_events(project, "magnitude", "run-one")
    refresh(project)
    return project


def publish_events(project: Project, column: str, run_id: str | None) -> None:
    with get_duckdb_connection(database="working", project=project) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS quakes")
        connection.execute(f"CREATE OR REPLACE TABLE quakes.events AS SELECT 1.5 AS {column}")
    publish(project, "quakes", ["quakes"], run_id=run_id)


def refresh(project: Project, workflow: str = "quakes") -> dict[str, Any]:
    return refresh_dashboard(project, workflow)


def everything_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def listed(project: Project) -> dict[str, dict[str, object]]:
    """The table `dataflow.workflows` by id."""
    path = exported_files(project)["dataflow"]["workflows"]
    result = duckdb.sql(f"SELECT * FROM read_parquet('{path}')")
    return {row[0]: dict(zip(result.columns, row, strict=True)) for row in result.fetchall()}


def test_data_that_breaks_a_pages_query_is_not_shown(shown):
    before = everything_below(data_folder(shown))
    publish_events(shown, "strength", "run-two")

    with pytest.raises(DataflowError, match="magnitude") as caught:
        refresh(shown)

    assert caught.value.where == "evidence/pages/quakes/index.md:4"
    assert everything_below(data_folder(shown)) == before
    assert listed(shown)["quakes"]["run_id"] == "run-one"


def test_data_is_not_shown_when_the_pages_cannot_be_built(shown, monkeypatch):
    before = everything_below(data_folder(shown))
    publish_events(shown, "magnitude", "run-two")
    monkeypatch.delenv("DATAFLOW_NO_BUILD")
    write(shown.evidence / "package.json", "not what npm reads")
    write(shown.evidence / "package-lock.json", "{}")

    with pytest.raises(DataflowError):
        refresh(shown)

    assert everything_below(data_folder(shown)) == before


def test_new_pages_go_when_the_data_they_came_with_cannot_be_shown(shown, tmp_path, monkeypatch):
    def refuse(path: Path, target: Path) -> Path:
        assert (build_folder(shown) / "index.html").read_text() == "new"
        raise OSError("the disk is full")

    target = build_folder(shown)
    write(target / "index.html", "old")
    write(tmp_path / "new" / "index.html", "new")
    pages = StagedPages(target, 0.0, tmp_path / "new")

    before = everything_below(data_folder(shown))
    monkeypatch.setattr(Path, "replace", refuse)
    with staged_export(shown, ["quakes"]) as export, pytest.raises(OSError, match="full"):
        export.show(pages.shown)
    monkeypatch.undo()

    assert (target / "index.html").read_text() == "old"
    assert everything_below(data_folder(shown)) == before


def test_pages_name_the_run_whose_data_they_show_also_when_its_folder_is_gone(shown):
    write(shown.notebooks / "other" / "config.yaml", "workflow:\n  name: Other\n")
    write(shown.notebooks / "new" / "config.yaml", "workflow:\n  name: New\n")
    write(shown.evidence / "sources" / "other" / "one.sql", "select 1 as one")
    publish_events(shown, "strength", "run-two")
    shutil.rmtree(shown.runs, ignore_errors=True)

    refresh(shown, "other")

    assert listed(shown)["quakes"]["run_id"] == "run-one", "run-two's data is not shown"
    assert listed(shown)["quakes"]["published_at"] is not None
    assert listed(shown)["new"]["published_at"] is None


def test_a_workflow_that_is_broken_stays_listed_with_its_run_and_what_is_wrong(shown):
    write(shown.notebooks / "other" / "config.yaml", "workflow:\n  name: Other\n")
    write(shown.notebooks / "quakes" / "config.yaml", "workflow:\n  nme: Quakes\n")

    refresh(shown, "other")

    assert "workflow.name" in str(listed(shown)["quakes"]["problem"])
    assert listed(shown)["quakes"]["run_id"] == "run-one"
    assert listed(shown)["other"]["problem"] is None


def test_what_an_older_version_exported_is_shown_and_named_by_the_published_run(shown):
    manifest = data_folder(shown) / "manifest.json"
    manifest.write_text(json.dumps({"renderedFiles": read_manifest(shown)}))
    write(shown.notebooks / "other" / "config.yaml", "workflow:\n  name: Other\n")

    refresh(shown, "other")

    assert listed(shown)["quakes"]["run_id"] == "run-one"
    assert {one["id"] for one in workflows_for_pages(shown)} == {"quakes", "other"}


def test_a_table_too_big_for_a_browser_is_a_warning_of_the_run_and_of_validate(shown):
    with get_duckdb_connection(database="working", project=shown) as connection:
        connection.execute(
            "CREATE OR REPLACE TABLE quakes.events AS SELECT 1.5 AS magnitude FROM range(1_000_001)"
        )
    publish(shown, "quakes", ["quakes"])

    (warning,) = refresh(shown)["warnings"]
    (problem,) = examine_workflow(shown, shown.notebooks / "quakes").warnings

    assert warning.startswith(
        "evidence/sources/quakes/events.sql: quakes.events has 1,000,001 rows"
    )
    assert "model" in warning
    assert problem.message in warning


def test_by_hand_data_is_shown_and_pages_stay(shown, monkeypatch):
    monkeypatch.delenv("DATAFLOW_NO_BUILD")
    publish_events(shown, "magnitude", None)

    facts = refresh_dashboard(shown, "quakes", build=False)

    assert facts["built"] is False
    assert listed(shown)["quakes"]["run_id"] is None, "nobody knows which run it was"
    assert listed(shown)["quakes"]["published_at"] is not None


def test_data_of_another_file_is_not_called_a_runs(shown, warehouse):
    refresh(shown)

    assert listed(shown)["quakes"]["run_id"] is None
    assert listed(shown)["quakes"]["published_at"] is not None


def test_publishing_by_hand_brings_the_data_to_the_dashboard(shown):
    with get_duckdb_connection(database="working", project=shown) as connection:
        connection.execute("UPDATE quakes.events SET magnitude = 7.5")

    # One that has not run yet has nothing to show, and nothing to fail.
    write(shown.notebooks / "new" / "config.yaml", "workflow:\n  name: New\n")
    write(shown.evidence / "sources" / "new" / "rows.sql", "select * from new.rows")

    done = dataflow(shown, "db", "publish")

    assert done.returncode == 0, done.stderr
    path = exported_files(shown)["quakes"]["events"]
    assert duckdb.sql(f"SELECT magnitude FROM read_parquet('{path}')").fetchall() == [(7.5,)]

    publish_events(shown, "strength", "run-two")
    failed = dataflow(shown, "db", "publish", "quakes")
    assert failed.returncode == 1
    assert "evidence/pages/quakes/index.md:4" in failed.stderr
    assert "stays as it was" in failed.stdout + failed.stderr
    assert exported_files(shown)["quakes"]["events"] == path
