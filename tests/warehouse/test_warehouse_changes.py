"""Which tables a stage wrote: told by its connections, compared with what it declares."""

from __future__ import annotations

import os

import pytest

from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.changes import Writes, compare_writes, forget_writes
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.publish import publish

RUN = "20240101T000000-abcd"


def compare(project: Project, *declared: str, stage: str = "ingest") -> Writes:
    return compare_writes(project, "quakes", RUN, stage, list(declared))


def test_a_stage_that_writes_what_it_declares_is_fine(in_run):
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "events")
    result = compare(in_run, "events")
    assert result.as_declared
    assert (result.written, str(result)) == (["quakes_raw.events"], "wrote what it declares")


def test_what_was_not_declared_and_what_was_not_written_is_named(in_run):
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "other_raw.events")
    result = compare(in_run, "events")
    assert not result.as_declared
    assert str(result) == (
        "wrote other_raw.events, which it does not declare; "
        "did not write quakes_raw.events, which it declares"
    )


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO quakes_raw.t VALUES (4)",
        "DELETE FROM quakes_raw.t WHERE a = 2",
        "UPDATE quakes_raw.t SET a = 9 WHERE a = 2",
        "CREATE OR REPLACE TABLE quakes_raw.t AS SELECT 1 AS a UNION ALL SELECT 2",
        "ALTER TABLE quakes_raw.t ADD COLUMN b INTEGER",
        "DROP TABLE quakes_raw.t",
    ],
)
def test_plain_sql_is_seen(in_run, sql):
    with get_duckdb_connection(database="working") as conn:
        conn.execute("CREATE SCHEMA quakes_raw; CREATE TABLE quakes_raw.quiet AS SELECT 1 AS a")
        conn.execute("CREATE TABLE quakes_raw.t AS SELECT 1 AS a UNION ALL SELECT 2")
    forget_writes(in_run, RUN)
    with get_duckdb_connection() as conn:
        conn.execute(sql)
    assert compare(in_run).written == ["quakes_raw.t"]


def test_reading_and_what_was_rolled_back_is_no_write(in_run):
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "events")
    forget_writes(in_run, RUN)

    def fail() -> None:
        with get_duckdb_connection() as conn:
            write_table(conn, [{"id": 2}], "events")
            write_table(conn, [{"id": 2}], "more")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with get_duckdb_connection() as conn:
        conn.execute("FROM quakes_raw.events").fetchall()
    assert compare(in_run, "more").missing == ["quakes_raw.more"]
    assert "quakes_raw.more" not in compare(in_run).written


def test_a_write_of_no_rows_counts_as_written(in_run):
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "events")
    forget_writes(in_run, RUN)
    with get_duckdb_connection() as conn:
        nothing = conn.sql("SELECT 1 AS id WHERE false")
        write_table(conn, nothing, "events", mode="append", on_schema_change="add_columns")
    assert compare(in_run, "events").as_declared


def test_stages_are_told_apart_and_by_hand_nothing_is_noted(in_run, monkeypatch):
    conn = get_duckdb_connection()
    write_table(conn, [{"id": 1}], "events")
    conn.close()
    monkeypatch.setenv("DATAFLOW_STAGE", "transform")
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "clean")
    monkeypatch.delenv("DATAFLOW_RUN_ID")
    with get_duckdb_connection(database="working") as conn:
        write_table(conn, [{"id": 1}], "by_hand")
    assert compare(in_run).written == ["quakes_raw.events"]
    assert compare(in_run, stage="transform").written == ["quakes_raw.clean"]
    forget_writes(in_run, RUN, "ingest")
    assert compare(in_run).written == []
    assert compare(in_run, stage="transform").written == ["quakes_raw.clean"]


def test_records_of_writes_go_some_time_after_their_run(in_run):
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "events")
    record = Layout.of(in_run).writes_of(RUN)
    old = record.with_name("older.jsonl")
    old.write_text("")
    os.utime(old, (0, 0))
    publish(in_run, "quakes")
    assert list(record.parent.iterdir()) == [record]
