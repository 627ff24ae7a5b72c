"""A new stage: a notebook that runs at once and its entry in config.yaml, or neither."""

from __future__ import annotations

from pathlib import Path

import duckdb
import nbformat
import pytest
from projects import Workflow, dataflow, make_project

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.scaffold.stage import make_stage, plan_stage
from dataflow.stages.notebook import declared_parameters
from dataflow.validation.workflow import examine_workflow

CONFIG = """\
workflow:
  name: Sales
# in this order
stages:
- notebook: ingest.ipynb
  writes: [orders]  # one row each
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project", {"sales": Workflow({"ingest": ["1 + 1"]})})
    (project.notebooks / "sales" / "config.yaml").write_text(CONFIG)
    return project


def files(project: Project) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project.notebooks / "sales").iterdir()}


@pytest.mark.slow
def test_new_stages_are_valid_and_run_at_once(tmp_path: Path):
    project = make_project(tmp_path / "project", {"sales": {}})

    made = dataflow(project, "workflow", "add-stage", "sales", "ingest", "--writes", "orders")
    report = dataflow(project, "workflow", "add-stage", "sales", "report", "--after", "ingest")
    validated = dataflow(project, "workflow", "validate", "sales")
    run = dataflow(project, "workflow", "run", "sales", "--changed", "-p", "rows", "7")

    assert made.stdout.startswith("notebooks/sales/ingest.ipynb\n")
    assert "+  - notebook: report.ipynb" in report.stdout
    assert (validated.returncode, run.returncode) == (0, 0), validated.stdout + run.stderr
    assert "warning" not in validated.stdout + validated.stderr
    with duckdb.connect(project.warehouse, read_only=True) as conn:
        assert conn.sql("SELECT count(*), max(square) FROM sales_raw.report").fetchone() == (7, 49)


def test_the_new_notebook_says_what_it_reads_and_writes_and_is_in_the_house_style(
    project: Project,
):
    new = plan_stage(project, "sales", "Daily_report", table="daily")
    path = make_stage(new)

    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# Daily report: ")
    assert "| **Reads** | `sales_raw.orders` |" in notebook.cells[0].source
    assert "| **Writes** | `sales_raw.daily`" in notebook.cells[0].source
    assert all(one.help for one in declared_parameters(path).parameters.values())
    code = "\n".join(cell.source for cell in notebook.cells)
    assert 'write_table(conn, result, "daily", mode="replace")' in code
    assert "stage.record(" in code
    assert "stage.check(" in code
    assert files(project)["config.yaml"].decode() == (
        CONFIG + "- notebook: Daily_report.ipynb\n  writes: [daily]\n"
    )
    found = examine_workflow(project, project.notebooks / "sales")
    assert (found.problems, found.warnings) == ([], [])


def test_without_a_table_to_read_the_notebook_makes_its_rows(project: Project):
    path = make_stage(plan_stage(project, "sales", "prices", after=[]))

    assert "| **Reads** | nothing |" in path.read_text()
    assert "  after: []\n" in files(project)["config.yaml"].decode()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ingest", {}, "the name `ingest` is taken"),
        ("INGEST", {}, "the name `INGEST` is taken"),
        ("daily report.ipynb", {}, "`daily_report` would work."),
        ("../report", {}, "is not a name of letters"),
        ("berichtä", {}, "is not a name of letters"),
        ("dbt", {}, "a stage cannot be called `dbt`"),
        ("Untitled3", {}, "scratch paper"),
        ("", {}, "is not a name of letters"),
        ("order", {}, "`order` is a keyword in SQL"),
        ("report", {"table": "orders"}, "is written by `ingest` and `report`"),
        ("report", {"table": 'x"; drop'}, "is not a table's name"),
        ("report", {"after": ["ingets"]}, "Did you mean `ingest`?"),
    ],
)
def test_a_stage_that_cannot_be_leaves_nothing(project: Project, name, options, words):
    before = files(project)

    with pytest.raises(ConfigurationError) as error:
        make_stage(plan_stage(project, "sales", name, **options))

    assert words in str(error.value)
    assert files(project) == before


def test_when_config_yaml_was_changed_meanwhile_the_notebook_goes_again(project: Project):
    new = plan_stage(project, "sales", "report")
    config = project.notebooks / "sales" / "config.yaml"
    config.write_text(CONFIG + "# theirs\n")
    before = files(project)

    with pytest.raises(ConfigurationError, match="somebody has changed it"):
        make_stage(new)

    assert files(project) == before


def test_a_notebook_that_somebody_made_meanwhile_stays(project: Project):
    new = plan_stage(project, "sales", "report")
    new.notebook.write_text("theirs")
    before = files(project)

    with pytest.raises(ConfigurationError, match="cannot be written: File exists"):
        make_stage(new)

    assert files(project) == before


def test_a_dry_run_shows_the_change_and_writes_nothing(project: Project):
    before = files(project)

    shown = dataflow(project, "workflow", "add-stage", "sales", "report", "--first", "--dry-run")

    assert shown.returncode == 0
    assert shown.stdout.splitlines()[-3:] == [
        "+- notebook: report.ipynb", "+  writes: [report]", "+  after: []"
    ]  # fmt: skip
    assert files(project) == before
