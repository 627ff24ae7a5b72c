"""Which tables a stage wrote: told by its connections, compared with what it declares."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime, timedelta

import duckdb
import pandas as pd
import pytest

from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.backup import back_up, restore
from dataflow.warehouse.changes import Writes, compare_writes, forget_writes
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.provenance import provenance
from dataflow.warehouse.publish import publish

RUN = "20240101T000000-abcd"


def compare(project: Project, *declared: str, stage: str = "ingest") -> Writes:
    return compare_writes(project, "quakes", RUN, stage, list(declared))


def test_a_stage_that_writes_what_it_declares_is_fine(in_run):
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "events")
    assert compare(in_run, "events") == Writes(["quakes_raw.events"], undeclared=[], missing=[])


def test_what_was_not_declared_and_what_was_not_written_is_named(in_run):
    with get_duckdb_connection() as conn:
        write_table(conn, [{"id": 1}], "other_raw.events")
    written = ["other_raw.events"]
    assert compare(in_run, "events") == Writes(written, written, missing=["quakes_raw.events"])


PLAIN = [
    "INSERT INTO quakes_raw.t VALUES (4, 4)",
    "insert or replace into dataflow.quakes_raw.t by name select 4 as a",
    "WITH x(a) AS (SELECT 4), y AS (FROM x) INSERT INTO quakes_raw.t SELECT a, a FROM y",
    "DELETE FROM quakes_raw.t WHERE a = 2",
    "UPDATE quakes_raw.t SET b = 9 WHERE a = 2",
    "MERGE INTO quakes_raw.t AS old USING (SELECT 2 AS a, 7 AS b) AS new ON old.a = new.a "
    "WHEN MATCHED THEN UPDATE SET b = new.b",
    "TRUNCATE quakes_raw.t",
    "CREATE OR REPLACE TABLE quakes_raw.t AS SELECT 1 AS a, 1 AS b UNION ALL SELECT 2, 2",
    "ALTER TABLE quakes_raw.t RENAME COLUMN b TO c",
    "ALTER TABLE quakes_raw.t ALTER b TYPE VARCHAR",
    "ALTER TABLE quakes_raw.t ADD COLUMN c INTEGER",
    "DROP TABLE quakes_raw.t",
    "-- a remark: DELETE FROM quakes_raw.quiet;\n/* more */ UPDATE QUAKES_RAW.T SET b = 3",
    """UPDATE "quakes_raw" . "t" SET b = length('it''s; UPDATE quakes_raw.quiet SET a = 1')""",
    "SELECT 1; UPDATE quakes_raw.t SET b = 3; FROM quakes_raw.quiet",
    "USE quakes_raw; UPDATE t SET b = 3",
    "SET search_path = 'main,quakes_raw'; UPDATE t SET b = 3",
    "PREPARE p AS UPDATE quakes_raw.t SET b = $1; EXECUTE p(3)",
    "EXPLAIN ANALYZE UPDATE quakes_raw.t SET b = 3",
    "COPY quakes_raw.t (a) FROM '{csv}'",
]
METHODS = [
    lambda conn: conn.executemany("UPDATE quakes_raw.t SET b = ? WHERE a = ?", [[5, 1], [6, 2]]),
    lambda conn: conn.cursor().execute("UPDATE quakes_raw.t SET b = 3"),
    lambda conn: conn.execute("SELECT 1").execute("UPDATE quakes_raw.t SET b = 3"),
    lambda conn: conn.raw.execute("UPDATE quakes_raw.t SET b = 3"),
    lambda conn: conn.sql("SELECT 8 AS a, 8 AS b").insert_into("quakes_raw.t"),
    lambda conn: conn.table("quakes_raw.t").insert([8, 8]),
    lambda conn: conn.table("quakes_raw.t").update({"b": duckdb.ConstantExpression(3)}),
    lambda conn: conn.execute("USE quakes_raw").append("t", pd.DataFrame({"a": [8], "b": [8]})),
]


@pytest.fixture
def t(in_run, tmp_path):
    """Two tables, `t` and `quiet`, that the stage has not written."""
    with get_duckdb_connection(database="working") as conn:
        conn.execute(
            "CREATE SCHEMA IF NOT EXISTS quakes_raw; CREATE TABLE quakes_raw.quiet AS SELECT 1 AS a"
        )
        conn.execute("CREATE TABLE quakes_raw.t (a INTEGER PRIMARY KEY, b INTEGER)")
        conn.execute("INSERT INTO quakes_raw.t VALUES (1, 1), (2, 2)")
    forget_writes(in_run, RUN)
    return in_run


@pytest.mark.parametrize("sql", PLAIN)
@pytest.mark.parametrize("in_block", [True, False], ids=["block", "bare"])
def test_plain_sql_is_seen(t, tmp_path, sql, in_block):
    (tmp_path / "t.csv").write_text("a\n7\n")
    conn = get_duckdb_connection()
    with conn if in_block else contextlib.closing(conn):
        conn.execute(sql.replace("{csv}", str(tmp_path / "t.csv")))
    assert compare(t).written == ["quakes_raw.t"]


@pytest.mark.parametrize("write", METHODS)
def test_what_other_methods_write_is_seen(t, write):
    with get_duckdb_connection() as conn:
        write(conn)
    assert compare(t).written == ["quakes_raw.t"]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY quakes_raw.t TO '{csv}'",
        "COPY (FROM quakes_raw.t) TO '{csv}'",
        "CREATE TEMP TABLE t AS SELECT 1 AS a; UPDATE t SET a = 2",
        "EXPLAIN UPDATE quakes_raw.t SET b = 3",
        "ATTACH ':memory:' AS other; CREATE TABLE other.t AS SELECT 1 AS a; DELETE FROM other.t",
        "SELECT 'UPDATE quakes_raw.t SET b = 3'",
    ],
)
def test_what_changes_no_table_of_the_warehouse_is_no_write(t, tmp_path, sql):
    conn = get_duckdb_connection()
    conn.execute(sql.replace("{csv}", str(tmp_path / "t.csv")))
    conn.close()
    assert compare(t).written == []


def test_replacing_a_big_table_by_as_many_rows_is_a_write(t):
    big = "SELECT range AS i FROM range(5_100_000)"
    with get_duckdb_connection() as conn:
        conn.execute(f"CREATE TABLE quakes_raw.big AS {big}")
    for statement in (
        f"CREATE OR REPLACE TABLE quakes_raw.big AS {big}",
        "UPDATE quakes_raw.big SET i = 0 WHERE i = 7",
    ):
        forget_writes(t, RUN)
        with get_duckdb_connection() as conn:
            conn.execute(statement)
        assert compare(t).written == ["quakes_raw.big"]


def test_views_and_odd_names_are_seen(t):
    with get_duckdb_connection() as conn:
        conn.execute('CREATE SCHEMA "my s"; CREATE VIEW "my s".v AS SELECT 1 AS a')
        conn.execute('CREATE TABLE "my s"."a ""b"" c" AS SELECT 1 AS a')
    assert compare(t).written == ['my s.a "b" c', "my s.v"]
    forget_writes(t, RUN)
    with get_duckdb_connection() as conn:
        conn.execute('UPDATE "My S"."A ""b"" c" SET a = 2')
    assert compare(t).written == ['my s.a "b" c']


def test_the_tables_that_are_there_cost_a_write_nothing(t):
    """Nothing is read of them: a stage may write row by row in a warehouse of a thousand."""
    with get_duckdb_connection() as conn:
        for number in range(1000):
            conn.execute(f"CREATE TABLE quakes_raw.t{number} AS SELECT range AS i FROM range(10)")
    started = time.process_time()
    for _ in range(3):
        with get_duckdb_connection() as conn:
            conn.execute("UPDATE quakes_raw.t1 SET i = 3 WHERE i = 3")
    assert time.process_time() - started < 9  # it was 30 to 50 seconds
    assert "quakes_raw.t1" in compare(t).written


# Who wrote a table


def origin(connection, table: str = "t") -> tuple[str | None, str | None] | None:
    found = provenance(connection).get(("quakes_raw", table))
    return found and (found.run, found.step)


def test_who_wrote_a_table_is_kept_with_it(t, monkeypatch, tmp_path):
    """It is rolled back with the data, published, backed up and restored with it."""
    started = datetime.now(UTC)
    with get_duckdb_connection(read_only=True) as conn:
        assert origin(conn) == (RUN, "ingest")
        assert started - timedelta(minutes=1) < provenance(conn)["quakes_raw", "t"].at
    publish(t, "quakes")
    made = back_up(t, tmp_path / "b.duckdb")
    monkeypatch.setenv("DATAFLOW_RUN_ID", "later")
    monkeypatch.setenv("DATAFLOW_STAGE", "clean")

    def fail() -> None:
        with get_duckdb_connection() as conn:
            conn.execute("UPDATE quakes_raw.t SET b = 0")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with get_duckdb_connection(read_only=True) as conn:
        assert origin(conn) == (RUN, "ingest")
    with get_duckdb_connection() as conn:
        conn.execute("UPDATE quakes_raw.t SET b = 0; DROP TABLE quakes_raw.quiet")
    with get_duckdb_connection(read_only=True) as conn:
        assert (origin(conn), origin(conn, "quiet")) == (("later", "clean"), None)
    with get_duckdb_connection(database="published") as conn:
        assert (origin(conn), origin(conn, "quiet")) == ((RUN, "ingest"), (RUN, "ingest"))
    publish(t, "quakes")
    with get_duckdb_connection(database="published") as conn:
        assert (origin(conn), origin(conn, "quiet")) == (("later", "clean"), None)
    restore(t, made.path)
    with get_duckdb_connection(read_only=True) as conn:
        assert origin(conn) == (RUN, "ingest")
    for name in ("DATAFLOW_RUN_ID", "DATAFLOW_STAGE", "DATAFLOW_WORKFLOW"):
        monkeypatch.delenv(name)
    with get_duckdb_connection(database="working") as conn:
        conn.execute("UPDATE quakes_raw.t SET b = 0")
    with get_duckdb_connection(database="working", read_only=True) as conn:
        assert (origin(conn), origin(conn, "quiet")) == ((None, None), (RUN, "ingest"))


def test_writes_of_two_nested_connections_do_not_conflict(t):
    with get_duckdb_connection() as outer:
        outer.execute("INSERT INTO quakes_raw.quiet VALUES (3)")
        with get_duckdb_connection() as inner:
            inner.execute("INSERT INTO quakes_raw.quiet VALUES (2)")
    with get_duckdb_connection(read_only=True) as conn:
        assert conn.execute("SELECT count(*) FROM quakes_raw.quiet").fetchone() == (3,)
        assert origin(conn, "quiet") == (RUN, "ingest")


@pytest.mark.slow
def test_a_table_written_over_and_over_does_not_make_the_record_grow(t):
    for number in range(150):
        conn = get_duckdb_connection()
        conn.execute(f"INSERT INTO quakes_raw.t VALUES ({number + 10}, 1)")
        conn.close()
    with get_duckdb_connection(read_only=True) as conn:
        assert conn.execute("SELECT count(*) FROM _dataflow.table_origins").fetchone()[0] < 110


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
    assert compare(in_run, "events") == Writes(["quakes_raw.events"], undeclared=[], missing=[])


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
