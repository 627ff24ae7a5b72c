"""Publish: readers see complete, audited versions, and old ones go when nobody reads them."""

from __future__ import annotations

import contextlib
import datetime
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import duckdb
import pytest
from projects import wait_until

from dataflow.base.sql import TableName
from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse import lock, versions
from dataflow.warehouse.backup import back_up, restore
from dataflow.warehouse.connect import Connection
from dataflow.warehouse.inspect import check, tables
from dataflow.warehouse.layout import FILE_NAME, Layout
from dataflow.warehouse.publish import Published, publish, published_path

KEEP_OPEN = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("open", flush=True)
time.sleep(60)
"""

READ_TWICE = """
import pathlib, sys, time
from dataflow.shared.db import get_duckdb_connection
with get_duckdb_connection(read_only=True) as conn:
    print(conn.execute("SELECT count(*) FROM quakes.big").fetchone()[0], flush=True)
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.01)
    print(conn.execute("SELECT count(*) FROM quakes.big").fetchone()[0])
"""


def publish_now(project: Project, workflow: str = "quakes", **options) -> Published:
    return publish(project, workflow, keep_seconds=0, **options)


def version_numbers(project: Project) -> list[int]:
    return [version.number for version in versions.all_versions(Layout.of(project))]


def data_files(project: Project) -> list[str]:
    return sorted(path.name for path in Layout.of(project).data.iterdir())


def test_nothing_is_published_at_first(project):
    assert published_path(project) is None


def test_readers_see_what_was_published_and_not_what_was_written_since(project, sql, rows):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    published = publish_now(project)
    sql("INSERT INTO quakes.t VALUES (2)")
    assert rows("FROM quakes.t", "published") == [(1,)]
    assert published.version == 1
    assert published.path == published_path(project)
    assert published.schemas == ["quakes_raw", "quakes_staging", "quakes"]
    assert published.bytes_copied > 0


def test_only_the_workflows_schemas_are_taken_the_others_stay_as_last_published(project, sql, rows):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 'old' AS a")
    sql("CREATE SCHEMA storms; CREATE TABLE storms.t AS SELECT 'old' AS a")
    publish_now(project, "quakes", schemas=["quakes"])
    assert rows("SELECT schema_name FROM duckdb_schemas() WHERE schema_name = 'storms'",
                "published") == []  # fmt: skip
    publish_now(project, "storms", schemas=["storms"])
    sql("UPDATE quakes.t SET a = 'unaudited'", "UPDATE storms.t SET a = 'new'")
    publish_now(project, "storms", schemas=["storms"])
    both = rows("SELECT q.a, s.a FROM quakes.t q, storms.t s", "published")
    assert both == [("old", "new")]


def test_what_a_workflow_no_longer_has_is_gone_from_the_next_version(project, sql, rows):
    sql(
        "CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.a AS SELECT 1; CREATE TABLE quakes.b AS SELECT 1"
    )
    publish_now(project)
    sql("DROP TABLE quakes.a")
    publish_now(project)
    assert [table.name for table in tables(project)] == ["b"]


def test_a_failed_publish_leaves_readers_with_the_last_good_version(project, sql, rows):
    sql(
        "CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a; CREATE SCHEMA other"
    )
    publish_now(project)
    sql("CREATE TABLE other.t AS SELECT 1 AS a; INSERT INTO quakes.t VALUES (2)")
    sql("CREATE VIEW quakes.v AS FROM other.t")
    with pytest.raises(WarehouseError, match=r"view quakes\.v does not work on what is published"):
        publish_now(project, schemas=["quakes"])
    assert rows("FROM quakes.t", "published") == [(1,)]
    assert sorted(p.name for p in Layout.of(project).published.iterdir()) == [
        "1",
        "current",
        "locks",
    ]


def test_views_work_in_the_published_version_whatever_their_order(project, sql, rows):
    sql(
        "CREATE SCHEMA IF NOT EXISTS quakes_raw; CREATE SCHEMA IF NOT EXISTS quakes_staging; CREATE SCHEMA IF NOT EXISTS quakes",
        "CREATE TABLE quakes_raw.events AS SELECT 7 AS id",
        'CREATE VIEW quakes_staging.b AS FROM "dataflow"."quakes_raw"."events"',
        "CREATE VIEW quakes.a AS SELECT id + 1 AS id FROM quakes_staging.b",
        "CREATE MACRO quakes.twice(x) AS x * 2",
        "CREATE VIEW quakes.m AS SELECT quakes.twice(id) AS id FROM quakes.a",
    )
    publish_now(project)
    assert rows("FROM quakes.m", "published") == [(16,)]
    with contextlib.closing(duckdb.connect(str(published_path(project)), read_only=True)) as raw:
        assert raw.execute("FROM quakes.a").fetchall() == [(8,)]


RICH = """
    CREATE TABLE quakes.rich AS SELECT i AS id, TIMESTAMPTZ '2024-01-01 00:00:00+01' AS at,
        12345678901234567.89::DECIMAL(38, 2) AS price, {'a': i, 'b': ['x', NULL]} AS place,
        MAP {'k': [i]} AS tags, 'strong'::ENUM('weak', 'strong') AS band,
        170141183460469231731687303715884105727::HUGEINT AS huge, INTERVAL '1 microsecond' AS wait,
        '00:00:01+02'::TIMETZ AS clock, '{"a": 1}'::JSON AS doc, [i, 1, 2]::INTEGER[3] AS triple,
        [i::HUGEINT, NULL, 2::HUGEINT ** 120] AS sums, [INTERVAL '1 microsecond', NULL]::INTERVAL[2] AS waits,
        {'a "b"': [{'c': 7::UHUGEINT}], 'n': NULL::HUGEINT, 't': '01:00:00+02'::TIMETZ} AS deep,
        MAP {2::HUGEINT ** 120: INTERVAL 1 DAY} AS by_size, NULL::HUGEINT[] AS none,
        [{'bits': '101'::BIT, 'at': TIMESTAMP_S '2024-01-01 00:00:00'}] AS marks
    FROM range(3) t(i)"""
PLAIN = """
    CREATE TABLE quakes.plain AS SELECT i AS id, TIMESTAMPTZ '2024-01-01 00:00:00+01' AS at,
        12345678901234567.89::DECIMAL(38, 2) AS price, {'a': i, 'b': ['x', NULL]} AS place,
        MAP {'k': [i]} AS tags, 'x' AS text, DATE '2024-01-01' AS day, 1::UTINYINT AS tiny,
        uuid() AS uuid, TIMESTAMP_NS '2024-01-01 00:00:00.123456789' AS exact, NULL::BLOB AS raw
    FROM range(3) t(i)"""


@pytest.mark.parametrize("big_table_bytes", [0, 2**40], ids=["as files", "inside"])
def test_types_and_values_are_the_same_as_in_the_working_warehouse(
    project, sql, rows, big_table_bytes
):
    sql("CREATE SCHEMA IF NOT EXISTS quakes", RICH, PLAIN)
    publish_now(project, big_table_bytes=big_table_bytes)
    for table in ("quakes.rich", "quakes.plain"):
        kinds = f"SELECT column_name, column_type FROM (DESCRIBE {table})"
        for query in (kinds, f"FROM {table} ORDER BY id"):
            assert rows(query, "published") == rows(query)
    last = "SELECT plain.at, price, place FROM quakes.plain WHERE id = 2"
    at, price, place = rows(last, "published")[0]
    assert at == datetime.datetime(2023, 12, 31, 23, tzinfo=datetime.UTC)
    assert price == Decimal("12345678901234567.89")
    assert place == {"a": 2, "b": ["x", None]}
    if big_table_bytes == 0:
        assert data_files(project) == ["quakes.plain.1.parquet", "quakes.rich.1.parquet"]


def test_a_big_table_that_no_file_can_hold_stays_inside(project, sql, rows):
    sql(
        "CREATE SCHEMA IF NOT EXISTS quakes",
        "CREATE TABLE quakes.u AS SELECT union_value(n := 1::HUGEINT) AS u",
        "CREATE TABLE quakes.e AS SELECT ['it''s'::ENUM ('it''s', 'x')] AS e",
    )
    publish_now(project, big_table_bytes=0)
    assert rows("SELECT u.n, e FROM quakes.u, quakes.e", "published") == [(1, ["it's"])]
    assert not Layout.of(project).data.exists()


def test_keys_and_comments_are_kept(project, sql, rows):
    sql(
        "CREATE SCHEMA IF NOT EXISTS quakes",
        "CREATE TABLE quakes.t (id INTEGER PRIMARY KEY, g INTEGER GENERATED ALWAYS AS (id + 1))",
        "CREATE TABLE quakes.k (id INTEGER PRIMARY KEY)",
        "INSERT INTO quakes.t VALUES (1)",
        "COMMENT ON TABLE quakes.k IS 'One row''s key'; COMMENT ON COLUMN quakes.k.id IS 'the key'",
    )
    publish_now(project)
    assert rows("FROM quakes.t", "published") == [(1, 2)]
    found = rows("SELECT comment FROM duckdb_tables() WHERE table_name = 'k'", "published")
    assert found == [("One row's key",)]
    with get_duckdb_connection(project=project) as conn:
        conn.execute("INSERT OR REPLACE INTO quakes.k VALUES (1), (1)")


# Versions


def test_old_versions_go_when_nobody_reads_them(project, sql):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    publish_now(project)
    reader = Connection(project, "published")
    assert reader.execute("FROM quakes.t").fetchone() == (1,)
    for _ in range(3):
        publish_now(project)
    assert version_numbers(project) == [1, 4]
    assert reader.execute("FROM quakes.t").fetchone() == (1,)
    reader.close()
    publish_now(project)
    assert version_numbers(project) == [5]


def test_a_version_that_a_foreign_program_reads_stays(project, sql, python):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    first = publish_now(project)
    foreign = python.start_and_wait_for("open", KEEP_OPEN, first.path)
    publish_now(project)
    assert version_numbers(project) == [1, 2]
    foreign.kill()
    foreign.wait()
    publish_now(project)
    assert version_numbers(project) == [3]


def test_a_superseded_version_stays_a_moment_for_those_about_to_open_it(project, sql):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    publish(project, "quakes")
    path = published_path(project)
    publish(project, "quakes")
    assert path is not None
    assert path.exists()


def test_a_version_cannot_be_written_by_mistake(project, sql):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    assert publish_now(project).path.stat().st_mode & 0o222 == 0


def test_what_a_dead_publish_left_is_cleared(project, sql, rows):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    publish_now(project)
    published = Layout.of(project).published
    (published / ".draft-2").mkdir()
    (published / ".draft-2" / "dataflow.duckdb").write_bytes(b"half")
    shutil.copytree(published / "1", published / "2")  # died before the swap
    (published / "data").mkdir(exist_ok=True)
    (published / "data" / "quakes.big.2.parquet").write_bytes(b"half")
    (published / ".current").symlink_to("2")
    assert rows("FROM quakes.t", "published") == [(1,)]
    assert publish_now(project).version == 2
    assert sorted(path.name for path in published.iterdir()) == ["2", "current", "data", "locks"]
    assert data_files(project) == []
    assert all(finding.status == "ok" for finding in check(project))


def test_the_metadata_says_which_run_published_which_schema(project, sql):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    publish_now(project, run_id="20240101T000000-abcd")
    path = publish_now(project, "storms", run_id="other").path
    metadata = json.loads((path.parent / "version.json").read_text())
    assert metadata["schemas"]["quakes"]["run_id"] == "20240101T000000-abcd"
    assert metadata["schemas"]["quakes"]["version"] == 1
    assert metadata["schemas"]["storms_raw"]["workflow"] == "storms"


def test_publishing_again_and_again_does_not_let_the_file_grow(project, sql):
    sql(
        "CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT random() AS a FROM range(200000)"
    )
    sizes = [publish_now(project).path.stat().st_size for _ in range(8)]
    assert max(sizes) <= 2.5 * sizes[0]


# Big tables


def make_big(sql, rows: int = 1000, schema: str = "quakes") -> None:
    sql(
        f"CREATE SCHEMA IF NOT EXISTS {schema}",
        f"CREATE OR REPLACE TABLE {schema}.big AS SELECT i AS id, 'v{rows}' AS value "
        f"FROM range({rows}) t(i)",
    )


def test_a_big_table_is_a_file_that_later_versions_share(project, sql, rows):
    make_big(sql)
    sql("CREATE VIEW quakes.tenth AS FROM quakes.big WHERE id % 10 = 0")
    publish_now(project, big_table_bytes=1)
    sql("CREATE SCHEMA storms; CREATE TABLE storms.t AS SELECT 1 AS a")
    cheap = publish_now(project, "storms", big_table_bytes=2**30)
    assert data_files(project) == ["quakes.big.1.parquet"]
    assert cheap.version == 2
    assert rows("SELECT count(*) FROM quakes.tenth", "published") == [(100,)]
    big = next(table for table in tables(project) if table.name == "big")
    assert (big.kind, big.rows) == ("table", 1000)
    make_big(sql, 2000)
    publish_now(project, big_table_bytes=1)
    assert data_files(project) == ["quakes.big.3.parquet"]
    assert rows("SELECT count(*) FROM quakes.tenth", "published") == [(200,)]


def test_writers_do_not_wait_while_big_tables_are_written(project, sql, rows):
    make_big(sql, 2_000_000)
    done = publish_now(project, big_table_bytes=1)
    assert done.seconds_locked < done.seconds / 2
    assert rows("SELECT count(*), max(id) FROM quakes.big", "published") == [(2_000_000, 1_999_999)]
    assert sorted(path.name for path in done.path.parent.iterdir()) == [
        "dataflow.duckdb",
        "readers.lock",
        "version.json",
    ]
    small = publish_now(project, "storms", big_table_bytes=1)
    assert small.bytes_copied < 2**20


def test_a_missing_lock_of_readers_stops_nobody(project, sql, python, tmp_path):
    make_big(sql)
    first = publish_now(project, big_table_bytes=1)
    first.path.with_name("readers.lock").unlink()
    read = """
        from dataflow.shared.db import get_duckdb_connection
        with get_duckdb_connection(read_only=True) as conn:
            print(conn.execute("SELECT count(*) FROM quakes.big").fetchone()[0])
    """
    assert python.finish(python.start(read)) == "1000\n"
    reader = python.start_and_wait_for("1000", READ_TWICE, tmp_path / "go on")
    first.path.with_name("readers.lock").unlink()
    make_big(sql, 2000)
    with ThreadPoolExecutor() as pool:
        with lock.write_lock(project):
            waiting = pool.submit(publish_now, project, big_table_bytes=1)
            queue = lock.lock_folder(project.warehouse) / "queue"
            wait_until(lambda: any(queue.iterdir()))
            first.path.with_name("readers.lock").unlink(missing_ok=True)
        assert waiting.result().version == 2
    assert publish_now(project, big_table_bytes=1).version == 3
    assert version_numbers(project) == [1, 3]
    assert python.finish(python.start(read)) == "2000\n"
    (tmp_path / "go on").touch()
    assert python.finish(reader) == "1000\n"
    publish_now(project, big_table_bytes=1)
    assert version_numbers(project) == [4]


def test_a_project_that_was_moved_says_so_and_publishing_mends_it(project, sql, tmp_path):
    make_big(sql)
    publish_now(project, big_table_bytes=1)
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(project.root / ".duckdb", moved / ".duckdb")
    shutil.copy(project.root / "pyproject.toml", moved)
    there = Project(moved)
    with pytest.raises(WarehouseError, match="the project was moved") as caught:
        get_duckdb_connection(project=there, database="published").execute("SELECT 1")
    assert "dataflow db publish" in caught.value.hint
    publish(there, "another_workflow")
    with get_duckdb_connection(project=there, database="published") as conn:
        assert conn.execute("SELECT count(*) FROM quakes.big").fetchone() == (1000,)


def test_of_a_shared_schema_only_the_workflows_own_tables_are_published(project, sql, rows):
    sql(
        "CREATE SCHEMA shared; CREATE TABLE shared.mine AS SELECT 1 AS a",
        "CREATE TABLE shared.half_done AS SELECT 1 AS a; CREATE VIEW shared.seen AS FROM shared.mine",
    )
    publish_now(
        project,
        "quakes",
        schemas=[],
        shared=[TableName("shared", "mine"), TableName("shared", "seen")],
    )
    assert {table.name for table in tables(project)} == {"mine", "seen"}

    publish_now(project, "storms", schemas=[], shared=[TableName("shared", "half_done")])
    sql("UPDATE shared.half_done SET a = 2; UPDATE shared.mine SET a = 3")
    publish_now(
        project, "quakes", schemas=[], shared=[TableName("shared", "mine")], big_table_bytes=1
    )

    assert rows("SELECT h.a, s.a FROM shared.half_done h, shared.seen s", "published") == [(1, 3)]


def test_a_declared_table_that_is_gone_is_not_taken_from_readers(project, sql, rows):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    publish_now(project)
    sql("DROP TABLE quakes.t")

    with pytest.raises(WarehouseError, match=r"readers would lose quakes\.t") as caught:
        publish_now(
            project,
            declared={TableName("quakes", "t"): None, TableName("quakes", "never_made"): None},
        )

    assert "--changed" in (caught.value.hint or "")
    assert rows("FROM quakes.t", "published") == [(1,)]
    assert version_numbers(project) == [1]


def test_a_big_table_of_any_type_is_a_file_and_comes_back_as_it_was(project, sql, rows):
    columns = {
        "huge": "170141183460469231731687303715884105727::HUGEINT",
        "enum": "'b'::ENUM ('a', 'b')",
        "span": "INTERVAL '1 month 2 days 3.000004 seconds'",
        "in_seconds": "TIMESTAMP_S '2024-01-02 03:04:05'",
        "in_ms": "TIMESTAMP_MS '2024-01-02 03:04:05.678'",
        "in_ns": "TIMESTAMP_NS '2024-01-02 03:04:05.678901234'",
        "zoned": "TIMETZ '12:00:00+01:30'",
        "bits": "'10101'::BIT",
        "id": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID",
        "money": "1.50::DECIMAL(20, 2)",
    }
    listed = ", ".join(f'{value} AS "{name}"' for name, value in columns.items())
    sql(f"CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT {listed} UNION ALL SELECT "
        + ", ".join("NULL" for _ in columns))  # fmt: skip
    before = rows("DESCRIBE quakes.t"), rows("SELECT * FROM quakes.t ORDER BY id")

    publish_now(project, big_table_bytes=1)

    assert data_files(project) == ["quakes.t.1.parquet"]
    after = (
        rows("DESCRIBE quakes.t", "published"),
        rows("SELECT * FROM quakes.t ORDER BY id", "published"),
    )
    assert [row[:2] for row in before[0]] == [row[:2] for row in after[0]]
    assert before[1] == after[1]


def test_names_that_mean_something_elsewhere_are_only_names(project, sql, rows):
    sql(
        "CREATE SCHEMA source; CREATE TABLE source.sales1 AS SELECT 'other' AS a",
        """CREATE TABLE source."sales[1]" AS SELECT 'right' AS a""",
        """CREATE TABLE source."g/km" AS SELECT 1 AS a""",
        "CREATE TYPE source.mood AS ENUM ('glad', 'sad')",
        """CREATE VIEW source.moods AS SELECT 'sad'::"source".mood AS mood""",
        "CREATE MACRO source.add(a, b) AS a + b, (a, b, c) AS a + b + c",
    )
    publish_now(project, "source", schemas=["source"], big_table_bytes=1)

    assert rows("""SELECT a FROM source."sales[1]" """, "published") == [("right",)]
    assert rows("""SELECT a FROM source."g/km" """, "published") == [(1,)]
    assert rows("SELECT mood::VARCHAR FROM source.moods", "published") == [("sad",)]
    assert rows("SELECT source.add(1, 2), source.add(1, 2, 3)", "published") == [(3, 6)]


def test_who_waits_for_another_publish_keeps_no_writer_waiting(project, sql):
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS SELECT 1 AS a")
    publish_now(project)
    published = Layout.of(project).published / FILE_NAME
    held = lock.acquire(published, holder="another publish")
    waiting = threading.Thread(target=publish_now, args=(project,))
    waiting.start()
    wait_until(lambda: any((lock.lock_folder(published) / "queue").iterdir()))
    sql("INSERT INTO quakes.t VALUES (2)")
    assert waiting.is_alive()
    held.release()
    waiting.join(60)

    assert not waiting.is_alive()
    assert version_numbers(project)[-1] == 2


CHANGES = [
    "INSERT INTO quakes.t VALUES (1000, 0.5, 'new')",
    "UPDATE quakes.t SET b = -b WHERE i = 7",
    "UPDATE quakes.t SET b = 991.5 - b WHERE i IN (8, 983)",  # the same values in other places
    "DELETE FROM quakes.t WHERE i = 3",
    "ALTER TABLE quakes.t ADD COLUMN d INTEGER DEFAULT 4",
    "ALTER TABLE quakes.t DROP COLUMN d",
    "COMMENT ON TABLE quakes.t IS 'said of it'",
    "COMMENT ON COLUMN quakes.t.b IS 'said of b'",
    "CREATE OR REPLACE TABLE quakes.t AS SELECT i, b, c FROM quakes.t ORDER BY b",
    "DROP TABLE quakes.t; CREATE VIEW quakes.t AS SELECT 1 AS i, 2.0 AS b, 'x' AS c",
    "DROP VIEW quakes.t; CREATE TABLE quakes.t AS SELECT 1 AS i, 2.0 AS b, 'y' AS c",
]
ALL_OF_T = (
    "FROM quakes.t ORDER BY ALL",
    "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = 't' "
    "AND database_name = current_catalog() AND schema_name = 'quakes' ORDER BY ALL",
    "SELECT comment FROM duckdb_tables() WHERE table_name = 't' AND comment IS NOT NULL "
    "UNION ALL SELECT comment FROM duckdb_views() WHERE view_name = 't' AND comment IS NOT NULL",
)


@pytest.mark.parametrize("big_table_bytes", [1, 2**40], ids=["as files", "inside"])
@pytest.mark.parametrize("knows_nothing", [False, True], ids=["with DATAFLOW", "without"])
def test_readers_get_whatever_was_written_by_whomever(
    project, sql, rows, big_table_bytes, knows_nothing
):
    sql(
        "CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t AS "
        "SELECT i, i + 0.25::DOUBLE AS b, 'v' || i AS c FROM range(1000) t(i)",
        "CREATE TABLE quakes.other AS FROM quakes.t",
    )
    publish_now(project, big_table_bytes=big_table_bytes)
    other = rows("FROM quakes.other")
    for statement in CHANGES:
        if knows_nothing:
            # Twice, so that what is written comes to where the rows were that were published.
            with contextlib.closing(duckdb.connect(str(project.warehouse))) as raw:
                raw.execute("CREATE OR REPLACE TABLE quakes.more AS FROM range(1000); CHECKPOINT")
                raw.execute(statement)
        else:
            sql(statement)
        publish_now(project, big_table_bytes=big_table_bytes)
        for query in ALL_OF_T:
            assert rows(query, "published") == rows(query), statement
        assert rows("FROM quakes.other", "published") == other


def test_values_that_changed_places_are_published_though_their_blocks_look_the_same(
    project, sql, rows
):
    """A block's checksum does not depend on the order of what is in it."""
    sql("CREATE SCHEMA IF NOT EXISTS quakes; CREATE TABLE quakes.t (i BIGINT, b DOUBLE)")
    fill = (
        "DELETE FROM quakes.t; CHECKPOINT; INSERT INTO quakes.t SELECT i, CASE i WHEN {} THEN pi() "
        "WHEN {} THEN exp(1) ELSE sin(i) END FROM range(3000) t(i); CHECKPOINT"
    )
    for first, second in [(1, 2), (2, 1)] * 2:
        with contextlib.closing(duckdb.connect(str(project.warehouse))) as raw:
            raw.execute(fill.format(first, second))
        publish_now(project)
        query = "SELECT b FROM quakes.t WHERE i IN (1, 2) ORDER BY i"
        assert rows(query, "published") == rows(query)


