"""`dataflow workflow init`: names, templates, and all of the files or none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from projects import REPOSITORY, dataflow, environment, make_project, markdown

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.scaffold.workflow import TEMPLATES, make_workflow, plan_workflow, template_names
from dataflow.stages.notebook import declared_parameters
from dataflow.validation.workflow import examine_workflow


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", {})


def everything_in(project: Project) -> list[str]:
    return sorted(str(path.relative_to(project.root)) for path in project.root.rglob("*"))


@pytest.mark.parametrize("template", template_names())
def test_a_new_workflow_is_valid_and_bears_its_name_everywhere(project: Project, template: str):
    there = set(project.root.rglob("*"))
    files = make_workflow(plan_workflow(project, "sea_levels", template))

    found = examine_workflow(project, project.notebooks / "sea_levels")
    assert (found.problems, found.warnings) == ([], [])
    assert files == sorted(path for path in set(project.root.rglob("*")) - there if path.is_file())
    for path in files:
        assert "my_workflow" not in str(path)
        assert b"my_workflow" not in path.read_bytes().lower().replace(b"-", b"_")
    assert (project.evidence / "pages" / "sea-levels" / "index.md").is_file()


@pytest.mark.parametrize("template", template_names())
def test_notebooks_of_templates_say_what_they_read_and_write(template: str):
    notebooks = sorted((TEMPLATES / template / "notebooks").rglob("*.ipynb"))

    assert notebooks
    for path in notebooks:
        nb = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(nb)
        assert (nb.nbformat, nb.nbformat_minor) == (4, 5)
        first = nb.cells[0]
        assert first.cell_type == "markdown"
        assert first.source.startswith("# ")
        assert "**Reads**" in first.source
        assert "**Writes**" in first.source
        assert len({cell.id for cell in nb.cells}) == len(nb.cells)
        assert not any(cell.get("outputs") for cell in nb.cells)
        declaration = declared_parameters(path)
        assert declaration.problems == []
        assert all(parameter.help for parameter in declaration.parameters.values())
        code = "\n".join(cell.source for cell in nb.cells)
        assert "stage.record(" in code
        assert "stage.check(" in code


@pytest.mark.parametrize(
    "page",
    [
        *TEMPLATES.glob("*/evidence/pages/my-workflow/index.md"),
        REPOSITORY / "evidence/pages/earthquakes/index.md",
        REPOSITORY / "docs/extending.md",
    ],
    ids=lambda path: str(path.relative_to(REPOSITORY)),
)
def test_pages_say_how_numbers_look_and_what_to_show_without_rows(page: Path):
    """Evidence's own ways are "51.4k" and a red error."""
    text = page.read_text("utf-8")
    components = re.findall(r"<(BigValue|Column) (.+) />", text)
    components += re.findall(r"<(DataTable) (.+)>\n", text)
    components += re.findall(r"<(LineChart|BarChart)\n(.+?)\n/>", text, re.DOTALL)

    assert len(components) > 5
    for kind, attributes in components:
        if kind in ("DataTable", "LineChart", "BarChart"):
            assert "emptySet=pass" in attributes, (kind, attributes)
            assert "emptyMessage=" in attributes, (kind, attributes)
        is_text = re.search(r"id=(category|country|sensor|place)\b", attributes)
        if kind != "DataTable" and not is_text:
            assert re.search(r"\b(fmt|yFmt)=", attributes), (kind, attributes)


def test_every_file_of_the_templates_is_in_the_wheel(tmp_path: Path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        timeout=120,
    )
    [wheel] = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())

    files = [path for path in TEMPLATES.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 40
    assert {path.relative_to(REPOSITORY).as_posix() for path in files} <= packed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("My Workflow", "lower-case letters"),
        ("9lives", "lower-case letters"),
        ("a.b", "lower-case letters"),
        ("../up", "lower-case letters"),
        ("", "lower-case letters"),
        ("main", "itself uses"),
        ("data", "itself uses"),
        ("import", "keyword in Python"),
        ("select", "keyword in SQL"),
        ("null", "value in YAML"),
        ("numpy", "installed"),
        ("json", "installed"),
        ("a" * 61, "longer than 60"),
    ],
)
def test_a_name_that_cannot_be_a_workflow_is_refused(project: Project, name: str, reason: str):
    before = everything_in(project)

    with pytest.raises(ConfigurationError, match=reason):
        plan_workflow(project, name)

    assert everything_in(project) == before


def test_a_refused_name_comes_with_one_that_would_do(project: Project):
    with pytest.raises(ConfigurationError) as caught:
        plan_workflow(project, "Sea-Levels")

    assert caught.value.hint == "`sea_levels` would work."


