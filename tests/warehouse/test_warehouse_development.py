"""The development copy: each person's own, and everything in it a table to write to."""

from __future__ import annotations

import os
import shutil

import pytest

from dataflow.errors import WarehouseLocked
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.development import reset_development
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.publish import publish

HOLD = """
import time, ipykernel
from dataflow.shared.db import get_duckdb_connection
connection = get_duckdb_connection()
connection.execute("SELECT 1")
print("open", flush=True)
time.sleep(60)
"""

# What works in a run has to work by hand.
WRITES = (
    "INSERT INTO quakes.big (id, value) VALUES (1000, 'new')",
    "INSERT OR REPLACE INTO quakes.big (id, value) VALUES (1, 'replaced')",
    "UPDATE quakes.big SET value = 'changed' WHERE id = 2",
    "DELETE FROM quakes.big WHERE id = 3",
    "ALTER TABLE quakes.big ADD COLUMN note VARCHAR",
    "CREATE OR REPLACE TABLE quakes.again AS SELECT 1 AS id",
    "TRUNCATE quakes.again",
    "DROP TABLE quakes.again",
)


def make_big(project, rows: int = 1000) -> None:
    """A table with a key and types that Parquet lacks, one without, and a view on both."""
    with get_duckdb_connection(database="working", project=project) as conn:
        conn.execute("DROP SCHEMA IF EXISTS quakes CASCADE")
        conn.execute("CREATE SCHEMA quakes")
        conn.execute(
            "CREATE TABLE quakes.big (id BIGINT PRIMARY KEY, value VARCHAR, huge HUGEINT, "
            "place STRUCT(lat DOUBLE, tags VARCHAR[]), kind ENUM ('a', 'b'))"
        )
        conn.execute(
            "INSERT INTO quakes.big SELECT i, 'v' || i, 2::HUGEINT ** 100 + i, "
            f"{{lat: i / 2, tags: ['x', NULL]}}, 'b' FROM range({rows}) r(i)"
        )
        conn.execute(f"CREATE TABLE quakes.again AS SELECT i AS id FROM range({rows}) r(i)")
        conn.execute("COMMENT ON TABLE quakes.big IS 'all of them'")
        conn.execute("COMMENT ON COLUMN quakes.big.kind IS 'which'")
        conn.execute(
            "CREATE VIEW quakes.both AS SELECT b.* FROM quakes.big b JOIN quakes.again USING (id)"
        )


def publish_big(project, rows: int = 1000) -> None:
    make_big(project, rows)
    publish(project, "quakes", keep_seconds=0, big_table_bytes=1)


def test_every_statement_works_on_big_tables_as_in_a_run(project, rows):
    publish_big(project)
    for database in ("development", "working"):
        before = rows("SELECT * FROM quakes.both ORDER BY id", database)
        assert before == rows("SELECT * FROM quakes.both ORDER BY id", "published")
        assert rows("SELECT comment FROM duckdb_tables() WHERE table_name = 'big'", database) == [
            ("all of them",)
        ]
        for statement in WRITES:
            with get_duckdb_connection(database=database, project=project) as conn:
                conn.execute(statement)
        with get_duckdb_connection(database=database, project=project) as conn:
            write_table(
                conn,
                [{"id": 1001, "value": "x"}],
                "quakes.big",
                mode="upsert",
                key="id",
                on_schema_change="add_columns",
            )
        written = "SELECT id, value FROM quakes.big WHERE id IN (1, 2, 3) OR id >= 1000 ORDER BY id"
        assert rows(written, database) == [
            (1, "replaced"), (2, "changed"), (1000, "new"), (1001, "x"),
        ]  # fmt: skip


def test_the_copy_needs_no_file_of_a_version(project, rows):
    publish_big(project)
    assert rows("SELECT count(*) FROM quakes.big", "development") == [(1000,)]
    publish_big(project, 2000)
    assert rows("SELECT count(*) FROM quakes.big", "development") == [(1000,)]
    assert {path.name for path in Layout.of(project).data.iterdir()} == {
        "quakes.again.2.parquet", "quakes.big.2.parquet",
    }  # fmt: skip


def test_everyone_has_a_copy_of_their_own(project, rows, python, monkeypatch):
    publish_big(project)
    notebook = {"JPY_SESSION_NAME": "/notebooks/quakes/explore.ipynb"}
    holder = python.start_and_wait_for("open", HOLD, **notebook)
    with pytest.raises(WarehouseLocked) as caught:
        reset_development(project, timeout=0.2)
    assert caught.value.message.startswith(
        f"your development copy is held by notebook explore.ipynb, run by hand (pid {holder.pid}, "
    )
    mine = Layout.of(project).development
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with get_duckdb_connection(project=project, timeout=5) as conn:
        conn.execute("DELETE FROM quakes.big")
    assert reset_development(project, timeout=5) == 1
    assert mine.parent.with_name("54321").is_dir()
    assert mine.exists()


def test_the_copy_that_all_had_together_goes_to_the_one_who_made_it(project, rows, monkeypatch):
    publish_big(project)
    layout = Layout.of(project)
    shared = layout.shared_development
    shared.parent.mkdir()
    current = layout.current.resolve()
    shutil.copyfile(current / shared.name, shared)
    shutil.copyfile(current / "version.json", shared.with_name("version.json"))
    with monkeypatch.context() as somebody_else:
        somebody_else.setattr(os, "geteuid", lambda: 54321)
        assert rows("SELECT count(*) FROM quakes.big", "development") == [(1000,)]
    publish_big(project, 2000)
    with get_duckdb_connection(project=project) as conn:
        assert conn.execute("DELETE FROM quakes.big").fetchone() == (1000,)
    assert not shared.exists()
    publish_big(project, 3000)
    assert {path.name[-9] for path in layout.data.iterdir()} == {"3"}
