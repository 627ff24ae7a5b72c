"""Runs to compare: a small real workflow that ran, was changed, ran again, and then failed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import nbformat
import pytest
from made_runs import Made
from once import MakeOnce
from projects import Workflow, dataflow, make_project, markdown, parameters

from dataflow.api import Project as Api
from dataflow.api import Run
from dataflow.project import Project

INGEST = [
    "import uuid\nfrom datetime import datetime, timezone\n\nimport matplotlib.pyplot as plt\n"
    "import pandas as pd\n\nfrom dataflow import stage\n"
    "from dataflow.shared.db import get_duckdb_connection, write_table",
    parameters('region: str = "north"  # which shops\ndiscount: float = 0.1'),
    markdown("## Read"),
    'sales = pd.DataFrame({"sold": [120, 80, 45]}, index=pd.Index(["Köln", "<b>Bonn</b>", "Essen"],'
    ' name="shop"))',
    "print(datetime.now(timezone.utc), uuid.uuid4(), object())\nprint(len(sales), 'rows')",
    "sales",
    "fig, ax = plt.subplots(figsize=(3, 2))\n_ = ax.bar(['a', 'b', 'c'], sales.sold[:3])",
    "with get_duckdb_connection() as conn:\n"
    '    write_table(conn, sales.reset_index(), "sales")\n'
    'stage.record("sales", rows=len(sales), total=int(sales.sold.sum()))\n'
    'stage.check("there are sales", len(sales) > 0, rows=len(sales))\n'
    'stage.check("most is sold in Köln", sales.sold.idxmax() == "Köln", severity="warn")',
]
WORKFLOW = "shop"


def edit(project: Project, cell: int, old: str, new: str) -> None:
    """Replace `old` by `new` in a cell of the stage `ingest`, by its number."""
    path = project.notebooks / WORKFLOW / "ingest.ipynb"
    nb = nbformat.read(path, as_version=4)
    assert old in nb.cells[cell - 1].source
    nb.cells[cell - 1].source = nb.cells[cell - 1].source.replace(old, new)
    nbformat.write(nb, path)


def git(project: Project, *arguments: str) -> None:
    """Run git as somebody."""
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    command = ["git", *who, *arguments]
    subprocess.run(command, cwd=project.root, check=True, capture_output=True)


def _make(folder: Path) -> None:
    workflow = Workflow({"ingest": INGEST}, [{"notebook": "ingest.ipynb", "writes": ["sales"]}])
    project = make_project(folder, {WORKFLOW: workflow})
    (folder / ".gitignore").write_text("/runs/\n/.*\n!.gitignore\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "The shops' sales")

    def run(*arguments: str, status: int = 0) -> None:
        done = dataflow(project, "workflow", "run", WORKFLOW, "--quiet", *arguments)
        assert done.returncode == status, done.stderr

    run()
    edit(project, 2, "0.1", "0.2")
    edit(project, 4, '[120, 80, 45]}, index=pd.Index(["Köln", "<b>Bonn</b>", "Essen"]',
         '[120, 81, 45, 130]}, index=pd.Index(["Köln", "<b>Bonn</b>", "Essen", "Trier"]')  # fmt: skip
    git(project, "commit", "-qam", "Trier <b>has</b> a shop")
    run("-p", "region=south")
    run("-p", "region=south")
    edit(project, 6, "sales", "raise ValueError('no <b>answer</b>')")
    run(status=1)


@pytest.fixture(scope="session")
def shop(make_once: MakeOnce) -> Project:
    """A project with four runs of the workflow `shop`; not to be changed."""
    return Project(make_once("shop", _make))


@pytest.fixture(scope="session")
def runs(shop: Project) -> list[Run]:
    """Its runs in their order: at first, changed, the same again, failed."""
    return list(reversed(Api(shop).runs(WORKFLOW)))


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A project for runs that are made up."""
    return Made(tmp_path)
