"""The border from notebooks to dbt: tables keep the columns that models and pages use."""

from __future__ import annotations

import json
import re

import pytest
from projects import (
    Workflow,
    copy_dbt,
    dataflow,
    make_project,
    markdown,
    parameters,
    run_data,
    run_folder,
    write_files,
    write_notebook,
)

from dataflow.dbt.border import check_columns
from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.review.written import written_tables
from dataflow.runs.record import read_run
from dataflow.services.pages import run_page
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.store import publish, stage_writes

INGEST = [
    parameters("bad: bool = False"),
    markdown("# Orders"),
    "from dataflow.shared.db import get_duckdb_connection\nconn = get_duckdb_connection()",
    "amount = '' if bad else ', 2.5 AS amount'\n"
    "conn.execute(f\"CREATE OR REPLACE TABLE shop_raw.orders AS SELECT 1 AS id{amount}, 'n' AS note\")\n"
    "rows = conn.execute('SELECT * FROM range(3)')",
    "assert len(rows.fetchall()) == 3, 'what a cell selected can be fetched in the next'",
    "conn.execute('USE shop_raw')\nconn.execute('CREATE TABLE IF NOT EXISTS log (n INTEGER)')",
    markdown("by its short name"),
    "conn.execute('INSERT INTO log VALUES (1)')\nconn.execute('UPDATE log SET n = 2')",
    "conn.close()",
]
# Never run: of what it reads and writes the record speaks.
LATER = "conn.execute('FROM shop_raw.log')"
ENRICH = [
    "from dataflow.shared.db import get_duckdb_connection\n"
    "with get_duckdb_connection() as conn:\n"
    "    conn.execute('ALTER TABLE shop_raw.orders ADD COLUMN region VARCHAR')\n",
    "1",
]
FILES = {
    "dbt/models/shop/_sources.yml": "sources: [{name: shop, schema: shop_raw, tables: [{name: orders}]}]\n",
    "dbt/models/shop/staging/stg_orders.sql": "-- of the amount\nselect\n    id,\n    region,\n"
    "    amount as revenue,\nfrom {{ source('shop', 'orders') }}\n",
    "dbt/models/shop/daily.sql": "select revenue from {{ ref('stg_orders') }}\n",
    "evidence/sources/overview/sums.sql": "select sum(revenue) as total from shop.daily\n",
    "evidence/pages/overview.md": "The amount of each note.\n\n```sql a\nfrom overview.sums\n```\n",
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Project:
    """A project with models and a page after its first run, which passed."""
    project = make_project(
        tmp_path_factory.mktemp("border") / "project",
        {
            "shop": Workflow(
                {"enrich": ENRICH, "ingest": INGEST},
                stages=[{"notebook": "ingest.ipynb"}, {"notebook": "enrich.ipynb"}],
            )
        },
    )
    copy_dbt(project)
    write_files(project.root, FILES)
    result = dataflow(project, "workflow", "run", "shop", "-q")
    assert result.returncode == 0, result.stderr
    return project


@pytest.mark.slow
def test_a_run_knows_the_cells_that_wrote_each_table_and_where_it_is_shown(ran):
    """Also of a connection that stays open over many cells, and of names without their schema."""
    steps = run_data(ran, "shop")["steps"]
    orders = {"id": "INTEGER", "amount": "DECIMAL(2,1)", "note": "VARCHAR"}
    assert steps["ingest"]["writes"] == {
        "shop_raw.log": {"cells": [6, 8], "columns": {"n": "INTEGER"}},
        "shop_raw.orders": {"cells": [4], "columns": orders},
    }
    assert steps["enrich"]["writes"] == {
        "shop_raw.orders": {"cells": [1], "columns": {**orders, "region": "VARCHAR"}}
    }

    shown = dataflow(ran, "runs", "show", "last").stdout
    assert re.search(r"shop_raw\.log +ingest, cells 6 and 8 *\n", shown)
    assert re.search(
        r"shop_raw\.orders +ingest, cell 4 +2 models, 1 other file +evidence/pages/overview\.md",
        shown,
    )
    page = bytes(run_page(ran, run_folder(ran, "shop")).body).decode()
    assert '<a href="ingest.html#cell-4">4</a>' in page
    assert '<a href="/overview">/overview</a>' in page
    described = dataflow(ran, "db", "tables", "shop_raw.orders").stdout
    assert "step enrich, cell 1" in described
    assert re.search(r"in +runs/shop/\S+/enrich\.ipynb\n", described)
    assert re.search(r"shown on evidence/pages/overview\.md\n", described)
    assert "cells" in json.loads(dataflow(ran, "db", "tables", "shop_raw.log", "--json").stdout)


def test_a_table_is_shown_where_what_later_stages_make_of_it_is(ran, tmp_path):
    """A stage's notebook that reads a table passes it on to the tables that the stage wrote."""
    notebook = ran.notebooks / "shop" / "enrich.ipynb"
    before = notebook.read_bytes()
    data = run_data(ran, "shop")
    (tmp_path / "run.json").write_text(json.dumps(data))
    run = read_run(tmp_path)
    log = {str(one.name): one for one in written_tables(ran, run)}["shop_raw.log"]
    assert log.pages == ()
    write_notebook(notebook, [LATER])
    try:
        log = {str(one.name): one for one in written_tables(ran, run)}["shop_raw.log"]
        assert [ran.relative(path) for path in log.pages] == ["evidence/pages/overview.md"]
    finally:
        notebook.write_bytes(before)


def test_what_a_record_says_of_its_tables_may_be_anything(ran, tmp_path):
    """A page shows what it can of a record that somebody wrote, and of names with markup."""
    data = run_data(ran, "shop")
    data["steps"]["ingest"]["writes"] = {
        "no schema": {}, "shop_raw.<b>": {"cells": ["x"]}, "shop_raw.log": None
    }  # fmt: skip
    data["steps"]["enrich"]["writes"] = 7
    (tmp_path / "run.json").write_text(json.dumps(data))

    page = bytes(run_page(ran, tmp_path).body).decode()

    assert "shop_raw.&lt;b&gt;" in page
    assert "shop_raw.log" in page


@pytest.mark.slow
def test_a_run_stops_before_dbt_and_names_the_model_with_its_line_and_the_pages(ran):
    """Raw SQL that loses a column fails its stage; a column that a later stage adds is not lost."""
    project = ran

    result = dataflow(project, "workflow", "run", "shop", "-q", "-p", "bad=true")

    assert result.returncode == 1
    steps = run_data(project, "shop")["steps"]
    assert {name: step["status"] for name, step in steps.items()} == {
        "ingest": "failed", "enrich": "not run", "dbt": "not run", "publish": "not run"
    }  # fmt: skip
    assert steps["ingest"]["error"]["message"] == (
        "shop_raw.orders has lost columns that others use:\n"
        "  - amount DECIMAL(2,1)  (only in the published table)\n"
        "  amount is used in dbt/models/shop/staging/stg_orders.sql:5; "
        "what is made of it is shown in evidence/pages/overview.md"
    )
    assert "dbt/models/shop/staging/stg_orders.sql:5" in result.stderr
    assert "on_schema_change=" in result.stderr
    assert (run_folder(project, "shop") / "ingest.html").is_file()


RUN = "b0bd8d6e-0000-4000-8000-000000000000"


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Project:
    """A project in the middle of a run, whose table was published with what readers use."""
    project = make_project(tmp_path / "project", {"shop": {"ingest": ["1"], "later": ["1"]}})
    write_files(project.root, FILES)
    monkeypatch.chdir(project.notebooks / "shop")
    for name, value in (("PROJECT", str(project.root)), ("WORKFLOW", "shop"), ("STAGE", "ingest")):
        monkeypatch.setenv(f"DATAFLOW_{name}", value)
    monkeypatch.setenv("DATAFLOW_RUN_ID", "an-earlier-run")
    execute("CREATE TABLE shop_raw.orders AS SELECT 1 AS id, 2.5 AS amount, 'x' AS region, 'n' AS note, "
            "'a'::ENUM('a') AS kind")  # fmt: skip
    publish(project, "shop", ["shop_raw"])
    monkeypatch.setenv("DATAFLOW_RUN_ID", RUN)
    return project


def execute(sql: str) -> None:
    with get_duckdb_connection() as conn:
        conn.execute(sql)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("ALTER TABLE shop_raw.orders DROP COLUMN amount", "- amount DECIMAL"),
        ("ALTER TABLE shop_raw.orders ALTER amount TYPE VARCHAR", "~ amount DECIMAL(2,1) → VARCHAR"),
        ("ALTER TABLE shop_raw.orders RENAME region TO place", "region is used in dbt/models/shop/"),
        ("DROP TABLE shop_raw.orders", "shop_raw.orders was dropped, and others use it"),
        ("CREATE OR REPLACE VIEW shop_raw.x AS SELECT 1", None),
        ("ALTER TABLE shop_raw.orders DROP COLUMN note", None),
        ("ALTER TABLE shop_raw.orders ALTER amount TYPE DOUBLE", None),
        ("ALTER TABLE shop_raw.orders ALTER kind TYPE VARCHAR", None),
        ("INSERT INTO shop_raw.orders BY NAME SELECT 2 AS id", None),
    ],
)  # fmt: skip
def test_what_counts_is_a_column_that_somebody_names_and_that_goes_or_changes_its_kind(
    shop, sql, says
):
    """Columns that nobody names may go, numbers may get another type of number."""
    execute(sql)

    if says is None:
        check_columns(shop, RUN, "ingest", later=())
        return
    with pytest.raises(WarehouseError) as caught:
        check_columns(shop, RUN, "ingest", later=())
    assert says in str(caught.value)


