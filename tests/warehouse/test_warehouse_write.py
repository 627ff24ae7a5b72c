"""write_table: what goes in comes out, or nothing does."""

from __future__ import annotations

import datetime
import decimal
from decimal import Decimal

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from projects import write_files

from dataflow.errors import ConfigurationError, WarehouseError
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.connect import Connection


def frame(*ids: int, value: str = "new") -> pd.DataFrame:
    return pd.DataFrame({"id": list(ids), "value": [value] * len(ids)})


def content(conn: Connection, table: str = "quakes_raw.events") -> list[tuple]:
    return conn.execute(f"FROM {table} ORDER BY ALL").fetchall()


def types(conn: Connection, table: str = "quakes_raw.events") -> dict[str, str]:
    return {row[0]: row[1] for row in conn.execute(f"DESCRIBE {table}").fetchall()}


def test_a_bare_name_is_a_table_of_the_workflows_raw_schema(conn):
    assert write_table(conn, frame(1, 2), "events") == 2
    assert content(conn, "dataflow.quakes_raw.events") == [(1, "new"), (2, "new")]


def test_a_name_with_a_schema_goes_to_that_schema(conn):
    write_table(conn, frame(1), "other_raw.things")
    assert content(conn, "other_raw.things") == [(1, "new")]


def test_replace_leaves_only_the_new_rows(conn):
    write_table(conn, frame(1, 2, 3, value="old"), "events")
    assert write_table(conn, frame(9), "events") == 1
    assert content(conn) == [(9, "new")]


def test_append_adds_rows(conn):
    write_table(conn, frame(1), "events", mode="append")
    assert write_table(conn, frame(1, 2), "events", mode="append") == 2
    assert [row[0] for row in content(conn)] == [1, 1, 2]


def test_upsert_replaces_rows_with_the_same_key_and_inserts_the_others(conn):
    write_table(conn, frame(1, 2, value="old"), "events", mode="upsert", key=["id"])
    assert write_table(conn, frame(2, 3), "events", mode="upsert", key="id") == 2
    assert content(conn) == [(1, "old"), (2, "new"), (3, "new")]


def test_upsert_works_when_the_key_is_all_there_is(conn):
    for _ in range(2):
        write_table(conn, frame(1, 2)[["id"]], "events", mode="upsert", key="id")
    assert content(conn) == [(1,), (2,)]


def test_delete_and_insert_replaces_whole_windows(conn):
    old = pd.DataFrame({"day": [1, 1, 2], "n": [10, 11, 20]})
    new = pd.DataFrame({"day": [1, 3], "n": [99, 30]})
    write_table(conn, old, "events")
    assert write_table(conn, new, "events", mode="delete+insert", key=["day"]) == 2
    assert content(conn) == [(1, 99), (2, 20), (3, 30)]


@pytest.mark.parametrize("mode", ["replace", "append", "upsert", "delete+insert"])
def test_an_empty_frame_makes_a_table_and_deletes_only_with_replace(conn, mode):
    empty = frame(1).iloc[:0]
    assert write_table(conn, empty, "fresh", mode=mode, key=["id"]) == 0
    assert types(conn, "quakes_raw.fresh") == {"id": "BIGINT", "value": "VARCHAR"}
    write_table(conn, frame(1), "events")
    write_table(conn, empty, "events", mode=mode, key=["id"])
    assert len(content(conn)) == (0 if mode == "replace" else 1)


def test_a_table_without_any_value_yet_takes_values_later(conn):
    write_table(conn, pd.DataFrame({"id": [1], "note": [None]}), "events")
    write_table(conn, pd.DataFrame({"id": [2], "note": ["text"]}), "events", mode="append")
    write_table(conn, pd.DataFrame({"id": [3], "note": [None]}), "events", mode="append")
    assert content(conn) == [(1, None), (2, "text"), (3, None)]


RICH = pa.table(
    {
        "at": pa.array(
            [datetime.datetime(2024, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC)],
            pa.timestamp("us", tz="Europe/Berlin"),
        ),
        "naive": pa.array([datetime.datetime(2024, 3, 1, 12)], pa.timestamp("us")),
        "day": pa.array([datetime.date(2024, 3, 1)]),
        "price": pa.array([Decimal("12345678.90")], pa.decimal128(18, 2)),
        "tags": pa.array([["a", "b"]]),
        "place": pa.array([{"lat": 1.5, "names": ["x"]}]),
        "small": pa.array([7], pa.int16()),
        "flag": pa.array([True]),
        "raw": pa.array([b"\x00\xff"]),
    }
)
RICH_TYPES = {
    "at": "TIMESTAMP WITH TIME ZONE",
    "naive": "TIMESTAMP",
    "day": "DATE",
    "price": "DECIMAL(18,2)",
    "tags": "VARCHAR[]",
    "place": 'STRUCT(lat DOUBLE, "names" VARCHAR[])',
    "small": "SMALLINT",
    "flag": "BOOLEAN",
    "raw": "BLOB",
}