def test_a_taken_name_lists_what_exists_and_changes_nothing(project: Project):
    (project.dbt / "models" / "sea").mkdir(parents=True)
    page = project.evidence / "pages" / "sea.md"
    page.parent.mkdir(parents=True)
    page.write_text("# Sea\n", "utf-8")
    before = everything_in(project)

    done = dataflow(project, "workflow", "init", "sea")

    assert done.returncode == 2
    assert "dbt/models/sea: exists already" in done.stderr
    assert "evidence/pages/sea.md: exists already" in done.stderr
    assert "notebooks/sea" not in done.stderr
    assert everything_in(project) == before


def test_a_name_whose_schema_another_workflow_has_is_refused(project: Project):
    make_workflow(plan_workflow(project, "sea"))

    with pytest.raises(ConfigurationError) as caught:
        plan_workflow(project, "sea_raw")

    assert "workflow sea has the schema sea_raw" in str(caught.value)


def test_a_template_that_does_not_exist_is_named_with_the_nearest(project: Project):
    with pytest.raises(ConfigurationError) as caught:
        plan_workflow(project, "sea", "databse")

    assert caught.value.hint == "Did you mean `database`?"


def test_a_dry_run_lists_the_files_that_a_real_one_makes(project: Project):
    before = everything_in(project)
    dry = dataflow(project, "workflow", "init", "sea", "--template", "api", "--dry-run")
    assert everything_in(project) == before

    real = dataflow(project, "workflow", "init", "sea", "--template", "api")

    assert dry.returncode == real.returncode == 0
    assert dry.stdout == real.stdout
    assert all((project.root / line).is_file() for line in real.stdout.splitlines())
    commands = [line for line in real.stderr.splitlines() if line.startswith("  dataflow ")]
    assert 1 <= len(commands) <= 3


def test_nothing_is_left_behind_when_a_folder_cannot_be_made(project: Project):
    # A file where a folder has to be: everything else could be made.
    (project.root / "tests").write_text("in the way", "utf-8")
    plan = plan_workflow(project, "sea")
    before = everything_in(project)

    with pytest.raises(ConfigurationError, match="nothing was created"):
        make_workflow(plan)

    assert everything_in(project) == before


def test_nothing_is_left_behind_when_init_is_interrupted(project: Project, monkeypatch):
    plan = plan_workflow(project, "sea")
    before = everything_in(project)

    last = project.notebooks / "sea"
    move = shutil.move

    def interrupted(source: Path, target: Path) -> Path:
        """Ctrl-C, when all but the last folder are in place."""
        if target == last:
            raise KeyboardInterrupt
        return move(source, target)

    monkeypatch.setattr(shutil, "move", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_workflow(plan)

    monkeypatch.undo()
    assert everything_in(project) == before


def test_a_folder_with_notebooks_only_is_in_the_way_too(project: Project):
    (project.notebooks / "sea").mkdir(parents=True)
    nb = nbformat.v4.new_notebook(cells=[markdown("# Notes")])
    nbformat.write(nb, project.notebooks / "sea" / "notes.ipynb")

    with pytest.raises(ConfigurationError) as caught:
        plan_workflow(project, "sea")

    assert [problem.path for problem in caught.value.problems] == [project.notebooks / "sea"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with dbt and one workflow from each template."""
    project = make_project(tmp_path_factory.mktemp("init") / "project", {})
    shutil.copytree(
        REPOSITORY / "dbt",
        project.dbt,
        ignore=shutil.ignore_patterns("target", "logs", "earthquakes"),
    )
    for template in template_names():
        done = dataflow(project, "workflow", "init", f"new_{template}", "-t", template)
        assert done.returncode == 0, done.stderr
    return project


@pytest.mark.parametrize("template", template_names())
@pytest.mark.slow
def test_a_new_workflow_runs_to_its_dashboard_as_it_is(whole: Project, template: str):
    from dataflow.dashboard.check import check_pages
    from dataflow.dashboard.export import exported_files
    from dataflow.shared.db import get_duckdb_connection

    name = f"new_{template}"
    done = dataflow(
        whole, "workflow", "run", name, "-q", env={"DATAFLOW_NO_BUILD": "1"}, timeout=300
    )
    assert done.returncode == 0, done.stderr

    assert check_pages(whole, [name]) == []
    [table] = exported_files(whole)[name]
    with get_duckdb_connection(read_only=True, project=whole) as conn:
        kinds = dict(
            conn.execute(
                "select table_schema, any_value(table_type) from information_schema.tables "
                "where starts_with(table_schema, ?) and table_catalog = current_catalog() "
                "group by 1",
                [name],
            ).fetchall()
        )
        assert conn.execute(f"select count(*) > 20 from {name}.{table}").fetchone() == (True,)
    assert kinds == {f"{name}_raw": "BASE TABLE", f"{name}_staging": "VIEW", name: "BASE TABLE"}


@pytest.mark.slow
def test_the_tests_of_new_workflows_pass(whole: Project):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=whole.root,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout
