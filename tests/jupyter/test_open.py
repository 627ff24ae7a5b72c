"""`dataflow runs open`: a run's executed notebook, and a copy of its notebook to try again."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from projects import Workflow, dataflow, make_project, parameters, run_data, write_notebook

from dataflow.cli.main import run as run_cli
from dataflow.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table

pytestmark = pytest.mark.slow

FILL = [
    "from dataflow.shared.db import get_duckdb_connection, write_table\n"
    "with get_duckdb_connection() as conn:\n"
    "    write_table(conn, [{'id': 'a', 'weight': 2}], 'samples')",
]
DIVIDE = [
    parameters("by: int = 1\nkey: str = ''"),
    "from pathlib import Path\n"
    "from dataflow.shared.db import get_duckdb_connection\n"
    "unit = Path('unit.txt').read_text()\n"
    "with get_duckdb_connection() as conn:\n"
    "    weight = conn.sql('select weight from lab_raw.samples').fetchone()[0]",
    "print(weight / by, unit, key[:2])",
]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose last run failed in its second stage, with a parameter and a secret."""
    project = make_project(
        tmp_path_factory.mktemp("failed") / "project",
        {
            "lab": Workflow(
                {"fill": FILL, "divide": DIVIDE},
                stages=[
                    {"notebook": "fill.ipynb", "writes": ["samples"]},
                    {"notebook": "divide.ipynb", "parameters": {"key": "${LAB_KEY}"}},
                ],
            )
        },
    )
    (project.notebooks / "lab" / "unit.txt").write_text("kg", encoding="utf-8")
    secret = {"LAB_KEY": "correct-horse-battery"}
    done = dataflow(project, "workflow", "run", "lab", "-p", "by", "0", env=secret)
    assert done.returncode == EXIT_FAILED, done.stderr
    assert run_data(project, "lab")["steps"]["divide"]["error"]["message"].endswith("by zero")
    return project.root


@pytest.fixture
def lab(failed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    shutil.copytree(failed, tmp_path / "project", symlinks=True)
    monkeypatch.setenv("LAB_KEY", "correct-horse-battery")
    monkeypatch.chdir(tmp_path / "project")
    return Project(tmp_path / "project")


def test_the_failed_stages_page_is_opened_unless_another_is_named(lab, capsys):
    assert run_cli(["runs", "open", "last"]) == EXIT_OK
    page = capsys.readouterr().out.strip()
    assert page.startswith("file:///")
    assert page.endswith("/divide.html")
    assert "ZeroDivisionError" in Path(page.removeprefix("file://")).read_text("utf-8")

    assert run_cli(["runs", "open", "last", "--stage", "fill"]) == EXIT_OK
    assert capsys.readouterr().out.strip().endswith("/fill.html")


def test_a_misspelt_stage_is_named_with_the_nearest(lab, capsys):
    assert run_cli(["runs", "open", "last", "--stage", "divid"]) == EXIT_USAGE
    assert "Did you mean `divide`?" in capsys.readouterr().err


def test_the_stage_can_be_tried_again_with_the_runs_parameters_and_data(lab, capsys):
    assert run_cli(["runs", "open", "last", "--lab"]) == EXIT_OK

    out, err = capsys.readouterr()
    assert "JupyterLab is not running" in err
    path = lab.root / out.strip()
    assert path.parent == lab.notebooks / "lab" / "debug"
    text = path.read_text("utf-8")
    assert "correct-horse" not in text
    assert str(lab.root) not in text
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": path.parent}}
    )
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        client.execute()

    # Fixed, it goes on with the run's table, the file beside the stage, and the secret.
    notebook.cells[-1].source = notebook.cells[-1].source.replace("/ by", "/ (by or 1)")
    client.execute()
    assert notebook.cells[-1].outputs[0].text == "2.0 kg co\n"
    # It is a copy: the workflow has the same stages as before.
    assert run_cli(["workflow", "validate", "lab"]) == EXIT_OK


def test_a_notebook_that_changed_since_is_said_to_have(lab, capsys):
    write_notebook(lab.notebooks / "lab" / "divide.ipynb", [*DIVIDE, "print('new')"])

    assert run_cli(["runs", "open", "last", "--lab", "-y"]) == EXIT_OK

    assert "divide.ipynb changed since that run" in capsys.readouterr().err


def test_what_was_written_by_hand_is_kept_unless_its_author_agrees(lab, monkeypatch):
    with get_duckdb_connection(project=lab) as conn:
        write_table(conn, [{"note": "mine"}], "notes.mine")

    def mine() -> int:
        with get_duckdb_connection(project=lab) as conn:
            sql = "select count(*) from information_schema.tables where table_name = 'mine'"
            return conn.sql(sql).fetchone()[0]

    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: PTH123, SIM115
    assert run_cli(["runs", "open", "last", "--lab"]) == EXIT_FAILED
    assert mine() == 1
    assert not (lab.notebooks / "lab" / "debug").exists()
    assert run_cli(["runs", "open", "last", "--lab", "--keep-data"]) == EXIT_OK
    assert mine() == 1
    assert run_cli(["runs", "open", "last", "--lab", "--yes"]) == EXIT_OK
    assert mine() == 0
