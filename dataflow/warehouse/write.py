"""Write a data frame, an Arrow table or a relation as a table of the warehouse."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from dataflow.base.sql import TableName, filled, quote
from dataflow.errors import ConfigurationError, WarehouseError
from dataflow.warehouse.columns import Difference, Readers, refuse_used
from dataflow.warehouse.connect import Connection
from dataflow.warehouse.failures import translated
from dataflow.warehouse.incoming import Incoming, check_key, prepare
from dataflow.warehouse.names import parse_table
from dataflow.warehouse.provenance import note_key

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Mode = Literal["replace", "append", "upsert", "delete+insert"]
OnSchemaChange = Literal["fail", "add_columns", "replace"]

# DuckDB casts these by itself, but a value changes its meaning.
_CHANGES_MEANING = {("TIMESTAMP", "TIMESTAMP WITH TIME ZONE")}


def write_table(
    conn: Connection | DuckDBPyConnection,
    data: Any,
    table: str,
    *,
    mode: Mode = "replace",
    key: Sequence[str] | str = (),
    on_schema_change: OnSchemaChange | None = None,
) -> int:
    """Write data as a table, all or nothing; creates a missing table or schema.

    Part of the connection's transaction if there is one, else a transaction of its own.

    Args:
        conn: from `get_duckdb_connection()`.
        data: a pandas DataFrame, an Arrow table or reader, a DuckDB relation, a list of dicts.
        table: the table; a bare name is in the workflow's own schema `<workflow>_raw`.
        mode: `replace` all rows; `append`; `upsert`: replace the rows with the same key,
            insert the others; `delete+insert`: delete every row whose key occurs in the data
            (a day, say), then insert.
        key: the columns that identify a row (`upsert`), or the window (`delete+insert`). With
            `replace` and `append` it is checked to be unique in the data.
        on_schema_change: what to do when the data has other columns or types than the table:
            `fail`; `add_columns`: new ones are added, missing ones are left NULL; `replace`
            the table (with mode `replace` only). A narrower type is no change. When not given,
            `replace` replaces the table, unless a model or a dashboard uses a column that would
            go or get another type; other modes fail.

    Returns:
        the number of rows written.

    Raises:
        ConfigurationError: an invalid name, mode, key or kind of data.
        WarehouseError: duplicate or missing keys, changed columns, a full disk; nothing was written.
    """
    target = parse_table(table, getattr(conn, "workflow", None))
    key = [key] if isinstance(key, str) else list(key)
    _check_call(mode, key, on_schema_change)
    raw = conn.raw if isinstance(conn, Connection) else conn
    if getattr(conn, "read_only", False):
        raise WarehouseError(
            f"cannot write {target}: the connection is read only",
            hint="Open it without read_only=True.",
        )
    path = getattr(conn, "path", None) or Path(str(target))

    def once() -> bool:
        # By CREATE OR REPLACE TABLE AS, which reads the old table while it makes the new one.
        return mode == "replace" and not key and not _has_constraints(raw, target)

    with translated(path), prepare(raw, data, once=once) as incoming, _transaction(raw):
        if key:
            check_key(raw, incoming, key, unique=mode != "delete+insert")
        readers = None
        if isinstance(conn, Connection):
            readers = conn.readers
            if on_schema_change == "replace":
                conn.allow_other_columns(target)
        written = _write(raw, target, incoming, mode, key, on_schema_change, readers)
        is_run = isinstance(conn, Connection) and conn.database == "working"
        if key and mode != "delete+insert" and is_run:
            note_key(raw, target, key)  # by it versions of the table are compared
        return written


def _write(
    raw: DuckDBPyConnection,
    target: TableName,
    incoming: Incoming,
    mode: Mode,
    key: Sequence[str],
    on_schema_change: OnSchemaChange | None,
    readers: Readers | None,
) -> int:
    there = _existing(raw, target)
    if there is None:
        raw.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(target.schema)}")
        return _count(raw, f"CREATE TABLE {target.quoted} AS {_select(incoming)}")
    can_be_replaced = mode == "replace" and not _has_constraints(raw, target)
    if difference := _compare(raw, incoming, there):
        if on_schema_change is None and can_be_replaced and readers is not None:
            refuse_used(
                target, difference, readers, "the data's columns are not those of {}, and others "
                "use these; nothing was written",
                'Convert the columns, change those files first, or replace the table all the '
                'same: on_schema_change="replace".',
            )  # fmt: skip
            on_schema_change = "replace"
        there = _adapt(raw, target, difference, there, on_schema_change or "fail")
    if there is None or can_be_replaced:
        query = _in_order(incoming, there)
        return _count(raw, f"CREATE OR REPLACE TABLE {target.quoted} AS {query}")
    if mode == "upsert":
        return _merge(raw, target, incoming, there, key)
    if mode == "replace":
        raw.execute(f"DELETE FROM {target.quoted}")
    elif mode == "delete+insert":
        same = " AND ".join(f"new.{quote(c)} = old.{quote(c)}" for c in key)
        raw.execute(
            f"DELETE FROM {target.quoted} AS old "
            f"WHERE EXISTS (FROM ({_select(incoming, there)}) AS new WHERE {same})"
        )
    return _count(raw, f"INSERT INTO {target.quoted} BY NAME {_select(incoming, there)}")


def _check_call(mode: str, key: Sequence[str], on_schema_change: str | None) -> None:
    for name, value, allowed in (
        ("mode", mode, get_args(Mode)),
        ("on_schema_change", on_schema_change or "fail", get_args(OnSchemaChange)),
    ):
        if value not in allowed:
            raise ConfigurationError(
                f"{name}={value!r} is unknown", hint=f"Use one of: {', '.join(allowed)}."
            )
    if mode in ("upsert", "delete+insert") and not key:
        raise ConfigurationError(
            f"mode={mode!r} needs a key", hint='Name its columns: key=["event_id"].'
        )
    if on_schema_change == "replace" and mode != "replace":
        raise ConfigurationError(
            f'on_schema_change="replace" would lose the rows that mode={mode!r} keeps',
            hint='Use on_schema_change="add_columns", or mode="replace".',
        )


def _existing(raw: DuckDBPyConnection, table: TableName) -> dict[str, str] | None:
    """The table's columns with their types; None when there is no such table."""
    import duckdb

    try:
        # Quicker than asking DuckDB's catalog tables, which list everything first.
        columns = raw.execute(f"DESCRIBE {table.quoted}").fetchall()
    except duckdb.CatalogException:
        return None
    is_table = (
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_catalog() "
        "AND lower(schema_name) = ? AND lower(table_name) = ?"
    )
    if not raw.execute(filled(is_table, table.schema.lower(), table.name.lower())).fetchone():
        raise WarehouseError(
            f"{table} is a view", hint="Write to another table, or drop the view first."
        )
    return {row[0]: row[1] for row in columns}


