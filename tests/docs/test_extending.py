"""The guide in docs/extending.md, followed to its end: what its reader has then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from docs_pages import snippets
from docs_runner import try_page
from projects import REPOSITORY, dataflow

from dataflow.project import Project
from dataflow.runs.record import newest_first

PAGE = REPOSITORY / "docs" / "extending.md"


@pytest.fixture(scope="module")
def followed(clone: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone of the repository in which every snippet of the guide was executed, in order."""
    return try_page(PAGE, clone, tmp_path_factory.mktemp("extending") / "project")


def test_every_snippet_of_the_guide_is_executed():
    assert [snippet.where for snippet in snippets(PAGE) if not snippet.is_tried] == []


def test_the_workflows_of_the_guide_are_listed_with_their_steps(followed: Project):
    done = dataflow(followed, "workflow", "list", "--json")

    entries = {entry["id"]: entry for entry in json.loads(done.stdout)}
    assert set(entries) == {"air", "earthquakes", "hello", "my_workflow"}
    mine = entries["my_workflow"]
    assert mine["stages"] == ["extract", "transform", "load", "build_models"]
    assert mine["schedule"] == "0 0 * * *"
    assert {entries[name]["last_run"]["status"] for name in ("air", "hello", "my_workflow")} == {
        "succeeded"
    }


def test_its_run_is_archived_with_logs_in_place_of_notebooks(followed: Project):
    whole = [
        run for run in newest_first(followed, "my_workflow") if "left out" not in str(run.data)
    ]

    [run] = whole
    kinds = {name: step["kind"] for name, step in run.steps.items()}
    assert kinds == {
        "extract": "op",
        "transform": "op",
        "load": "op",
        "build_models": "op",
        "tables": "tables",
        "publish": "publish",
        "dashboard": "dashboard",
    }
    assert run.steps["load"]["rows"] == {"items": 3}
    assert run.steps["build_models"]["models"]["my_workflow.my_model"]["status"] == "success"
    assert [check["passed"] for check in run.steps["build_models"]["checks"]] == [True] * 3
    assert "Received 4 items" in (run.folder / "extract.log").read_text("utf-8")
    assert "3 of 4 items are left" in (run.folder / "transform.log").read_text("utf-8")
    assert "PASS=4" in (run.folder / "dbt.log").read_text("utf-8")
    assert not any("a-secret-of-yours" in path.read_text("utf-8") for path in run.folder.iterdir())


def test_its_model_is_published_and_its_page_shows_it(followed: Project):
    from dataflow.dashboard.check import check_pages
    from dataflow.dashboard.export import exported_files
    from dataflow.shared.db import get_duckdb_connection

    with get_duckdb_connection(read_only=True, project=followed) as conn:
        rows = conn.execute(
            "select category, items, amount from my_workflow.my_model order by category"
        ).fetchall()
    assert rows == [("books", 2, 42.5), ("maps", 1, 9.0)]
    assert set(exported_files(followed)["my_workflow"]) == {"my_model"}
    assert check_pages(followed, ["my_workflow", "air"]) == []


def test_its_page_has_the_components_the_guide_names(followed: Project):
    page = (followed.evidence / "pages" / "my-workflow" / "index.md").read_text("utf-8")

    assert all(f"<{component}" in page for component in ("BigValue", "BarChart", "DataTable"))


def test_dagster_has_its_job_schedule_and_lineage(followed: Project):
    from dagster import AssetKey

    from dataflow.orchestration.build import build_definitions

    repository = build_definitions(followed).get_repository_def()

    assert {"my_workflow", "hello", "air"} <= set(repository.job_names)
    schedules = {schedule.job_name: schedule for schedule in repository.schedule_defs}
    assert schedules["my_workflow"].cron_schedule == "0 0 * * *"
    model = repository.asset_graph.get(AssetKey(["my_workflow", "my_model"]))
    assert model.parent_keys == {AssetKey(["my_workflow_raw", "items"])}
    ops = repository.get_job("my_workflow").graph.node_dict["my_workflow__job"].definition
    assert set(ops.node_dict) == {"extract", "transform", "load", "build_models", "tables"}


def test_the_pages_it_leads_to_name_no_paths_of_this_machine():
    text = PAGE.read_text("utf-8")

    assert not any(part in text for part in (str(Path.home()), str(REPOSITORY)))
