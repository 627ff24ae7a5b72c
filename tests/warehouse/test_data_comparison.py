"""Two databases compared: rows by key or as multisets, columns, profiles, samples, limits."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from dataflow.base.sql import TableName, quote
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse.compare import WITHOUT_KEY, compare_tables
from dataflow.warehouse.comparison import DataComparison, Limits, TableComparison
from dataflow.warehouse.layout import FILE_NAME, Layout
from dataflow.warehouse.publish import publish, published_kept, published_path

T = TableName("q_raw", "t")
ENDLESS = "range(10_000_000_000_000)"
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a database file by statements; `name` tells it from others."""

    def make(name: str, *statements: str, frame: pd.DataFrame | None = None) -> Path:
        path = tmp_path / name / FILE_NAME
        path.parent.mkdir(exist_ok=True)
        with duckdb.connect(path) as connection:
            connection.execute("CREATE SCHEMA q_raw; CREATE SCHEMA q_staging")
            for statement in statements:
                connection.execute(statement)
            if frame is not None:
                connection.execute("CREATE TABLE q_raw.t AS FROM frame")
        return path

    return make


def one(old: Path | None, new: Path, *key: str, table: TableName = T, **more) -> TableComparison:
    compared = compare_tables(old, new, [table], {table: key} if key else None, **more)
    return compared.tables[0]