def _adapt(
    raw: DuckDBPyConnection,
    table: TableName,
    difference: Difference,
    there: dict[str, str],
    on_schema_change: OnSchemaChange,
) -> dict[str, str] | None:
    """Handle changed columns; returns the table's columns afterwards, None to recreate it."""
    if on_schema_change == "replace":
        return None
    if on_schema_change == "fail" or difference.changed:
        listed = "".join(f"\n  {line}" for line in difference.lines())
        raise WarehouseError(
            f"the data's columns are not those of {table}; nothing was written:{listed}",
            hint='Convert the columns, or allow it: on_schema_change="add_columns" for new and '
            'missing ones, "replace" (with mode="replace") for everything.',
        )
    for column, kind in difference.added.items():
        raw.execute(f"ALTER TABLE {table.quoted} ADD COLUMN {quote(column)} {kind}")
    return {**there, **difference.added}


def _in_order(incoming: Incoming, there: dict[str, str] | None) -> str:
    """The data with the table's types and order of columns, absent ones being NULL."""
    if there is None:
        return _select(incoming)
    present = {column.lower() for column in incoming.columns}
    columns = ", ".join(
        f"{quote(name) if name.lower() in present else f'CAST(NULL AS {kind})'} AS {quote(name)}"
        for name, kind in there.items()
    )
    return f"SELECT {columns} FROM ({_select(incoming, there)})"