@pytest.mark.parametrize(
    "data",
    [
        RICH,
        RICH.to_batches()[0],
        RICH.to_reader,
        RICH.to_pylist(),
        lambda: duckdb.connect().from_arrow(RICH),
    ],
    ids=["table", "batch", "reader", "dicts", "relation of another connection"],
)
def test_types_and_values_are_kept_whatever_the_data_came_as(conn, data):
    write_table(conn, data() if callable(data) else data, "events", key=["naive"])
    expected = dict(RICH_TYPES)
    if isinstance(data, list):
        expected |= {"small": "BIGINT", "price": "DECIMAL(10,2)"}  # Python says no more
    assert types(conn) == expected
    (row,) = content(conn)
    assert row[0] == datetime.datetime(2024, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC)
    assert row[3] == decimal.Decimal("12345678.90")
    assert row[4:6] == (["a", "b"], {"lat": 1.5, "names": ["x"]})


def test_pandas_types_are_kept(conn):
    data = pd.DataFrame(
        {
            "at": pd.to_datetime(["2024-03-01 12:00"]).tz_localize("Europe/Berlin"),
            "n": pd.array([None], dtype="Int64"),
            "band": pd.Categorical(["strong"], categories=["weak", "strong"]),
            "items": [[1, 2]],
            "price": [Decimal("1.50")],
        }
    )
    write_table(conn, data, "events")
    assert types(conn)["at"] == "TIMESTAMP WITH TIME ZONE"
    assert types(conn)["n"] == "BIGINT"
    at, n, band, items, price = content(conn)[0]
    assert at == datetime.datetime(2024, 3, 1, 11, tzinfo=datetime.UTC)
    assert (n, band, items, price) == (None, "strong", [1, 2], Decimal("1.50"))


def test_a_relation_may_read_the_table_with_a_key_that_it_replaces(conn):
    conn.execute("CREATE TABLE quakes_raw.keyed (id BIGINT PRIMARY KEY)")
    conn.execute("INSERT INTO quakes_raw.keyed VALUES (1), (2)")
    assert write_table(conn, conn.sql("FROM quakes_raw.keyed WHERE id > 1"), "keyed") == 1
    assert conn.execute("FROM quakes_raw.keyed").fetchall() == [(2,)]
    assert (
        conn.execute(
            "SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"
        ).fetchall()
        == []
    )


def test_a_relation_may_read_the_table_it_replaces(conn):
    write_table(conn, frame(1, 2, 3), "events")
    relation = conn.sql("SELECT * FROM quakes_raw.events WHERE id > 1")
    assert write_table(conn, relation, "events") == 2
    assert (
        conn.execute(
            "SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"
        ).fetchall()
        == []
    )
    assert [row[0] for row in content(conn)] == [2, 3]
    assert conn.execute("SELECT count(*) FROM duckdb_views() WHERE NOT internal").fetchone() == (0,)


def test_dicts_may_lack_keys_and_come_in_any_order(conn):
    write_table(conn, [{"a": 1}, {"b": "x", "a": None}], "events")
    assert content(conn) == [(1, None), (None, "x")]


def test_a_duckdb_connection_of_ones_own_works_with_a_full_name(tmp_path):
    with duckdb.connect() as raw:
        assert write_table(raw, frame(1), "s.t") == 1
        with pytest.raises(ConfigurationError, match="no workflow is known"):
            write_table(raw, frame(1), "t")


# Keys


def test_a_doubled_key_is_refused_with_examples(conn):
    write_table(conn, frame(1, value="old"), "events")
    with pytest.raises(WarehouseError, match=r"key id is not unique.*id=7 \(3 rows\)"):
        write_table(conn, frame(1, 7, 7, 7), "events", mode="upsert", key=["id"])
    assert content(conn) == [(1, "old")]


@pytest.mark.parametrize("mode", ["upsert", "delete+insert", "replace"])
def test_a_row_without_a_key_is_refused(conn, mode):
    data = pd.DataFrame({"id": ["a", None], "value": ["x", "y"]})
    with pytest.raises(WarehouseError, match="1 row without a key: NULL in id"):
        write_table(conn, data, "events", mode=mode, key=["id"])


