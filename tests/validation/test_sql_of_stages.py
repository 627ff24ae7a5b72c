"""Tables and columns that a cell's SQL reads: those that nothing makes are named."""

from __future__ import annotations

from typing import Any

import mistakes
import pytest

from dataflow.errors import Problem
from dataflow.project import Project
from dataflow.validation.draft import examine_draft
from dataflow.warehouse.store import Connection, publish


def warnings(project: Project, *sources: str) -> list[Problem]:
    """What is said of clean.ipynb with these cells."""
    cells: list[dict[str, Any]] = [{"cell_type": "code", "source": one} for one in sources]
    found = examine_draft(project, project.root / "notebooks/lab/clean.ipynb", {"cells": cells})
    assert found is not None
    return found.warnings


def test_a_table_that_nothing_makes_is_named_with_the_one_that_was_meant(lab: Project):
    sql = 'conn.sql("""\n  select *\n  from lab_raw.sample as s  -- or from lab_raw.old\n""")'

    [problem] = warnings(lab, "a = 1", sql)

    where = "notebooks/lab/clean.ipynb, cell 2, line 3"
    assert problem.where(lab.root) == where
    assert problem.message == "reads lab_raw.sample, which no stage, model or seed of lab makes"
    assert problem.hint == "Did you mean `samples`?"
    assert problem.fix is not None
    assert (problem.fix.old, problem.fix.new) == ("sample", "samples")


@pytest.mark.parametrize(
    "cells",
    [
        ["conn.sql('from lab_raw.samples join lab.weights using (id)')"],  # declared; a model
        ['conn.sql(\'FROM "lab_raw"."Samples"\')'],
        ["conn.sql('create table lab_raw.other as select 1')", "conn.sql('from lab_raw.other')"],
        ["write_table(conn, df, 'other')", "conn.sql('from lab_raw.other')"],
        ["write_table(conn, df, f'other_{year}')", "conn.sql('from lab_raw.other_2024')"],
        ["write_table(conn, df, name)", "conn.sql('from lab_raw.other')"],
        ["write_table(conn, df, kind + '_clean')", "conn.sql('from lab_raw.big_clean')"],
        ["conn.sql(f'create table lab_raw.{name} (a int)')", "conn.sql('from lab_raw.other')"],
        ["conn.sql(f'from lab_raw.other_{year}')"],
        ["conn.sql('from lab_raw.%s' % name)"],
        ["conn.sql('from elsewhere.table')"],
        ["# from lab_raw.other\nx = 'not from here'"],
    ],
)
def test_of_tables_that_are_made_or_may_be_nothing_is_said(lab: Project, cells: list[str]):
    assert warnings(lab, *cells) == []


def test_a_table_that_another_stages_code_writes_or_that_is_published_is_known(lab: Project):
    read = "conn.sql('from lab_raw.extra')"
    assert len(warnings(lab, read)) == 1

    mistakes.cell(3, "write_table(conn, df, 'extra')")(lab)
    assert warnings(lab, read) == []

    mistakes.cell(3, "a = 1")(lab)
    with Connection(lab, "working") as conn:
        conn.execute("CREATE SCHEMA lab_raw; CREATE TABLE lab_raw.extra AS SELECT 1 AS a")
    publish(lab, "lab", ["lab_raw"])
    assert warnings(lab, read) == []


def test_a_column_that_the_table_does_not_have_is_named_with_its_line(lab: Project):
    with Connection(lab, "working") as conn:
        conn.execute(
            "CREATE SCHEMA lab_raw; CREATE TABLE lab_raw.samples AS SELECT 1 AS id, 2 AS weight"
        )
    publish(lab, "lab", ["lab_raw"])
    sql = 'conn.sql("""\n    select id,\n      wieght\n    from lab_raw.samples\n""")'

    [problem] = warnings(lab, sql)

    assert (problem.cell, problem.line) == (1, 3)
    assert 'column "wieght" not found' in problem.message
    assert problem.fix is not None
    assert (problem.fix.old, problem.fix.new) == ("wieght", "weight")
    assert warnings(lab, sql.replace("wieght", "weight")) == []
    # The stage before is about to write it.
    mistakes.cell(3, "df['wieght'] = 2")(lab)
    assert warnings(lab, sql) == []


def test_a_column_is_known_from_the_sql_of_a_model(lab: Project):
    [problem] = warnings(lab, "conn.sql('select mass from lab.weights')")

    assert (problem.cell, problem.line) == (1, 1)
    assert '"mass"' in problem.message
    for fine in (
        "conn.sql('select weight from lab.weights')",
        "conn.sql(f'select {column} from lab.weights')",
        "conn.sql('select mass from lab.weights join df using (id)')",  # of a DataFrame
        "conn.sql('select * from lab.weights where id = ?', [1])",
    ):
        assert warnings(lab, fine) == []