def test_a_table_that_nobody_wrote_keeps_its_file(project, sql, rows):
    make_big(sql)
    sql(
        "CREATE TABLE quakes.keyed (i INTEGER PRIMARY KEY); INSERT INTO quakes.keyed VALUES (1)",
        "CREATE TYPE quakes.mood AS ENUM ('glad', 'sad'); CREATE MACRO quakes.twice(a) AS 2 * a",
        "CREATE TABLE quakes.small AS SELECT 1 AS a, 'sad'::quakes.mood AS mood",
        "CREATE VIEW quakes.seen AS SELECT quakes.twice(a) AS a FROM quakes.small",
        "COMMENT ON TABLE quakes.big IS 'big'",
    )
    publish_now(project, big_table_bytes=1)
    files = data_files(project)
    sql("UPDATE quakes.small SET a = 2; CREATE VIEW quakes.more AS FROM quakes.seen")
    publish_now(project, big_table_bytes=1)

    assert data_files(project) == [name.replace("small.1", "small.2") for name in files]
    assert rows("SELECT count(*), sum(id) FROM quakes.big", "published") == [(1000, 499500)]
    assert rows("SELECT m.a, s.mood FROM quakes.more m, quakes.small s", "published") == [
        (4, "sad")
    ]
    assert rows("SELECT comment FROM duckdb_views() WHERE view_name = 'big'", "published") == [("big",)]  # fmt: skip

    (Layout.of(project).data / "quakes.big.1.parquet").unlink()
    sql("CREATE OR REPLACE MACRO quakes.twice(a) AS 20 * a; DROP VIEW quakes.more")
    publish_now(project, big_table_bytes=1)
    assert rows("SELECT count(*) FROM quakes.big", "published") == [(1000,)]
    assert rows("FROM quakes.seen", "published") == [(40,)]