def _merge(
    raw: DuckDBPyConnection,
    table: TableName,
    incoming: Incoming,
    there: dict[str, str],
    key: Sequence[str],
) -> int:
    keys = {column.lower() for column in key}
    same = " AND ".join(f"old.{quote(c)} = new.{quote(c)}" for c in key)
    others = [column for column in incoming.columns if column.lower() not in keys]
    change = ", ".join(f"{quote(c)} = new.{quote(c)}" for c in others)
    columns = ", ".join(quote(c) for c in incoming.columns)
    values = ", ".join(f"new.{quote(c)}" for c in incoming.columns)
    row = raw.execute(f"SELECT count(*) FROM {incoming.name}").fetchone()
    raw.execute(
        f"MERGE INTO {table.quoted} AS old USING ({_select(incoming, there)}) AS new ON {same} "
        + (f"WHEN MATCHED THEN UPDATE SET {change} " if change else "")
        + f"WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})"
    )
    return row[0] if row else 0


def _has_constraints(raw: DuckDBPyConnection, table: TableName) -> bool:
    """Whether recreating the table would lose a key or a default."""
    row = raw.execute(
        filled(
            "SELECT (SELECT count(*) FROM duckdb_constraints() WHERE database_name = "
            "current_catalog() AND schema_name = ? AND table_name = ?) + (SELECT count(*) FROM "
            "duckdb_columns() WHERE database_name = current_catalog() AND schema_name = ? "
            "AND table_name = ? AND column_default IS NOT NULL)",
            *table,
            *table,
        ),
    ).fetchone()
    return bool(row and row[0])


def _count(raw: DuckDBPyConnection, statement: str) -> int:
    row = raw.execute(statement).fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def _transaction(raw: DuckDBPyConnection) -> Iterator[None]:
    """One transaction: the connection's own when it has one."""
    # Outside a transaction every statement has its own id. Trying BEGIN instead would abort an
    # existing transaction.
    first, second = (raw.execute("SELECT txid_current()").fetchone() for _ in range(2))
    if first == second:
        yield
        return
    raw.begin()
    try:
        yield
    except BaseException:
        import duckdb

        with contextlib.suppress(duckdb.Error):
            raw.rollback()
        raise
    raw.commit()


def _compare(raw: DuckDBPyConnection, incoming: Incoming, existing: dict[str, str]) -> Difference:
    """The difference between the data and the table that is there.

    No difference: another order, another case, a type that the table's type contains (an
    INTEGER for a BIGINT), a column without any value.

    Args:
        existing: the table's columns and types.
    """
    difference = Difference()
    there = {column.lower(): (column, kind) for column, kind in existing.items()}
    for column, kind in incoming.columns.items():
        if column.lower() not in there:
            difference.added[column] = _new_type(incoming, column)
            continue
        name, old = there.pop(column.lower())
        if old != kind and column not in incoming.untyped and not _contains(raw, old, kind):
            difference.changed.append((name, old, kind))
    difference.missing = dict(there.values())
    return difference


def _new_type(incoming: Incoming, column: str) -> str:
    """The type a new column gets; without a single value to go by, text."""
    return "VARCHAR" if column in incoming.untyped else incoming.columns[column]


def _select(incoming: Incoming, types: dict[str, str] | None = None) -> str:
    """The query that reads the data with the types the table has.

    Args:
        types: the table's columns; None for a new table.
    """
    wanted = {name.lower(): kind for name, kind in (types or {}).items()}
    parts = []
    for column, kind in incoming.columns.items():
        target = wanted.get(column.lower(), _new_type(incoming, column))
        name = quote(column)
        parts.append(name if target == kind else f"CAST({name} AS {target}) AS {name}")
    return f"SELECT {', '.join(parts)} FROM {incoming.name}"


def _contains(raw: DuckDBPyConnection, wide: str, narrow: str) -> bool:
    """Whether every value of type `narrow` has its place in type `wide`."""
    if (narrow, wide) in _CHANGES_MEANING:
        return False
    row = raw.execute(f"SELECT can_cast_implicitly(NULL::{narrow}, NULL::{wide})").fetchone()
    return bool(row and row[0])