def test_the_author_may_say_that_a_table_has_other_columns(shop):
    """`on_schema_change="replace"` lets `write_table` and the check at the stage's end pass."""
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "orders", on_schema_change="replace")

    check_columns(shop, RUN, "ingest", later=())

    execute("CREATE OR REPLACE TABLE shop_raw.orders AS SELECT 1 AS id")
    assert len(stage_writes(shop, RUN, "ingest")) == 1


def test_a_table_that_a_later_step_completes_is_checked_when_that_has_ended(shop, monkeypatch):
    """Only the step that wrote the published table last answers for its columns."""
    execute("ALTER TABLE shop_raw.orders DROP COLUMN amount")

    check_columns(shop, RUN, "begin", later={("shop", "ingest")})

    monkeypatch.setenv("DATAFLOW_STAGE", "begin")
    execute("ALTER TABLE shop_raw.orders DROP COLUMN region")
    check_columns(shop, RUN, "begin", later={("shop", "ingest")})
    with pytest.raises(WarehouseError):
        check_columns(shop, RUN, "begin", later={("other", "ingest")})


def test_a_test_of_a_source_uses_its_column(shop):
    """A column that only dbt's tests name fails the stage with the line of its declaration."""
    write_files(shop.root, {"dbt/models/shop/_sources.yml":
        "sources:\n- name: shop\n  schema: shop_raw\n  tables:\n  - name: orders\n    columns:\n"
        "    - name: id\n    - name: note\n      data_tests: [not_null]\n"})  # fmt: skip
    execute("ALTER TABLE shop_raw.orders DROP COLUMN note")

    with pytest.raises(WarehouseError, match=r"note is used in dbt/models/shop/_sources\.yml:8"):
        check_columns(shop, RUN, "ingest", later=())


