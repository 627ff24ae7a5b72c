"""`dataflow workflow test`: a workflow's own tests, as its author runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import dataflow, make_project, parameters

from dataflow.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from dataflow.project import Project

pytestmark = pytest.mark.slow

NOTEBOOK = [
    parameters("factor: int = 2"),
    "from dataflow.shared.db import get_duckdb_connection, write_table\n"
    "with get_duckdb_connection() as conn:\n"
    "    rows = conn.sql('select * from lab_raw.samples').df()\n"
    "    rows['weight'] = rows['weight'] * factor\n"
    "    write_table(conn, rows, 'doubled')",
]


@pytest.fixture
def lab(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project", {"lab": {"double": NOTEBOOK}})
    (project.notebooks / "lab" / "scales.py").write_text("GRAMS = 1000\n", encoding="utf-8")
    return project


def add_test(project: Project, source: str) -> None:
    folder = project.root / "tests" / "workflows" / "lab"
    folder.mkdir(parents=True)
    (folder / "test_lab.py").write_text(source, encoding="utf-8")


def test_passing_tests_end_with_0_and_find_the_workflows_modules(lab):
    add_test(
        lab,
        "from lab.scales import GRAMS\n\n"
        "def test_weights_are_doubled(run_stage):\n"
        "    run = run_stage('lab', 'double', tables={'samples': [{'weight': GRAMS}]})\n"
        "    assert list(run.tables['doubled'].weight) == [2000]\n",
    )

    done = dataflow(lab, "workflow", "test", "lab")

    assert done.returncode == EXIT_OK, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert not (lab.root / ".duckdb").exists(), "the project's own warehouse is not touched"


def test_a_failing_stage_ends_with_1_and_shows_the_tests_line_and_the_cell(lab):
    add_test(
        lab,
        "def test_weights_are_doubled(run_stage):\n"
        "    run_stage('lab', 'double', tables={'samples': [{'mass': 1}]})\n",
    )

    done = dataflow(lab, "workflow", "test", "lab", "--", "-q")

    assert done.returncode == EXIT_FAILED
    assert ">       run_stage('lab', 'double', tables={'samples': [{'mass': 1}]})" in done.stdout
    assert "stage double of lab failed in cell 2: KeyError: 'weight'" in done.stdout
    assert "4 │     rows['weight'] = rows['weight'] * factor" in done.stdout
    assert "def __call__" not in done.stdout, "DATAFLOW's own frames are left out"


def test_no_test_at_all_ends_with_2(lab):
    add_test(lab, "def weights_are_doubled():\n    pass\n")

    done = dataflow(lab, "workflow", "test", "lab")

    assert done.returncode == EXIT_USAGE
    assert "pytest looks for functions test_" in done.stderr
