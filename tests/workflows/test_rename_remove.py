"""`dataflow workflow remove` and `rename`, and what moved folders leave behind."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from projects import CAMPAIGN, copy_repository, dataflow, start_dataflow, write_notebook

from dataflow.dashboard.export import exported_files
from dataflow.doctor.project import check_leftovers
from dataflow.project import Project
from dataflow.runs.record import newest_first
from dataflow.runs.turn import turn
from dataflow.scaffold.inventory import leftovers, tables_of_nobody
from dataflow.warehouse.store import table_makers

# Pages are built in a minute, and by tests of their own.
ENV = {"DATAFLOW_NO_BUILD": "1"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the new workflow `rivers` ran once."""
    project = copy_repository(tmp_path_factory.mktemp("rename") / "project")
    for command in (("init", "rivers"), ("run", "rivers", "-q")):
        done = dataflow(project, "workflow", *command, env=ENV, timeout=300)
        assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of it, for one test."""
    root = tmp_path / "project"
    shutil.copytree(finished.root, root, symlinks=True)
    return Project(root)


def tables(project: Project, database: str) -> set[str]:
    return {str(table) for table in table_makers(project, database) or {}}


def named(project: Project, name: str) -> list[str]:
    """The files and folders outside of runs whose path has the name."""
    found = (str(path.relative_to(project.root)) for path in project.root.glob("[!r.]*/**/*"))
    return sorted(path for path in found if name in path and "node_modules" not in path)


def write_reader(project: Project) -> None:
    """Another workflow, which reads rivers in every way there is."""
    write_notebook(
        project.notebooks / "delta" / "ingest.ipynb",
        ["# Delta", 'conn.sql("select * from rivers_raw.readings")', "rivers_raw = 1"],
    )
    (project.notebooks / "delta" / "config.yaml").write_text("workflow:\n  name: Delta\n")
    models = project.dbt / "models" / "delta"
    models.mkdir()
    (models / "delta__days.sql").write_text("select *\nfrom {{ ref('rivers__daily') }}\n")
    page = project.evidence / "pages" / "delta.md"
    page.write_text("# Delta\n\n```sql days\nfrom rivers.daily\n```\n")


def test_remove_lists_everything_first_and_takes_it_from_every_place(project: Project):
    other = tables(project, "published") - {"rivers.daily", "rivers_raw.readings"}
    shown = dataflow(project, "workflow", "remove", "rivers", "--dry-run", env=ENV)

    assert shown.returncode == 0, shown.stderr
    for part in (
        "notebooks/rivers/", "dbt/models/rivers/", "evidence/pages/rivers/", "test_rivers_stages.py",
        "4,320 rows (working, published)", "dashboard /rivers", "1 run",
    ):  # fmt: skip
        assert part in shown.stdout
    assert "Nothing was removed" in shown.stderr
    assert "rivers_raw.readings" in tables(project, "working")

    refused = dataflow(project, "workflow", "remove", "rivers", env=ENV)  # nobody answers
    assert refused.returncode == 1
    assert (project.notebooks / "rivers").is_dir()

    done = dataflow(project, "workflow", "remove", "rivers", "--yes", env=ENV)
    assert done.returncode == 0, done.stderr
    assert named(project, "rivers") == []
    assert tables(project, "working") == set()
    assert tables(project, "published") == {t for t in other if "rivers" not in t}
    assert "rivers" not in exported_files(project)
    assert len(list(newest_first(project, "rivers"))) == 1
    assert leftovers(project) == []

    runs = dataflow(project, "workflow", "remove", "rivers", "--runs", "--yes", env=ENV)
    assert runs.returncode == 0, runs.stderr
    assert not (project.runs / "rivers").exists()
    gone = dataflow(project, "workflow", "remove", "rivers", "--yes", env=ENV)
    assert (gone.returncode, "nothing is left" in gone.stderr) == (2, True)


def test_remove_refuses_while_others_read_its_tables_and_names_the_places(project: Project):
    write_reader(project)

    refused = dataflow(project, "workflow", "remove", "rivers", "--yes", env=ENV)

    assert refused.returncode == 2
    for place in (
        "notebooks/delta/ingest.ipynb: cell 2: reads rivers_raw.readings",
        "dbt/models/delta/delta__days.sql:2: builds on the model `rivers__daily`",
        "evidence/pages/delta.md:4: reads rivers.daily",
    ):
        assert place in refused.stderr
    assert "rivers.daily" in tables(project, "published")
    forced = dataflow(project, "workflow", "remove", "rivers", "--yes", "--force", env=ENV)
    assert forced.returncode == 0, forced.stderr


def test_remove_refuses_while_the_workflow_runs(project: Project):
    with turn(project, "rivers", "run 4dd0ad2f"):
        refused = dataflow(project, "workflow", "remove", "rivers", "--yes", env=ENV)

    assert refused.returncode == 2
    assert "workflow rivers is running: run 4dd0ad2f" in refused.stderr
    assert (project.notebooks / "rivers").is_dir()


def test_a_broken_workflow_and_one_whose_folder_is_gone_can_be_removed(project: Project):
    (project.notebooks / "rivers" / "config.yaml").write_text("stages: [")
    shown = dataflow(project, "workflow", "remove", "rivers", "--dry-run", env=ENV)
    assert "rivers_raw.readings" in shown.stdout
    shutil.rmtree(project.notebooks / "rivers")

    done = dataflow(project, "workflow", "remove", "rivers", "--yes", env=ENV)

    assert done.returncode == 0, done.stderr
    assert named(project, "rivers") == []
    assert tables(project, "published") == set()


@pytest.mark.slow
def test_a_removal_that_is_killed_is_finished_by_the_next(project: Project):
    for moment in range(2 + CAMPAIGN):
        begun = start_dataflow(project, "workflow", "remove", "rivers", "--yes", env=ENV)
        try:
            begun.wait(timeout=0.6 + 0.15 * moment)
        except subprocess.TimeoutExpired:
            begun.kill()
        begun.communicate()

    dataflow(project, "workflow", "remove", "rivers", "--yes", env=ENV)

    assert named(project, "rivers") == []
    assert (tables(project, "working"), tables(project, "published")) == (set(), set())
    assert leftovers(project) == []


def test_whoever_moves_a_folder_hears_of_what_it_leaves(project: Project):
    (project.notebooks / "rivers").rename(project.notebooks / "streams")

    said = dataflow(project, "workflow", "validate", env=ENV).stderr

    assert "dbt/models/rivers, evidence/sources/rivers" in said
    assert "3 tables (rivers.daily, rivers_raw.readings" in said
    assert "in the published database" in said
    assert "dataflow workflow remove rivers" in said
    assert [finding.status for finding in check_leftovers(project)] == ["warning"]
    assert list(tables_of_nobody(project, "published")) == ["rivers"]
    published = dataflow(project, "db", "publish", env=ENV)
    assert "Readers still have rivers.daily" in published.stderr


def test_a_stage_that_reads_anothers_raw_tables_is_warned_of_with_its_cell(project: Project):
    write_reader(project)

    found = json.loads(dataflow(project, "workflow", "validate", "delta", "--json", env=ENV).stdout)

    [warning] = [one for one in found["delta"] if "raw table" in one["message"]]
    assert warning["severity"] == "warning"
    assert warning["where"] == "notebooks/delta/ingest.ipynb"
    assert warning["message"].startswith("cell 2: reads rivers_raw.readings")
