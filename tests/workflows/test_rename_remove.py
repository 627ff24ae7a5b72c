"""`dataflow workflow remove` and `rename`, and what moved folders leave behind."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from projects import (
    CAMPAIGN,
    copy_repository,
    dataflow,
    make_project,
    start_dataflow,
    write_notebook,
)

from dataflow.dashboard.export import exported_files
from dataflow.doctor.project import check_leftovers
from dataflow.project import Project
from dataflow.runs.record import newest_first
from dataflow.runs.turn import turn
from dataflow.scaffold.inventory import leftovers, tables_of_nobody
from dataflow.scaffold.references import Renames
from dataflow.validation.workflow import examine_workflow
from dataflow.warehouse.store import (
    Connection,
    Database,
    publish,
    remove_tables,
    rename_schemas,
    table_makers,
)

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


def contents(project: Project, database: Database) -> dict[str, list[tuple[object, ...]]]:
    """The rows of each table."""
    with Connection(project, database, read_only=True) as conn:
        names = conn.execute("SELECT table_schema, table_name FROM information_schema.tables "
                             "WHERE table_schema <> '_dataflow' ORDER BY ALL").fetchall()  # fmt: skip
        return {f"{s}.{t}": conn.execute(f"FROM {s}.{t} ORDER BY ALL").fetchall() for s, t in names}


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
        "notebooks/delta/ingest.ipynb, cell 2, line 1: reads rivers_raw.readings",
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


def test_a_published_table_whose_model_is_gone_is_named(project: Project):
    assert leftovers(project) == []
    shutil.rmtree(project.dbt / "models" / "rivers" / "marts")

    (problem,) = leftovers(project)

    assert problem.message.startswith("rivers.daily is published, and no model of rivers makes it")
    assert "DROP TABLE rivers.daily" in (problem.hint or "")


def test_a_stage_that_reads_anothers_raw_tables_is_warned_of_with_its_cell(project: Project):
    write_reader(project)

    found = json.loads(dataflow(project, "workflow", "validate", "delta", "--json", env=ENV).stdout)

    [warning] = [one for one in found["delta"] if "raw table" in one["message"]]
    assert warning["severity"] == "warning"
    assert warning["where"] == "notebooks/delta/ingest.ipynb, cell 2, line 1"
    assert warning["message"].startswith("reads rivers_raw.readings")


def test_rename_shows_each_line_and_leaves_a_workflow_that_is_valid_and_runs(project: Project):
    before = contents(project, "published")
    page = project.evidence / "pages" / "rivers" / "index.md"
    with page.open("a") as file:
        file.write("\nThe rivers of rivers.daily: [runs](/rivers#runs), nothing for riverside.\n")
    last = len(page.read_text().splitlines())

    shown = dataflow(project, "workflow", "rename", "rivers", "sea_levels", "--dry-run", env=ENV)

    assert shown.returncode == 0, shown.stderr
    for part in (
        "dbt/models/rivers/_rivers__sources.yml:2\n  - - name: rivers\n  + - name: sea_levels",
        f"evidence/pages/rivers/index.md:{last}\n",
        "+ The rivers of sea_levels.daily: [runs](/sea-levels#runs), nothing for riverside.",
        "notebooks/rivers/ingest.ipynb, cell 1",
    ):
        assert part in shown.stdout
    assert page.is_file()

    done = dataflow(project, "workflow", "rename", "rivers", "sea_levels", "--yes", env=ENV)
    assert done.returncode == 0, done.stderr
    found = examine_workflow(project, project.notebooks / "sea_levels")
    assert (found.problems, found.warnings, leftovers(project)) == ([], [], [])
    assert named(project, "rivers") == []
    renamed = {name.replace("rivers", "sea_levels"): rows for name, rows in before.items()}
    assert contents(project, "published") == contents(project, "working") == renamed
    assert list(exported_files(project)) == ["dataflow", "sea_levels"]
    assert len(list(newest_first(project, "rivers"))) == 1

    run = dataflow(project, "workflow", "run", "sea_levels", "--changed", "-q", env=ENV)
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("✓ ") == 4  # after a renaming nothing counts as run
    tests = dataflow(project, "workflow", "test", "sea_levels", env=ENV)
    assert tests.returncode == 0, tests.stdout


def test_rename_refuses_a_name_that_is_taken_and_names_who_else_reads(project: Project):
    write_reader(project)
    (project.dbt / "models" / "lakes").mkdir()

    taken = dataflow(project, "workflow", "rename", "rivers", "lakes", "--yes", env=ENV)
    wrong = dataflow(project, "workflow", "rename", "rivers", "Lakes!", "--yes", env=ENV)

    assert (taken.returncode, wrong.returncode) == (2, 2)
    assert "dbt/models/lakes: is there already" in taken.stderr
    shown = dataflow(project, "workflow", "rename", "rivers", "ponds", "--dry-run", env=ENV)
    assert "change it yourself: evidence/pages/delta.md:4: reads rivers.daily" in shown.stderr


@pytest.mark.slow
def test_a_renaming_that_is_killed_is_finished_by_the_next(project: Project):
    before = contents(project, "working")
    for moment in range(2 + CAMPAIGN):
        begun = start_dataflow(project, "workflow", "rename", "rivers", "lakes", "--yes", env=ENV)
        try:
            begun.wait(timeout=0.8 + 0.1 * moment)
        except subprocess.TimeoutExpired:
            begun.kill()
        begun.communicate()

    dataflow(project, "workflow", "rename", "rivers", "lakes", "--yes", env=ENV)

    renamed = {name.replace("rivers", "lakes"): rows for name, rows in before.items()}
    assert contents(project, "working") == contents(project, "published") == renamed
    assert named(project, "rivers") == []
    assert examine_workflow(project, project.notebooks / "lakes").problems == []
    assert not [one for one in leftovers(project) if "interrupted" in one.message]


def test_renamed_schemas_keep_keys_views_and_big_tables_in_files(tmp_path: Path):
    project = make_project(tmp_path, {})
    with Connection(project, "working") as conn:
        for statement in (
            "CREATE SCHEMA a_raw", "CREATE SCHEMA b",
            "CREATE TABLE a_raw.t (id INTEGER PRIMARY KEY, day DATE DEFAULT current_date)",
            "INSERT INTO a_raw.t VALUES (1, '2024-01-01'), (2, NULL)",
            "CREATE VIEW a_raw.newest AS SELECT max(id) AS id FROM a_raw.t",
            "CREATE TABLE b.other AS SELECT 7 AS x",
        ):  # fmt: skip
            conn.execute(statement)
    publish(project, "a", ["a_raw"], big_table_bytes=0)
    publish(project, "b", ["b"])
    rules = Renames("a", "c", ())

    left = rename_schemas(project, "c", {"a_raw": "c_raw"}, rules.model, rules.sql)

    assert left == []
    for database in ("working", "published"):
        found = contents(project, database)
        assert sorted(found) == ["b.other", "c_raw.newest", "c_raw.t"]
        assert found["c_raw.newest"] == [(2,)]
    with Connection(project, "development") as conn:  # made of the published version
        conn.execute("INSERT OR REPLACE INTO c_raw.t VALUES (1, NULL)")
        assert conn.execute("SELECT count(*) FROM c_raw.t").fetchall() == [(2,)]
    remove_tables(project, "c", ["c_raw"])
    assert contents(project, "published") == {"b.other": [(7,)]}


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ('conn.sql("from sales_raw.orders")', 'conn.sql("from eu_raw.orders")'),
        ("sales_raw = orders.sales  # sales", "sales_raw = orders.sales  # sales"),
        ('frame["sales"].sum()', 'frame["sales"].sum()'),
        ('load_config("sales")["a"]', 'load_config("eu")["a"]'),
        ('Path("notebooks") / "sales" / "x.csv"', 'Path("notebooks") / "eu" / "x.csv"'),
        ("%%query\nselect sales from sales.daily", "%%query\nselect sales from eu.daily"),
        ("write_table(conn, x, 'sales_raw.y')", "write_table(conn, x, 'eu_raw.y')"),
    ],
)
def test_code_keeps_the_word_and_changes_what_means_the_workflow(text: str, renamed: str):
    """Columns, variables and prose stay; SQL, paths and calls that take its name change."""
    assert Renames("sales", "eu", {"daily"}).python(text) == renamed
