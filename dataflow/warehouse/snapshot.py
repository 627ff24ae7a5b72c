"""Copy schemas of one database file into another, as readers are to see them.

Small tables are copied into the file. A big table becomes a Parquet file beside it and a
view of the same name: the next versions point at that file until its own workflow publishes
again, so that a publish costs what the workflow owns, not what the warehouse holds.

Parquet and not a DuckDB file per workflow: DuckDB 1.5's `read_duckdb`, the only way to
refer to another file from a stored view, returns NULL for every field of a struct.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.base.files import sync
from dataflow.errors import WarehouseError
from dataflow.warehouse.failures import first_line
from dataflow.warehouse.layout import BLOCK_BYTES
from dataflow.warehouse.names import TableName, literal, quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SOURCE = "source"

BIG_TABLE_BYTES = 64 * 2**20
"""From this size on a table becomes a file of its own. Small ones are quicker inside."""

# Their Parquet form has the right type but not every value (milliseconds, no zone).
_LOSSY_IN_PARQUET = ("INTERVAL", "TIME WITH TIME ZONE")

logger = logging.getLogger(__name__)


@dataclass
class Copied:
    """What a copy of schemas made: big tables as files (`schema.table` → name), bytes."""

    files: dict[str, str] = field(default_factory=dict)
    bytes_written: int = 0


def copy_schemas(
    connection: DuckDBPyConnection,
    schemas: list[str],
    data: Path,
    number: int,
    big_table_bytes: int = BIG_TABLE_BYTES,
) -> Copied:
    """Replace `schemas` by those of the attached database `source`.

    Args:
        connection: on the file to change, with `source` attached.
        schemas: what to take; a schema missing in `source` is missing afterwards.
        data: the folder for big tables' files.
        number: the version being made; part of the files' names.
        big_table_bytes: from which size on disk a table becomes a file.

    Raises:
        WarehouseError: a view refers to something that is not there.
    """
    copied = Copied()
    for schema in schemas:
        connection.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
    present = [schema for schema in schemas if _exists(connection, schema)]
    for schema in present:
        connection.execute(f"CREATE SCHEMA {quote(schema)}")
    for schema in present:
        _copy_macros(connection, schema)
        for name in _tables(connection, schema):
            table = TableName(schema, name)
            size = _bytes_on_disk(connection, f"{SOURCE}.{table.quoted}")
            if size >= big_table_bytes and _fits_parquet(connection, table, data):
                path = data / f"{schema}.{name}.{number}.parquet"
                _copy_to_file(connection, table, path)
                copied.files[str(table)] = path.name
                copied.bytes_written += path.stat().st_size
            else:
                _copy_inside(connection, table)
                copied.bytes_written += size
            _copy_comments(connection, table)
    _copy_views(connection, present)
    return copied


def big_bytes(connection: DuckDBPyConnection, schemas: list[str], big_table_bytes: int) -> int:
    """The bytes of all big tables in `schemas` of the database that is open itself."""
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = "
        "current_catalog() AND list_contains(?, schema_name)",
        [schemas],
    ).fetchall()
    sizes = [_bytes_on_disk(connection, TableName(*table).quoted) for table in tables]
    return sum(size for size in sizes if size >= big_table_bytes)


def view_of_file(table: TableName, path: Path) -> str:
    """The SQL that makes `table` a view of a data file."""
    return f"CREATE OR REPLACE VIEW {table.quoted} AS FROM read_parquet({literal(str(path))})"


def _exists(connection: DuckDBPyConnection, schema: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM duckdb_schemas() WHERE database_name = ? AND schema_name = ?",
        [SOURCE, schema],
    )
    return found.fetchone() is not None


def _tables(connection: DuckDBPyConnection, schema: str) -> list[str]:
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() "
        "WHERE database_name = ? AND schema_name = ? AND NOT internal ORDER BY table_oid",
        [SOURCE, schema],
    ).fetchall()
    return [name for (name,) in rows]


def _bytes_on_disk(connection: DuckDBPyConnection, table: str) -> int:
    """The blocks a table's columns take in the file."""
    row = connection.execute(
        "SELECT count(DISTINCT block_id) FROM pragma_storage_info(?) WHERE persistent", [table]
    ).fetchone()
    return (row[0] if row else 0) * BLOCK_BYTES