def test_a_copy_of_a_version_whose_tables_kept_their_files_has_real_tables(project, sql, rows):
    make_big(sql)
    publish_now(project, big_table_bytes=1)
    sql("CREATE TABLE quakes.small AS SELECT 1 AS a")
    publish_now(project, big_table_bytes=1)
    with get_duckdb_connection(project=project, database="development") as conn:
        conn.execute("DELETE FROM quakes.big WHERE id >= 10")
        assert conn.execute("SELECT count(*) FROM quakes.big, quakes.small").fetchone() == (10,)
    assert rows("SELECT count(*) FROM quakes.big", "published") == [(1000,)]


def test_a_restored_warehouse_is_published_as_it_was_when_it_was_backed_up(project, sql, rows):
    make_big(sql)
    sql("CREATE TABLE quakes.small AS SELECT 1 AS a")
    back_up(project, project.root / "backup.duckdb")
    sql("UPDATE quakes.big SET value = 'other'; UPDATE quakes.small SET a = 2")
    publish_now(project, big_table_bytes=1)
    restore(project, project.root / "backup.duckdb")
    publish_now(project, big_table_bytes=1)
    assert rows("SELECT DISTINCT value, a FROM quakes.big, quakes.small", "published") == [
        ("v1000", 1)
    ]