def test_a_key_column_that_is_not_there_is_refused_with_the_nearest_name(conn):
    with pytest.raises(ConfigurationError) as caught:
        write_table(conn, frame(1), "events", mode="upsert", key=["vallue"])
    assert "Did you mean `value`?" in str(caught.value)


# Changed columns


def test_changed_columns_are_refused_and_listed_one_by_one(conn):
    write_table(conn, pd.DataFrame({"id": [1], "mag": [4.5], "place": ["x"]}), "events")
    changed = pd.DataFrame({"id": ["one"], "mag": [4.5], "depth": [10.0]})
    with pytest.raises(WarehouseError) as caught:
        write_table(conn, changed, "events", mode="append")
    text = str(caught.value)
    assert "+ depth DOUBLE" in text
    assert "- place VARCHAR" in text
    assert "~ id BIGINT → VARCHAR" in text
    assert "mag" not in text.replace("→", "")
    assert len(content(conn)) == 1


def test_columns_in_another_order_or_of_a_narrower_type_are_no_change(conn):
    write_table(conn, frame(1), "events")
    narrow = pa.table({"VALUE": ["x"], "id": pa.array([2], pa.int8())})
    write_table(conn, narrow, "events", mode="append")
    assert content(conn) == [(1, "new"), (2, "x")]
    write_table(conn, narrow, "events")
    assert types(conn) == {"id": "BIGINT", "value": "VARCHAR"}


def test_a_timestamp_that_gains_a_zone_is_a_change(conn):
    zoned = pd.DataFrame({"at": pd.to_datetime(["2024-01-01"], utc=True)})
    write_table(conn, zoned, "events")
    unzoned = pd.DataFrame({"at": pd.to_datetime(["2024-01-01"])})
    with pytest.raises(WarehouseError, match="TIMESTAMP WITH TIME ZONE → TIMESTAMP"):
        write_table(conn, unzoned, "events", mode="append")


def test_new_columns_can_be_allowed_and_missing_ones_stay(conn):
    write_table(conn, frame(1, 2, value="old"), "events")
    more = pd.DataFrame({"id": [2, 3], "depth": [10.0, 20.0]})
    write_table(conn, more, "events", mode="upsert", key="id", on_schema_change="add_columns")
    assert content(conn) == [(1, "old", None), (2, "old", 10.0), (3, None, 20.0)]
    write_table(conn, more, "events", on_schema_change="add_columns")
    assert content(conn) == [(2, None, 10.0), (3, None, 20.0)]


def test_a_changed_type_is_refused_even_where_new_columns_are_allowed(conn):
    write_table(conn, frame(1), "events")
    with pytest.raises(WarehouseError, match="~ id BIGINT → VARCHAR"):
        write_table(
            conn,
            pd.DataFrame({"id": ["a"], "value": ["x"]}),
            "events",
            on_schema_change="add_columns",
        )


def test_replacing_the_table_with_its_columns_can_be_allowed(conn):
    write_table(conn, frame(1), "events")
    write_table(conn, pd.DataFrame({"x": ["a"]}), "events", on_schema_change="replace")
    assert types(conn) == {"x": "VARCHAR"}
    with pytest.raises(ConfigurationError, match="would lose the rows"):
        write_table(conn, frame(1), "events", mode="append", on_schema_change="replace")


def test_replacing_gives_the_table_new_columns_unless_a_model_or_a_page_uses_the_old(conn):
    files = {
        "dbt/models/quakes/_sources.yml": "sources:\n- {name: q, schema: quakes_raw, tables: []}\n",
        "dbt/models/quakes/staging/stg_events.sql": "select * from {{ source('q', 'events') }}",
        "dbt/models/quakes/events.sql": "select * from {{ ref('stg_events') }}",
        "evidence/sources/quakes/shown.sql": "select * from quakes.events",
        "evidence/pages/quakes.md": "```sql a\nselect max(Mag) from quakes.shown\n```",
    }
    write_files(conn.project.root, files)
    write_table(conn, pd.DataFrame({"id": [1], "mag": [4.5], "place": ["x"]}), "events")

    write_table(conn, pd.DataFrame({"id": ["one"], "mag": [4.5], "depth": [10.0]}), "events")
    assert types(conn) == {"id": "VARCHAR", "mag": "DOUBLE", "depth": "DOUBLE"}

    changed = pd.DataFrame({"id": ["two"], "mag": ["4.5"]})
    with pytest.raises(WarehouseError) as caught:
        write_table(conn, changed, "events")
    text = str(caught.value)
    assert "~ mag DOUBLE → VARCHAR" in text
    assert "mag is used in evidence/pages/quakes.md" in text
    assert "id is used" not in text
    assert content(conn) == [("one", 4.5, 10.0)]
    write_table(conn, changed, "events", on_schema_change="replace")
    assert types(conn) == {"id": "VARCHAR", "mag": "VARCHAR"}