def _fits_parquet(connection: DuckDBPyConnection, table: TableName, data: Path) -> bool:
    """Whether every column comes back from Parquet as it was."""
    data.mkdir(exist_ok=True)
    probe = data / "probe.parquet"
    kept = _columns(connection, f"{SOURCE}.{table.quoted}")
    if any(sign in kind for kind in kept.values() for sign in _LOSSY_IN_PARQUET):
        return False
    connection.execute(
        f"COPY (FROM {SOURCE}.{table.quoted} LIMIT 0) TO {literal(str(probe))} (FORMAT parquet)"
    )
    read = _columns(connection, f"read_parquet({literal(str(probe))})")
    probe.unlink()
    return kept == read


def _columns(connection: DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE FROM {relation}").fetchall()}


def _copy_to_file(connection: DuckDBPyConnection, table: TableName, path: Path) -> None:
    # Version 2's encodings make the file as small as DuckDB's own, in two thirds of the time.
    connection.execute(
        f"COPY (FROM {SOURCE}.{table.quoted}) TO {literal(str(path))} "
        "(FORMAT parquet, PARQUET_VERSION v2, COMPRESSION snappy)"
    )
    sync(path)
    connection.execute(view_of_file(table, path))


def _copy_inside(connection: DuckDBPyConnection, table: TableName) -> None:
    import duckdb

    row = connection.execute(
        "SELECT t.sql, bool_or(c.constraint_type <> 'NOT NULL') FROM duckdb_tables() t "
        "LEFT JOIN duckdb_constraints() c USING (table_oid, schema_name, database_name) "
        "WHERE t.database_name = ? AND t.schema_name = ? AND t.table_name = ? GROUP BY ALL",
        [SOURCE, table.schema, table.name],
    ).fetchone()
    if row is not None and row[1]:
        # Keys are kept where they can be, for INSERT OR REPLACE on a development copy. They
        # cannot where they refer to other schemas, or when columns are generated.
        try:
            connection.execute(row[0])
            connection.execute(f"INSERT INTO {table.quoted} FROM {SOURCE}.{table.quoted}")
            return
        except duckdb.Error as error:
            logger.debug("%s is copied without its constraints: %s", table, error)
            connection.execute(f"DROP TABLE IF EXISTS {table.quoted}")
    connection.execute(f"CREATE TABLE {table.quoted} AS FROM {SOURCE}.{table.quoted}")


def _copy_comments(connection: DuckDBPyConnection, table: TableName) -> None:
    where = [SOURCE, table.schema, table.name]
    of_table = connection.execute(
        "SELECT comment FROM duckdb_tables() WHERE database_name = ? AND schema_name = ? "
        "AND table_name = ? AND comment IS NOT NULL",
        where,
    ).fetchone()
    kind = connection.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_schema = ? "
        "AND table_name = ? AND table_catalog = current_catalog()",
        where[1:],
    ).fetchone()
    if of_table is not None:
        word = "VIEW" if kind is not None and kind[0] == "VIEW" else "TABLE"
        connection.execute(f"COMMENT ON {word} {table.quoted} IS {literal(of_table[0])}")
    for column, comment in connection.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = ? "
        "AND schema_name = ? AND table_name = ? AND comment IS NOT NULL",
        where,
    ).fetchall():
        connection.execute(
            f"COMMENT ON COLUMN {table.quoted}.{quote(column)} IS {literal(comment)}"
        )


def _copy_macros(connection: DuckDBPyConnection, schema: str) -> None:
    for name, kind, parameters, body in connection.execute(
        "SELECT function_name, function_type, parameters, macro_definition "
        "FROM duckdb_functions() WHERE database_name = ? AND schema_name = ? AND NOT internal "
        "AND function_type IN ('macro', 'table_macro')",
        [SOURCE, schema],
    ).fetchall():
        table = "TABLE " if kind == "table_macro" else ""
        connection.execute(
            f"CREATE MACRO {quote(schema)}.{quote(name)}({', '.join(map(quote, parameters))}) "
            f"AS {table}{body}"
        )


def _copy_views(connection: DuckDBPyConnection, schemas: list[str]) -> None:
    """Make the views, those they build on first."""
    import duckdb

    waiting = connection.execute(
        "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE database_name = ? "
        "AND list_contains(?, schema_name) AND NOT internal ORDER BY view_oid",
        [SOURCE, schemas],
    ).fetchall()
    while waiting:
        failed: list[tuple[tuple[str, str, str], duckdb.Error]] = []
        for view in waiting:
            try:
                connection.execute(view[2])
            except duckdb.Error as failure:
                failed.append((view, failure))
        if len(failed) == len(waiting):
            (schema, name, _), error = failed[0]
            raise WarehouseError(
                f"the view {schema}.{name} does not work on what is published: {first_line(error)}",
                hint="Publish the workflow it reads from first, or drop the view.",
            ) from error
        waiting = [view for view, _ in failed]