def random_frames(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two frames of which some rows are equal, with a key of two columns."""
    choose = random.Random(seed)

    def frame(rows: int) -> pd.DataFrame:
        keys = choose.sample([(a, b) for a in range(9) for b in "xyz"], rows)
        return pd.DataFrame(
            {
                "a": pd.array([a for a, _ in keys], "Int64"),
                "b": [b for _, b in keys],
                "n": pd.array([choose.choice([1, 2, None]) for _ in keys], "Int64"),
                "s": pd.array([choose.choice(["", "u", None]) for _ in keys], "string"),
                "f": [choose.choice([0.5, float("nan"), float("inf")]) for _ in keys],
            }
        )

    return frame(choose.randrange(1, 27)), frame(choose.randrange(1, 27))


@pytest.mark.parametrize("seed", range(12))
def test_rows_are_compared_by_key_as_pandas_would(make, seed):
    """Rows added, removed, changed, and in which columns, are those that pandas finds."""
    old, new = random_frames(seed)
    found = one(make("old", frame=old), make("new", frame=new), "a", "b")

    both = old.merge(new, on=["a", "b"], how="outer", indicator=True)
    matched = both[both["_merge"] == "both"]
    differs = pd.DataFrame(
        {
            name: [
                not (pd.isna(x) and pd.isna(y)) and (pd.isna(x) or pd.isna(y) or x != y)
                for x, y in zip(matched[f"{name}_x"], matched[f"{name}_y"], strict=True)
            ]
            for name in ("n", "s", "f")
        }
    )
    assert found.added == (both["_merge"] == "right_only").sum()
    assert found.removed == (both["_merge"] == "left_only").sum()
    assert found.changed == differs.any(axis=1).sum()
    by_column = {column.name: column.changed for column in found.columns}
    assert by_column == {"a": 0, "b": 0, **differs.sum().to_dict()}
    assert len(found.changed_rows) == min(found.changed, 20)


@pytest.mark.parametrize("seed", range(6))
def test_rows_without_a_key_are_counted_as_multisets(make, seed):
    """A row that occurs twice and then three times counts as one added."""
    frames = [frame[["n", "s", "f"]] for frame in random_frames(seed)]
    found = one(make("old", frame=frames[0]), make("new", frame=frames[1]))

    old, new = (Counter(map(str, frame.itertuples(index=False, name=None))) for frame in frames)
    assert (found.added, found.removed) == ((new - old).total(), (old - new).total())
    assert found.changed is None
    assert found.notes == (WITHOUT_KEY,)


EVERY_TYPE = {
    "Größe": "i",
    'say "so"': "'n' || i % 3",
    "<b>Ü space": "i % 2 = 0",
    "D": "DATE '2020-01-01' + i::INTEGER",
    "forever": "CASE WHEN i = 1 THEN 'infinity'::TIMESTAMP ELSE TIMESTAMP '2020-01-01' END",
    "ns": "TIMESTAMP_NS '2020-01-01 00:00:00.000000001'",
    "zone": "TIMESTAMPTZ '2020-01-01 00:00:00+02' + to_seconds(i)",
    "time": "TIME '12:00:00'",
    "timetz": "'12:00:00+01'::TIMETZ",
    "gap": "to_days(i::INTEGER)",
    "struct": "{'a': i, 'b': [i]}",
    "list": "[i, NULL]",
    "array": "[i, 2, 3]::INTEGER[3]",
    "map": "map {'x': i}",
    "union": "union_value(num := i)",
    "json": """('{"a": ' || i || '}')::JSON""",
    "blob": "('\\x00<b>' || i)::BLOB",
    "bits": "'101'::BIT",
    "decimal": "(i / 3)::DECIMAL(38, 10)",
    "huge": "170141183460469231731687303715884105727 - i",
    "unsigned": "18446744073709551615::UBIGINT",
    "wide": "CASE WHEN i = 0 THEN -1.7e308 ELSE 1.7e308 END",
    "odd": "CASE i WHEN 1 THEN 'nan'::DOUBLE WHEN 2 THEN 'inf'::DOUBLE ELSE i END",
    "single": "i::FLOAT / 3",
    "enum": "'x'::ENUM('x', 'y')",
    "uuid": "('00000000-0000-0000-0000-00000000000' || i % 10)::UUID",
    "nothing": "NULL::INTEGER",
    "text": "repeat('ä', 50000) || i",
}


def every_type(change: str = "") -> str:
    columns = ", ".join(f"{value} AS {quote(name)}" for name, value in EVERY_TYPE.items())
    changed = "".join(
        f"UPDATE q_raw.t SET {quote(name)} = NULL WHERE id = 4;"
        for name in EVERY_TYPE
        if change and name != "nothing"
    )
    return f"CREATE TABLE q_raw.t AS SELECT i AS id, {columns} FROM range(10) r(i); {changed}"


def test_values_of_every_type_are_compared_and_profiled(make):
    """One changed row is found in each column, whatever its name and type; equal ones are equal."""
    old, same, new = make("a", every_type()), make("b", every_type()), make("c", every_type("x"))

    assert not one(old, same, "id").has_changed
    found = one(old, new, "id")
    assert found.summary == "10 rows: 1 changed"
    changed = {column.name: column.changed for column in found.columns}
    assert changed == dict.fromkeys(EVERY_TYPE, 1) | {"nothing": 0, "id": 0}
    assert {len(row.changes) for row in found.changed_rows} == {len(EVERY_TYPE) - 1}
    for column in found.columns:
        assert column.old is not None
        assert column.new is not None
        if column.name not in ("nothing", "id"):
            assert (column.old.nulls, column.new.nulls) == (0, 1)
    assert one(old, new).summary == "10 rows: 1 added, 1 removed"
    assert (
        DataComparison.from_json(json.loads(json.dumps(compare_tables(old, new, [T]).as_json())))
        .tables[0]
        .columns[3]
        .name
        == "<b>Ü space"
    )


def test_columns_may_have_any_name_that_sql_uses_here(make):
    """Names of relations and columns that the comparison itself uses are no trouble in a table."""
    names = ["old", "new", "this", "keys", "k0", "c0", "h", "o", "n", "side", "value", "_n", "_keys",
             "_k0", "_c0", "_old", "_h", "select", "count"]  # fmt: skip
    columns = ", ".join(f"{{'x': i % 2, 'k0': {{}}}} AS {quote(name)}" for name in names)
    words = ", ".join(f"'w' || i % 2 AS {quote(f'{name}_')}" for name in [*names, "", "_valu"])
    statement = f"CREATE TABLE q_raw.t AS SELECT i AS id, {columns}, {words} FROM range(5) r(i)"
    old = make("old", statement.replace("{}", "1"))
    new = make("new", statement.replace("{}", "2"))

    found = one(old, new, "id")
    assert found.notes == ()
    assert found.summary == "5 rows: 5 changed"
    assert {change[0] for change in found.changed_rows[0].changes} == set(names)
    assert one(old, new).summary == "5 rows: 5 added, 5 removed"
    assert found.columns[-1].new.top == (("w0", 3), ("w1", 2))
    assert one(old, new, "id", "_k0").summary == "5 rows: 5 added, 5 removed"


def test_a_profile_is_what_the_column_holds(make):
    """Nulls, different values, ends, quantiles, bins and most frequent values are exact."""
    statement = (
        "CREATE TABLE q_raw.t AS SELECT CASE WHEN i < 100 THEN i END AS n, 'w' || i % 2 AS w, "
        "CASE i WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN '-inf'::DOUBLE ELSE i END AS f, "
        "DATE '2020-01-01' + (i % 4)::INTEGER AS d FROM range({}) r(i)"
    )
    old, new = make("old", statement.format(110)), make("new", statement.format(60))
    found = {column.name: column for column in one(old, new).columns}

    number = found["n"]
    assert (number.old.nulls, number.old.distinct, number.new.distinct) == (10, 100, 60)
    assert (number.old.min, number.old.max, number.old.quantiles[2]) == ("0", "99", "49")
    assert (number.new.low, number.new.high) == ("0", "99")
    assert (sum(number.old.bins), sum(number.new.bins)) == (100, 60)
    assert set(number.old.bins) <= {4, 5, 6}
    assert number.new.bins[13:] == (0,) * 7
    assert (found["f"].new.infinite, found["f"].new.min, found["f"].new.low) == (2, "-inf", "2.0")
    assert found["w"].new.top == (("w0", 30), ("w1", 30))
    assert (found["d"].old.min, found["d"].old.max) == ("2020-01-01", "2020-01-04")
    assert sum(found["d"].old.bins) == 110


def test_columns_are_matched_by_name_and_their_changes_named(make):
    """Added, removed and retyped columns are found; another order or case is no change."""
    old = make("old", "CREATE TABLE q_raw.t AS SELECT 1 AS id, 2 AS Number, 'x' AS gone, 3 AS k")
    new = make(
        "new", "CREATE TABLE q_raw.t AS SELECT '2' AS number, 1::BIGINT AS ID, NULL AS k, 1 AS more"
    )
    found = one(old, new, "id")

    changes = {c.name: (c.schema_change, c.old_type, c.new_type) for c in found.schema_changes}
    assert changes == {
        "number": ("retyped", "INTEGER", "VARCHAR"),
        "ID": ("retyped", "INTEGER", "BIGINT"),
        "more": ("added", None, "INTEGER"),
        "gone": ("removed", "VARCHAR", None),
    }
    # The same value in another type is no other value.
    assert found.changed_rows[0].changes == (("k", "3", None),)
    assert found.summary == "1 row: 1 changed, 4 columns different"


def test_tables_that_are_new_gone_or_empty(make):
    """A new table's rows are added, a gone one's removed; empty tables are compared, too."""
    old = make(
        "old", "CREATE TABLE q_raw.gone AS SELECT 1 AS a; CREATE TABLE q_raw.e (a INTEGER)",
        "CREATE TABLE q_raw.f (a INTEGER)",
    )  # fmt: skip
    new = make("new", "CREATE TABLE q_raw.new AS SELECT 5 AS a", "CREATE TABLE q_raw.e (a INTEGER)",
               "CREATE TABLE q_raw.f AS SELECT 1 AS a")  # fmt: skip
    found = {t.name: t for t in compare_tables(old, new, [], schemas=["Q_RAW"]).tables}

    assert {name: table.summary for name, table in found.items()} == {
        "e": "0 rows: unchanged",
        "f": "0 → 1 row: 1 added",
        "gone": "gone: had 1 row",
        "new": "new: 1 row",
    }
    assert found["new"].added_rows[0].values == ("5",)
    assert found["gone"].columns[0].old.max == "1"
    first = compare_tables(None, new, [TableName("q_raw", "new")]).tables[0]
    assert (first.added, first.old_rows, first.columns[0].new.distinct) == (1, None, 1)


def test_a_key_that_is_not_one_is_not_used(make):
    """Where a key occurs twice, or is NULL twice, rows count as multisets, and the note says why."""
    rows = "CREATE TABLE q_raw.t AS SELECT * FROM (VALUES {}) v(id, n)"
    good = make("good", rows.format("(1, 1), (2, 2), (NULL, 3)"))
    double = make("double", rows.format("(1, 1), (1, 2), (NULL, 3), (NULL, 4)"))
    changed = make("changed", rows.format("(1, 1), (2, 2), (NULL, 9)"))

    found = one(good, double, "id")
    assert (found.added, found.removed, found.key) == (2, 1, ())
    assert found.notes == (
        "Compared without its key (id), which is not unique: 2 values occur more than once.",
    )
    assert one(good, changed, "id").changed_rows[0].key == (None,)
    assert "not all of it is in both" in one(good, changed, "other").notes[0]


def test_last_digits_of_floating_point_numbers_do_not_count(make):
    """A sum that was added up in another order is no change; the next larger step is."""
    value = "CREATE TABLE q_raw.t AS SELECT 1 AS id, {}::DOUBLE AS f, {}::FLOAT AS g"
    old = make("old", value.format("0.1 + 0.2", 0.3))
    noise = make("noise", value.format("0.30000000000000004", 0.30000002))
    other = make("other", value.format("0.3000000001", 0.3))

    assert not one(old, noise, "id").has_changed
    assert not one(old, noise).has_changed
    assert one(old, other, "id").changed == 1
    assert one(old, other).added == 1


def test_big_tables_are_compared_by_the_same_sample_of_both(make):
    """Counts stay exact, the sample is said, and rows that are equal are never found different."""
    table = "CREATE TABLE q_raw.t AS SELECT i AS id, i % 7 AS n FROM range({}, {}) r(i)"
    old, new = make("old", table.format(0, 20_000)), make("new", table.format(1_000, 20_500))
    for key in (["id"], []):
        found = one(old, new, *key, limits=Limits(rows=2_000))
        assert (found.old_rows, found.new_rows) == (20_000, 19_500)
        assert 1_700 < found.old_compared < 2_300
        assert found.old_compared - found.removed == found.new_compared - found.added
        assert 60 < found.removed < 140
        assert found.changed in (0, None)
        assert f"sample of {max(found.old_compared, found.new_compared):,} of 20,000 rows" in (
            found.summary
        )
        again = one(old, new, *key, limits=Limits(rows=2_000))
        assert again == found


def test_views_are_computed_from_their_own_file(make):
    """A view names its catalog; both files have the same one, and each view reads its own."""
    statements = (
        "CREATE VIEW q_staging.v AS SELECT id, n * 2 AS n FROM dataflow.q_raw.t",
        "CREATE VIEW q_staging.w AS SELECT * FROM dataflow.q_staging.v",
    )
    old = make("old", "CREATE TABLE q_raw.t AS SELECT 1 AS id, 1 AS n", *statements)
    new = make("new", "CREATE TABLE q_raw.t AS SELECT 1 AS id, 5 AS n", *statements)
    view = TableName("q_staging", "w")

    found = one(old, new, "id", table=view)
    assert (found.kind, found.changed_rows[0].changes) == ("view", (("n", "2", "10"),))


def test_a_comparison_ends_in_time_and_small_tables_come_first(make):
    """What is left when the time is over is not compared, and says so; the rest is complete."""
    slow = f"CREATE VIEW q_staging.slow AS SELECT count(*) AS n FROM {ENDLESS}"
    gone = "CREATE VIEW q_staging.late AS SELECT 1 AS a"
    small = "CREATE TABLE q_raw.t AS SELECT {} AS id"
    old = make("old", small.format(1), slow, gone)
    new = make("new", small.format(2), slow, gone)

    started = time.monotonic()
    found = compare_tables(old, new, [], schemas=["q_staging", "q_raw"], limits=Limits(seconds=3))
    assert time.monotonic() - started < 60
    by_name = {table.name: table for table in found.tables}
    assert by_name["t"].summary == "1 row: 1 added, 1 removed"
    assert by_name["t"].columns[0].new.max == "2"
    assert by_name["slow"].added is None
    assert by_name["slow"].notes == ("Not compared: the time for that (3 s) was over.",)


def test_a_cancel_ends_a_comparison_at_once(make):
    """A signal is no failure of the comparison: it leaves it as what it raised, without waiting."""
    path = make("old", f"CREATE VIEW q_staging.slow AS SELECT count(*) AS n FROM {ENDLESS}")

    started = time.monotonic()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        compare_tables(path, path, [], schemas=["q_staging"], limits=Limits(seconds=60))
    assert time.monotonic() - started < 55


def test_a_table_that_cannot_be_read_leaves_the_others(project):
    """A big table whose file is gone is noted; the tables beside it are compared."""
    for number in (1, 2):
        with get_duckdb_connection(database="working", project=project) as conn:
            conn.execute("CREATE SCHEMA IF NOT EXISTS quakes")
            conn.execute(f"CREATE OR REPLACE TABLE quakes.big AS SELECT {number} AS a, 1 AS id")
            conn.execute(f"CREATE OR REPLACE TABLE quakes.other AS SELECT {number} AS a")
        with published_kept(project) as old:
            publish(project, "quakes", big_table_bytes=0, keep_seconds=0)
            if number == 2:
                break
    new = published_path(project)
    both = [TableName("quakes", "big"), TableName("quakes", "other")]
    with published_kept(project):
        found = compare_tables(old, new, both, {both[0]: ["id"]})
        assert [table.summary for table in found.tables] == [
            "1 row: 1 changed",
            "1 row: 1 added, 1 removed",
        ]
        assert found.tables[0].kind == "table"
        next(Layout.of(project).data.glob("quakes.big.*")).unlink()
        found = compare_tables(old, new, both)
    assert found.tables[0].notes[0].startswith("The earlier one cannot be read: IO Error")
    assert found.tables[1].added == 1


def test_the_key_given_to_write_table_is_kept_with_what_is_published(in_run, monkeypatch):
    """By it, or by a primary key, versions are compared; a window of `delete+insert` is no key."""
    monkeypatch.setenv("DATAFLOW_WORKFLOW", "quakes")

    def write(number: int) -> None:
        frame = pd.DataFrame({"id": [1, 2], "Day": [1, 1], "n": [number, 0]})
        with get_duckdb_connection() as conn:
            write_table(conn, frame, "keyed", key=["Day", "id"])
            write_table(conn, frame, "window", mode="delete+insert", key="Day")
            conn.execute(
                "CREATE TABLE IF NOT EXISTS quakes_raw.own (id INTEGER PRIMARY KEY, n INTEGER)"
            )
            conn.execute(f"INSERT OR REPLACE INTO quakes_raw.own VALUES (1, {number})")
        publish(in_run, "quakes", keep_seconds=60)

    write(1)
    old = published_path(in_run)
    write(2)
    found = compare_tables(old, published_path(in_run), [], schemas=["quakes_raw"]).tables
    assert {table.name: (table.key, table.changed) for table in found} == {
        "keyed": (("Day", "id"), 1),
        "own": (("id",), 1),
        "window": ((), None),
    }


def test_what_is_shown_of_a_value_is_cleaned_and_cut(make):
    """A secret is found before its text is cut, also at the edge of what is shown."""
    row = "CREATE TABLE q_raw.t AS SELECT 1 AS id, repeat('x', 195) || 'hunter2hunter2' || {} AS s"
    old, new = make("old", row.format("'a'")), make("new", row.format("repeat('b', 9999)"))

    def clean(text: str) -> str:
        return text.replace("hunter2hunter2", "${KEY}")

    compared = compare_tables(old, new, [T], {T: ["id"]}, clean=clean)
    text = json.dumps(compared.as_json())
    assert "hunter" not in text
    change = compared.tables[0].changed_rows[0].changes[0]
    assert change[2].endswith("${KE…")
    assert len(change[2]) == 200


def test_a_killed_comparison_leaves_nothing_for_long(make, tmp_path):
    """The next comparison removes what a killed one put aside, and leaves that of a living one."""
    path = make("old", every_type())
    scratch = tmp_path / "scratch"
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    dead = scratch / f"{int(ended.stdout)}-killed"
    alive = scratch / f"{os.getppid()}-other"
    for folder in (dead, alive):
        folder.mkdir(parents=True)

    assert compare_tables(path, path, [T], scratch=scratch).changed == ()
    assert list(scratch.iterdir()) == [alive]


@pytest.mark.parametrize("data", [{}, [], {"tables": 1}, {"tables": [], "format": 99}])
def test_what_is_no_comparison_is_refused(data):
    """A file that somebody else wrote, or a later version, is an error to handle."""
    with pytest.raises(ValueError, match=r"validation error|format 99"):
        DataComparison.from_json(data)