JOB = """
from pathlib import Path

from dagster import job, op
from dataflow.shared.db import get_duckdb_connection
from dataflow.workflows.registry import register_workflow

@op
def write():
    amount = ", 2.5 AS amount" if Path("whole").exists() else ""
    with get_duckdb_connection() as conn:
        conn.execute(f"CREATE OR REPLACE TABLE shop_raw.orders AS SELECT 1 AS id{amount}")

@job
def whole():
    write()

register_workflow(workflow_id="shop", job=whole)
"""


@pytest.mark.slow
def test_an_op_that_loses_a_column_fails_as_a_stage_does(tmp_path):
    """Its log and its record say what it wrote; nothing after it runs."""
    project = make_project(tmp_path / "project", {"shop": {}})
    home = project.notebooks / "shop"
    (home / "dagster_job.py").write_text(JOB)
    (home / "whole").touch()
    write_files(
        project.root, {"evidence/sources/overview/o.sql": "select amount\nfrom shop_raw.orders\n"}
    )
    first = dataflow(project, "workflow", "run", "shop", "-q")
    assert first.returncode == 0, first.stderr
    assert run_data(project, "shop")["steps"]["write"]["writes"]["shop_raw.orders"]["cells"] == []
    (home / "whole").unlink()

    result = dataflow(project, "workflow", "run", "shop", "-q")

    assert result.returncode == 1
    steps = run_data(project, "shop")["steps"]
    assert (steps["write"]["status"], steps["publish"]["status"]) == ("failed", "not run")
    assert "amount is used in evidence/sources/overview/o.sql:1" in result.stderr


def test_a_published_version_that_cannot_be_opened_stops_no_stage(shop):
    """What is wrong with it is said by the step that publishes the next one."""
    execute("ALTER TABLE shop_raw.orders DROP COLUMN amount")
    current = next(path for path in shop.warehouse.parent.rglob("published/*/dataflow.duckdb"))
    current.chmod(0o644)
    current.write_bytes(b"no database")

    check_columns(shop, RUN, "ingest", later=())