def test_a_table_with_constraints_keeps_them_when_replaced(conn):
    conn.execute("CREATE SCHEMA IF NOT EXISTS quakes_raw")
    conn.execute("CREATE TABLE quakes_raw.events (id BIGINT PRIMARY KEY, value VARCHAR)")
    write_table(conn, frame(1, 2), "events")
    write_table(conn, frame(2, 3), "events")
    assert content(conn) == [(2, "new"), (3, "new")]
    found = conn.execute("SELECT constraint_type FROM duckdb_constraints()").fetchall()
    assert ("PRIMARY KEY",) in found


# All or nothing


def test_an_error_later_in_the_block_takes_the_write_back(in_run, rows):
    with get_duckdb_connection() as conn:
        write_table(conn, frame(1), "events")

    def write_and_fail() -> None:
        with get_duckdb_connection() as conn:
            write_table(conn, frame(2), "events", mode="append")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert rows("FROM quakes_raw.events") == [(1, "new")]


def test_without_a_with_block_each_write_is_a_transaction(in_run, rows):
    conn = get_duckdb_connection()
    write_table(conn, frame(1), "events")
    with pytest.raises(WarehouseError):
        write_table(conn, frame(2, 2), "events", mode="upsert", key="id")
    write_table(conn, frame(3), "events", mode="append")
    conn.close()
    assert rows("SELECT id FROM quakes_raw.events ORDER BY 1") == [(1,), (3,)]


def test_a_value_that_breaks_a_constraint_is_one_clear_error(in_run, rows):
    with get_duckdb_connection() as conn:
        conn.execute("CREATE SCHEMA IF NOT EXISTS quakes_raw")
        conn.execute("CREATE TABLE quakes_raw.events (id BIGINT CHECK (id > 0), value VARCHAR)")
    with pytest.raises(WarehouseError, match="CHECK constraint"), get_duckdb_connection() as conn:
        write_table(conn, frame(-1), "events", mode="append")
    assert rows("FROM quakes_raw.events") == []


# Mistakes in the call


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("a.b.c", "too many parts"),
        ("my table", "cannot be a table's name"),
        ("1st", "cannot be a table's name"),
        ("", "cannot be a table's name"),
        ('x"; DROP TABLE y; --', "cannot be a table's name"),
        ("main.events", "reserved"),
        ("information_schema.events", "reserved"),
        (7, "a table's name is text"),
    ],
)
def test_a_bad_table_name_is_refused_early(conn, table, says):
    with pytest.raises(ConfigurationError, match=says):
        write_table(conn, frame(1), table)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"mode": "merge"}, "mode='merge' is unknown"),
        ({"mode": "upsert"}, "needs a key"),
        ({"mode": "delete+insert"}, "needs a key"),
        ({"on_schema_change": "ignore"}, "is unknown"),
    ],
)
def test_a_bad_call_is_refused(conn, arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        write_table(conn, frame(1), "events", **arguments)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (42, "cannot write int"),
        ("text", "cannot write str"),
        ([], "empty list"),
        ([{"a": 1}, 2], "item 1 of the list is int"),
        ([{"a": 1}, {"a": "x"}], "values of column 'a' do not fit"),
        (pd.DataFrame(), "no columns"),
        (pd.DataFrame({0: [1]}), "0 cannot be a column's name"),
        (pd.DataFrame([[1, 2]], columns=["a", "A"]), "columns occur twice.*: a"),
        (frame(1).set_index("id"), "index .id. would get lost"),
    ],
)
def test_data_that_cannot_be_a_table_is_refused(conn, data, says):
    with pytest.raises((ConfigurationError, WarehouseError), match=says):
        write_table(conn, data, "events")


def test_a_view_is_not_overwritten(conn):
    conn.execute(
        "CREATE SCHEMA IF NOT EXISTS quakes_raw; CREATE VIEW quakes_raw.events AS SELECT 1 AS id"
    )
    with pytest.raises(WarehouseError, match=r"quakes_raw.events is a view"):
        write_table(conn, frame(1), "events")


def test_a_read_only_connection_does_not_write(in_run: Project):
    with (
        get_duckdb_connection(read_only=True) as conn,
        pytest.raises(WarehouseError, match="the connection is read only"),
    ):
        write_table(conn, frame(1), "events")
