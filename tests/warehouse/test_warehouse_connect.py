"""Connections: where one is, what happens at the end of a block, who is in the way."""

from __future__ import annotations

import gc
import time

import duckdb
import pandas as pd
import pytest

from dataflow.errors import ConfigurationError, WarehouseError, WarehouseLocked
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.development import reset_development
from dataflow.warehouse.lock import read_holder
from dataflow.warehouse.publish import publish

KEEP_OPEN = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(float(sys.argv[2]))
"""


def make_events(project: Project, ids=(1, 2), value: str = "working") -> None:
    with get_duckdb_connection(database="working", project=project) as conn:
        rows = [{"id": number, "value": value} for number in ids]
        write_table(conn, rows, "quakes_raw.events", mode="upsert", key="id")


# Which database


def test_in_a_run_it_is_the_working_warehouse(in_run):
    with get_duckdb_connection() as conn:
        assert repr(conn) == "<DuckDB connection: working warehouse, .duckdb/dataflow.duckdb>"
        conn.execute("CREATE SCHEMA s")
    assert in_run.warehouse.exists()


def test_in_a_run_read_only_sees_the_working_warehouse_and_cannot_write(in_run):
    make_events(in_run)
    with get_duckdb_connection(read_only=True) as conn:
        assert "working warehouse, .duckdb/dataflow.duckdb, read only" in repr(conn)
        assert conn.execute("SELECT count(*) FROM quakes_raw.events").fetchone() == (2,)
    conn = get_duckdb_connection(read_only=True)
    with pytest.raises(duckdb.Error, match="read-only"):
        conn.execute("CREATE TABLE t AS SELECT 1")
    conn.close()


def test_by_hand_it_is_a_development_copy_of_what_is_published(project, rows):
    make_events(project)
    publish(project, "quakes")
    make_events(project, ids=(3,))
    with get_duckdb_connection() as conn:
        assert f"development copy, {project.relative(conn.path)}>" in repr(conn)
        assert conn.execute("SELECT count(*) FROM dataflow.quakes_raw.events").fetchone() == (2,)
        write_table(conn, [{"id": 99, "value": "mine"}], "events", mode="append")
    assert rows("SELECT max(id) FROM quakes_raw.events", "development") == [(99,)]
    assert rows("SELECT max(id) FROM quakes_raw.events", "working") == [(3,)]
    assert rows("SELECT max(id) FROM quakes_raw.events", "published") == [(2,)]


def test_by_hand_with_nothing_published_the_development_copy_is_empty(project):
    with get_duckdb_connection() as conn:
        assert write_table(conn, [{"id": 1}], "events") == 1
    assert not project.warehouse.exists()


def test_the_development_copy_can_be_made_anew(project, rows):
    make_events(project)
    publish(project, "quakes")
    with get_duckdb_connection() as conn:
        conn.execute("DELETE FROM quakes_raw.events")
    assert reset_development(project) == 1
    assert rows("SELECT count(*) FROM quakes_raw.events", "development") == [(2,)]


def test_by_hand_read_only_is_the_published_version(project):
    make_events(project)
    publish(project, "quakes")
    publish(project, "quakes")
    with get_duckdb_connection(read_only=True) as conn:
        assert "published version 2, .duckdb/published/2/dataflow.duckdb, read only" in repr(conn)
        with pytest.raises(duckdb.Error, match="read-only"):
            conn.execute("DELETE FROM quakes_raw.events")


def test_reading_what_is_not_published_yet_says_what_to_do(project):
    conn = get_duckdb_connection(read_only=True)
    assert "published version (none yet)" in repr(conn)
    with pytest.raises(WarehouseError, match="nothing is published yet") as caught:
        conn.execute("SELECT 1")
    assert "dataflow workflow run" in caught.value.hint


def test_the_working_warehouse_has_to_be_asked_for_in_words_by_hand(project):
    with get_duckdb_connection(database="working") as conn:
        assert "working warehouse" in repr(conn)


def test_a_warehouse_of_another_name_is_refused(project, monkeypatch, tmp_path):
    monkeypatch.setenv("DATAFLOW_WAREHOUSE", str(tmp_path / "other.duckdb"))
    with pytest.raises(ConfigurationError, match=r"must be called dataflow\.duckdb"):
        get_duckdb_connection()


def test_a_warehouse_elsewhere_keeps_everything_beside_it(in_run, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere" / "dataflow.duckdb"
    monkeypatch.setenv("DATAFLOW_WAREHOUSE", str(elsewhere))
    make_events(in_run)
    assert publish(in_run, "quakes").path.is_relative_to(elsewhere.parent)
    assert not (tmp_path / ".duckdb").exists()


# What DuckDB's own connection can do


def test_local_data_frames_can_be_queried_by_name(in_run):
    with get_duckdb_connection() as conn:
        local = pd.DataFrame({"a": [1, 2, 3]})  # noqa: F841 - DuckDB finds it
        assert conn.execute("SELECT sum(a) FROM local").fetchone() == (6,)
        assert conn.sql("FROM local WHERE a > 1").df()["a"].tolist() == [2, 3]


def test_times_are_in_utc_whatever_the_machine_says(in_run, python):
    code = """
        from dataflow.shared.db import get_duckdb_connection
        with get_duckdb_connection() as conn:
            print(conn.execute("SELECT TIMESTAMPTZ '2024-01-01 00:00:00+00' :: VARCHAR").fetchone())
    """
    assert "2024-01-01 00:00:00+00" in python.finish(python.start(code, TZ="Asia/Tokyo"))


# The end of a block


def test_an_error_rolls_the_whole_block_back(in_run, rows):
    make_events(in_run)

    def fail() -> None:
        with get_duckdb_connection() as conn:
            conn.execute("DELETE FROM quakes_raw.events")
            conn.execute("SELECT no_such_column FROM quakes_raw.events")

    with pytest.raises(duckdb.BinderException):
        fail()
    assert rows("SELECT count(*) FROM quakes_raw.events") == [(2,)]
    assert read_holder(in_run.warehouse) is None


def test_a_failure_that_was_swallowed_does_not_pass_for_success(in_run, rows):
    make_events(in_run)

    def swallow() -> None:
        with get_duckdb_connection() as conn:
            conn.execute("DELETE FROM quakes_raw.events")
            with pytest.raises(duckdb.Error):
                conn.execute("BEGIN TRANSACTION")

    with pytest.raises(WarehouseError, match="nothing was written"):
        swallow()
    assert rows("SELECT count(*) FROM quakes_raw.events") == [(2,)]


def test_a_block_may_commit_by_itself(in_run, rows):
    with get_duckdb_connection() as conn:
        conn.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
        conn.commit()
    assert rows("FROM s.t") == [(1,)]


def test_without_a_with_block_statements_commit_and_close_frees_the_lock(in_run, rows):
    conn = get_duckdb_connection()
    assert not in_run.warehouse.exists()  # opens on first use
    conn.execute("CREATE SCHEMA s")
    conn.execute("CREATE TABLE s.t AS SELECT 1 AS a")
    assert read_holder(in_run.warehouse) is not None
    conn.close()
    conn.close()
    assert read_holder(in_run.warehouse) is None
    assert rows("FROM s.t") == [(1,)]
    conn.execute("INSERT INTO s.t VALUES (2)")  # and opens again when used again
    conn.close()
    assert rows("SELECT count(*) FROM s.t") == [(2,)]


def test_a_forgotten_connection_is_closed_by_the_garbage_collector(in_run):
    conn = get_duckdb_connection()
    conn.execute("CREATE SCHEMA s")
    del conn
    gc.collect()
    assert read_holder(in_run.warehouse) is None


def test_a_process_that_ends_with_an_open_connection_loses_nothing(in_run, python, rows):
    code = """
        from dataflow.shared.db import get_duckdb_connection
        conn = get_duckdb_connection()
        conn.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a")
    """
    python.finish(python.start(code))
    assert rows("FROM s.t") == [(1,)]


def test_a_result_that_keeps_the_file_open_is_reported(in_run, caplog):
    with get_duckdb_connection() as conn:
        reader = conn.execute("FROM range(1000000)").to_arrow_reader(10)
        reader.read_next_batch()
    assert "stays open: a relation or Arrow reader" in caplog.text
    del reader


# Others


def test_an_idle_reader_blocks_neither_writers_nor_publishing(project):
    make_events(project)
    publish(project, "quakes")
    with get_duckdb_connection(read_only=True) as idle:
        assert idle.execute("SELECT count(*) FROM quakes_raw.events").fetchone() == (2,)
        make_events(project, ids=(3,))
        publish(project, "quakes", keep_seconds=0)
        publish(project, "quakes", keep_seconds=0)
        assert idle.execute("SELECT count(*) FROM quakes_raw.events").fetchone() == (2,)
        assert idle.path.exists()


def test_a_foreign_program_is_waited_for(project, python):
    make_events(project)
    python.start_and_wait_for("open", KEEP_OPEN, project.warehouse, 1.5)
    with get_duckdb_connection(database="working", timeout=60) as conn:
        assert conn.execute("SELECT count(*) FROM quakes_raw.events").fetchone() == (2,)


@pytest.mark.parametrize(
    "use",
    [
        lambda project: get_duckdb_connection(database="working", timeout=0.3).execute("SELECT 1"),
        lambda project: publish(project, "quakes", timeout=0.3),
    ],
    ids=["connect", "publish"],
)
def test_a_foreign_program_that_does_not_let_go_is_named(project, python, use):
    make_events(project)
    foreign = python.start_and_wait_for("open", KEEP_OPEN, project.warehouse, 600)
    started = time.monotonic()
    with pytest.raises(WarehouseLocked) as caught:
        use(project)
    assert time.monotonic() - started < 50
    assert f"(pid {foreign.pid})" in str(caught.value)
    assert f"kill {foreign.pid}" in caught.value.hint
    assert read_holder(project.warehouse) is None
