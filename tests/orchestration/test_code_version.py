"""A step's version changes with whatever may change what it makes, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from projects import markdown, write_files, write_notebook

from dataflow.orchestration.kinds import steps_of
from dataflow.project import Project
from dataflow.workflows.load import load_workflow

CODE = """\
from places import x
from packed.inner import y
from other.shared import z

z = x + y + z
"""
TEXT = 'text = """\n%a line of text\n"""'
MAGIC = "%%bash\necho one"
LINES = "%run extra.py\n!sh clean.sh --all\nrows = 1"
CONFIG = """\
workflow: {name: Sales, schedule: "0 6 * * *", owner: ann}
http: {retries: 3}
stages:
  - {notebook: ingest.ipynb, writes: [events], retries: 1, parameters: {key: "${SALES_KEY}"}}
"""
FILES = {
    "pyproject.toml": "[tool.dataflow]\n",
    "notebooks/sales/config.yaml": CONFIG,
    "notebooks/sales/places.py": "from helpers import x\n",
    "notebooks/sales/helpers.py": "x = 1\n",
    "notebooks/sales/extra.py": "e = 1\n",
    "notebooks/sales/clean.sh": "rm -f one\n",
    "notebooks/sales/unrelated.py": "u = 1\n",
    "notebooks/sales/packed/__init__.py": "",
    "notebooks/sales/packed/inner.py": "from . import deep\nfrom .sub.far import y\n",
    "notebooks/sales/packed/deep.py": "d = 1\n",
    "notebooks/sales/packed/sub/__init__.py": "",
    "notebooks/sales/packed/sub/far.py": "from .. import up\ny = 1\n",
    "notebooks/sales/packed/up.py": "u = 1\n",
    "notebooks/other/config.yaml": "workflow: {name: Other}\n",
    "notebooks/other/shared.py": "z = 1\n",
    "notebooks/job/config.yaml": "workflow: {name: Job, schedule: '0 6 * * *'}\nsize: 1\n",
    "notebooks/job/dagster_job.py": "from other.shared import z\nsql = 'query.sql'\n",
    "notebooks/job/query.sql": "select 1",
    "dbt/dbt_project.yml": "name: dataflow\n",
    "dbt/profiles.yml": "path: \"{{ env_var('SALES_DB', 'x') }}\"\n",
    "dbt/packages.yml": "packages: []\n",
    "dbt/models/sales/a.sql": "select 1",
    "dbt/models/other/b.sql": "select 1",
    "dbt/macros/m.sql": "1",
    "dbt/tests/sales/t.sql": "select 1",
    "dbt/tests/generic/g.sql": "select 1",
    "dbt/seeds/sales/s.csv": "a\n1\n",
    "dbt/snapshots/sales/s.sql": "select 1",
    "dbt/target/manifest.json": "{}",
    "evidence/evidence.config.yaml": "a: 1\n",
    "evidence/components/Box.svelte": "<p>",
    "evidence/queries/q.sql": "select 1",
    "evidence/sources/sales/s.sql": "select 1",
    "evidence/sources/other/s.sql": "select 1",
    "evidence/pages/sales/index.md": "# Sales",
    "evidence/pages/other/index.md": "# Other",
    "evidence/build/index.html": "<p>",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Project:
    write_files(tmp_path, FILES)
    write(tmp_path)
    monkeypatch.setenv("SALES_KEY", "first-value")
    monkeypatch.delenv("SALES_DB", raising=False)
    return Project(tmp_path)


def write(root: Path, *cells: str) -> None:
    notebook = root / "notebooks" / "sales" / "ingest.ipynb"
    prose = markdown("What this does.")
    write_notebook(notebook, [prose, 'key = ""', *(cells or (CODE, TEXT, MAGIC, LINES))])


def version(project: Project, step: str, values: object = None) -> str:
    workflow, problems = load_workflow(project.notebooks / ("job" if step == "load" else "sales"))
    assert workflow is not None, problems
    return steps_of(project, workflow).version(step, values)


SEEN = [
    ("ingest", "notebooks/sales/helpers.py", "x = 2\n"),
    ("ingest", "notebooks/sales/extra.py", "e = 2\n"),
    ("ingest", "notebooks/sales/clean.sh", "rm -f two\n"),
    ("ingest", "notebooks/sales/packed/__init__.py", "p = 2\n"),
    ("ingest", "notebooks/sales/packed/inner.py", "y = 2\n"),
    ("ingest", "notebooks/sales/packed/deep.py", "d = 2\n"),
    ("ingest", "notebooks/sales/packed/sub/far.py", "y = 2\n"),
    ("ingest", "notebooks/sales/packed/up.py", "u = 2\n"),
    ("ingest", "notebooks/other/shared.py", "z = 2\n"),
    ("ingest", "notebooks/sales/config.yaml", CONFIG.replace("retries: 3", "retries: 4")),
    ("ingest", "notebooks/sales/config.yaml", CONFIG.replace("[events]", "[events, more]")),
    ("ingest", "notebooks/sales/config.yaml", CONFIG.replace('"${SALES_KEY}"', "plain")),
    ("load", "notebooks/job/dagster_job.py", "from other.shared import z\nsql = 'select 2'\n"),
    ("load", "notebooks/job/query.sql", "select 2"),
    ("load", "notebooks/job/config.yaml", "workflow: {name: Job}\nsize: 2\n"),
    ("load", "notebooks/other/shared.py", "z = 2\n"),
    ("dbt", "dbt/dbt_project.yml", "name: dataflow\nvars: {a: 1}\n"),
    ("dbt", "dbt/profiles.yml", "threads: 2\n"),
    ("dbt", "dbt/packages.yml", "packages: [a]\n"),
    ("dbt", "dbt/models/sales/a.sql", "select 2"),
    ("dbt", "dbt/macros/m.sql", "2"),
    ("dbt", "dbt/tests/sales/t.sql", "select 2"),
    ("dbt", "dbt/tests/generic/g.sql", "select 2"),
    ("dbt", "dbt/seeds/sales/s.csv", "a\n2\n"),
    ("dbt", "dbt/snapshots/sales/s.sql", "select 2"),
    ("publish", "notebooks/sales/config.yaml", CONFIG.replace("[events]", "[events, more]")),
    ("dashboard", "evidence/sources/sales/s.sql", "select 2"),
    ("dashboard", "evidence/pages/sales/index.md", "# More"),
    ("dashboard", "evidence/components/Box.svelte", "<b>"),
    ("dashboard", "evidence/queries/q.sql", "select 2"),
    ("dashboard", "evidence/evidence.config.yaml", "a: 2\n"),
]
ABOUT = CONFIG.replace("ann", "bob").replace("0 6", "0 7").replace("retries: 1", "retries: 2")
NOT_SEEN = [
    ("ingest", "notebooks/sales/unrelated.py", "u = 2\n"),
    ("ingest", "notebooks/sales/helpers.py", "# one\nx   =   1\n"),
    ("ingest", "notebooks/sales/config.yaml", ABOUT),
    ("ingest", "dbt/models/sales/a.sql", "select 2"),
    ("load", "notebooks/job/dagster_job.py", "from other.shared import z  # z\nsql='query.sql'"),
    ("load", "notebooks/job/config.yaml", "workflow: {name: Job, owner: ann}\nsize: 1\n"),
    ("dbt", "dbt/models/other/b.sql", "select 2"),
    ("dbt", "dbt/target/manifest.json", "{ }"),
    ("dashboard", "evidence/sources/other/s.sql", "select 2"),
    ("dashboard", "evidence/pages/other/index.md", "# More"),
    ("dashboard", "evidence/build/index.html", "<b>"),
]


@pytest.mark.parametrize(("step", "name", "text"), SEEN)
def test_a_file_that_may_change_what_a_step_makes_counts(project, step, name, text):
    before = version(project, step)
    (project.root / name).write_text(text, "utf-8")

    assert version(project, step) != before


@pytest.mark.parametrize(("step", "name", "text"), NOT_SEEN)
def test_a_file_that_changes_nothing_a_step_makes_does_not_count(project, step, name, text):
    before = version(project, step)
    (project.root / name).write_text(text, "utf-8")

    assert version(project, step) == before


@pytest.mark.parametrize(
    ("cell", "other"),
    [
        (CODE, CODE.replace("x + y", "x - y")),
        (TEXT, TEXT.replace("a line", "another line")),
        (MAGIC, MAGIC.replace("one", "two")),
        (LINES, LINES.replace("--all", "--some")),
        (LINES, LINES.replace("extra.py", "unrelated.py")),
        ("files = !ls one", "files = !ls two"),
        ("%%time\nfrom places import x\nx", "%%time\nfrom places import x\nx + 1"),
        ("not python (", "not python )"),
    ],
)
def test_every_kind_of_cell_counts(project, cell, other):
    write(project.root, cell)
    before = version(project, "ingest")
    write(project.root, other)

    assert version(project, "ingest") != before


def test_modules_count_that_are_imported_below_a_magic_or_by_name(project):
    for cell in ("%%time\nfrom places import x\nx", 'import_module("helpers")', "%run -m helpers"):
        write(project.root, cell)
        (project.notebooks / "sales" / "helpers.py").write_text("x = 1\n")
        before = version(project, "ingest")
        (project.notebooks / "sales" / "helpers.py").write_text("x = 2\n")

        assert version(project, "ingest") != before, cell


def test_prose_outputs_comments_and_formatting_do_not_count(project):
    write(project.root, "from places import x\ny = x + 1", "%time y\nz = 1")
    before = version(project, "ingest")
    write(project.root, "from places import x  # where\ny   =  x+1", "%time y\nz=1  # one")
    path = project.notebooks / "sales" / "ingest.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[0].source = "Other words."
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="2")]
    nbformat.write(notebook, path)

    assert version(project, "ingest") == before


def test_the_value_of_a_variable_counts_and_stands_nowhere(project, monkeypatch):
    before, chosen = version(project, "ingest"), version(project, "ingest", {"n": "${SALES_N}"})
    monkeypatch.setenv("SALES_N", "5")
    assert version(project, "ingest") == before
    assert version(project, "ingest", {"n": "${SALES_N}"}) != chosen

    monkeypatch.setenv("SALES_KEY", "second-value")
    assert version(project, "ingest") != before
    monkeypatch.setenv("SALES_KEY", "first-value")
    assert version(project, "ingest") == before
    (project.state / "salt").unlink()
    assert version(project, "ingest") != before  # another project's hashes tell nothing
    assert (project.state / "salt").stat().st_mode & 0o077 == 0


def test_the_value_of_a_variable_that_dbt_reads_counts(project, monkeypatch):
    before = version(project, "dbt")
    monkeypatch.setenv("SALES_DB", "y")

    assert version(project, "dbt") != before
