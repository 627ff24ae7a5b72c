"""What came of a run's data, on its page and on the terminal: readable, and only ever text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from browser import DESKTOP, PHONE, browser_page
from projects import dataflow

from dataflow.api import Project as Api
from dataflow.base.sql import TableName, quote
from dataflow.project import Project
from dataflow.warehouse.compare import compare_tables

ODD = '<img src=x onerror="document.title=1">'
NAME = '<b>Ü "odd"'
WIDE = ", ".join(f"i AS column_number_{n}" for n in range(30))
TABLES = """
CREATE SCHEMA q;
CREATE TABLE q.{name} AS SELECT i AS id, '{odd}' || i % 3 AS {column},
  CASE WHEN i > 2 THEN i * 1.5 END AS x FROM range({rows}) r(i);
UPDATE q.{name} SET x = {rows} WHERE id = 4;
CREATE TABLE q.stays AS SELECT 'x' AS a;
CREATE TABLE q.wide AS SELECT {wide} FROM range({rows}) r(i);
CREATE TABLE q.escape AS SELECT chr(27) || '[2J{rows}' AS e;
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose tables changed, in a project of its own."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_text("[tool.dataflow]\n")
    files = []
    for rows in (9, 12):
        files.append(root / str(rows) / "dataflow.duckdb")
        files[-1].parent.mkdir()
        with duckdb.connect(files[-1]) as connection:
            connection.execute(
                TABLES.format(name=quote(NAME), odd=ODD, column=quote(ODD), wide=WIDE, rows=rows)
            )
    with duckdb.connect(files[-1]) as connection:
        connection.execute("ALTER TABLE q.wide ADD COLUMN y DATE")
    found = compare_tables(*files, [], {TableName("q", NAME): ["id"]}, schemas=["q"])
    folder = root / "runs" / "flow" / "20261127T120000Z_11111111"
    folder.mkdir(parents=True)
    step = {"kind": "publish", "status": "succeeded"}
    record = {
        "format": 2, "run_id": "11111111-2222", "workflow": "flow", "status": "succeeded",
        "started_at": "2026-11-27T12:00:00+00:00", "ended_at": "2026-11-27T12:00:05+00:00",
        "trigger": "cli", "steps": {"publish": step},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "data.json").write_text(
        json.dumps(replace(found, old="version 1", new="version 2").as_json())
    )
    return folder


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_runs_page_shows_what_came_of_its_data(run: Path, serve, size):
    """Each table has a line; opened by the keyboard it shows rows and columns, before and now."""
    address = f"{serve(Project(run.parents[2]))}/runs/flow/{run.name}/"
    with browser_page(size) as visit:
        visit.open(address, "3 of 4 tables different")
        tables = visit.page.locator("section.data > details > summary")
        for table in tables.all():
            table.focus()
            visit.page.keyboard.press("Enter")
        text = visit.text()
        assert f"q.{NAME}" in text
        assert "9 → 12 rows: 3 added, 1 changed" in text
        assert "x: 9.0 → 12.0" in text
        assert "+ y DATE" in text
        assert f"{ODD}0" in text
        assert visit.page.locator("section.data svg path").count() > 60
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert visit.page.title() != "1"
        assert visit.page.locator("section.data img, section.data b").count() == 0
        visit.assert_clean()


def test_the_terminal_and_python_show_the_same(run: Path, tmp_path: Path):
    """`runs show --data` prints it, as JSON all of it; a run without it says why, with exit code 2."""
    project = Project(run.parents[2])
    shown = dataflow(project, "runs", "show", "last", "--data")
    assert shown.returncode == 0, shown.stderr
    assert "9 → 12 rows: 3 added, 1 changed" in shown.stdout
    assert "\x1b[2J" not in shown.stdout
    printed = dataflow(project, "runs", "show", "1111", "--data", "--json")
    assert json.loads(printed.stdout) == json.loads((run / "data.json").read_text())

    found = Api.find(project.root).find_run("last").data_comparison
    assert [table.name for table in found.changed] == [NAME, "escape", "wide"]
    assert "3 added" not in found._repr_html_()
    assert "&lt;b&gt;Ü" in found._repr_html_()

    (run / "data.json").rename(run / "kept")
    refused = dataflow(project, "runs", "show", "last", "--data")
    (run / "kept").rename(run / "data.json")
    assert refused.returncode == 2
    assert "was not compared" in refused.stderr
