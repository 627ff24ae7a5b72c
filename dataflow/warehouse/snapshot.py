"""Copy schemas of one database file into another, in the form for readers.

Small tables are copied into the file. A big table becomes a Parquet file beside it and a
view of the same name: the next versions point at that file until its own workflow publishes
again, so that a publish costs what the workflow owns, not what the warehouse holds.

Parquet and not a DuckDB file per workflow: DuckDB 1.5's `read_duckdb`, the only way to
refer to another file from a stored view, returns NULL for every field of a struct.
"""

from __future__ import annotations

import glob
import logging
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.files import sync
from dataflow.base.sql import TableName, filled, literal, quote
from dataflow.errors import WarehouseError
from dataflow.warehouse.failures import first_line
from dataflow.warehouse.files import attached
from dataflow.warehouse.layout import BLOCK_BYTES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# The name of the database that is copied: no workflow's schema may have it.
SOURCE = "_dataflow_working"

BIG_TABLE_BYTES = 64 * 2**20
"""From this size on a table becomes a file of its own. Small ones are faster inside."""

# Their Parquet form has the right type but not every value (milliseconds, no zone).
_LOSSY_IN_PARQUET = ("INTERVAL", "TIME WITH TIME ZONE")

logger = logging.getLogger(__name__)


class Copying:
    """Copies of the attached database `SOURCE`, whole schemas or single tables.

    Args:
        connection: on the file to change, with `SOURCE` attached.
        data: the folder for big tables' files.
        number: the version being made; part of the files' names.
        big_table_bytes: the size on disk from which a table becomes a file.

    Attributes:
        files: big tables as files: `schema.table` → name.
        definitions: for those that have keys, the statement that creates the table.
        bytes_written: to the file and beside it.
    """

    def __init__(
        self,
        connection: DuckDBPyConnection,
        data: Path,
        number: int,
        big_table_bytes: int = BIG_TABLE_BYTES,
    ) -> None:
        self._connection = connection
        self._data = data
        self._number = number
        self._big_table_bytes = big_table_bytes
        self.files: dict[str, str] = {}
        self.definitions: dict[str, str] = {}
        self.bytes_written = 0
        self._replaced: set[str] = set()

    def take_files(self, files: Mapping[str, str], definitions: Mapping[str, str]) -> None:
        """Take over the big tables of `SOURCE` among what was copied, which it has as files.

        Args:
            files, definitions: as its own metadata have them.
        """
        there = relations(self._connection, None)
        for name, file in files.items():
            table = TableName(*name.split(".", 1))
            if table in there and (table.schema in self._replaced or name in self._replaced):
                self.files[name] = file
                _copy_comments(self._connection, table)
                if name in definitions:
                    self.definitions[name] = definitions[name]

    def schemas(self, schemas: list[str]) -> None:
        """Replace whole schemas; one that is missing in the source is missing afterwards.

        Raises:
            WarehouseError: a view refers to something that is not there.
        """
        connection = self._connection
        self._replaced.update(schemas)
        for schema in schemas:
            connection.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
        present = [schema for schema in schemas if _exists(connection, schema)]
        for schema in present:
            connection.execute(f"CREATE SCHEMA {quote(schema)}")
        for schema in present:
            _copy_enums(connection, schema)
            _copy_macros(connection, schema)
            for name in _tables(connection, schema):
                self._table(TableName(schema, name))
        _copy_views(connection, present)

    def tables(self, tables: list[TableName]) -> None:
        """Replace single tables; the rest of their schemas stays."""
        there = relations(self._connection, SOURCE)
        self._replaced.update(map(str, tables))
        for table in tables:
            drop(self._connection, table)
            if table not in there:
                continue
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(table.schema)}")
            if table.name in _tables(self._connection, table.schema):
                self._table(table)
            else:
                _copy_views(self._connection, [table.schema], table.name)

    def _table(self, table: TableName) -> None:
        connection = self._connection
        size = _bytes_on_disk(connection, f"{SOURCE}.{table.quoted}")
        kinds = _columns(connection, f"{SOURCE}.{table.quoted}")
        stored = _stored(connection, table, self._data) if size >= self._big_table_bytes else None
        if stored is not None:
            # Neither `/` nor characters of `read_parquet`'s patterns.
            name = ".".join(
                urllib.parse.quote(part, safe="") for part in (table.schema, table.name)
            )
            path = self._data / f"{name}.{self._number}.parquet"
            connection.execute(
                # Version 2's encodings make the file as small as DuckDB's own, in two thirds
                # of the time.
                f"COPY ({stored}) TO {literal(str(path))} "
                "(FORMAT parquet, PARQUET_VERSION v2, COMPRESSION snappy)"
            )
            sync(path)
            point_at_file(connection, table, path, kinds)
            self.files[str(table)] = path.name
            if (definition := _definition(connection, table)) is not None:
                self.definitions[str(table)] = definition
            self.bytes_written += path.stat().st_size
        else:
            _copy_inside(connection, table, _definition(connection, table))
            self.bytes_written += size
        _copy_comments(connection, table)


def make_real(
    target: Path, source: Path, files: Iterable[str], definitions: Mapping[str, str]
) -> None:
    """Turn the views on data files in `target`, a copy of the database `source`, into real tables.

    Args:
        files: the views, as `schema.table`; those that are not views any more stay as they are.
        definitions: for tables with keys, the statements that create them.
    """
    with attached(target) as connection:
        connection.execute(f"ATTACH {literal(str(source))} AS {SOURCE} (READ_ONLY)")
        connection.execute("SET TimeZone = 'UTC'")
        views = connection.execute(
            filled(
                "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE database_name = ? "
                "AND contains(sql, 'read_parquet(')",
                SOURCE,
            ),
        ).fetchall()
        for name in sorted({name for (name,) in views} & set(files)):
            table = TableName(*name.split(".", 1))
            drop(connection, table)
            _copy_inside(connection, table, definitions.get(name))
            _copy_comments(connection, table)


def relations(connection: DuckDBPyConnection, catalog: str | None) -> set[TableName]:
    """The tables and views of an attached database; of the open one itself when None."""
    rows = connection.execute(
        filled(
            "SELECT table_schema, table_name FROM information_schema.tables "
            "WHERE table_catalog = coalesce(?, current_catalog())",
            catalog,
        ),
    ).fetchall()
    return {TableName(*row) for row in rows}


def stored_columns(connection: DuckDBPyConnection, table: TableName) -> dict[str, str]:
    """The columns of a table or view with their types, as they were when it was created."""
    return dict(
        connection.execute(
            filled(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = "
                "current_catalog() AND schema_name = ? AND table_name = ? ORDER BY column_index",
                table.schema,
                table.name,
            ),
        ).fetchall()
    )


def point_at_file(
    connection: DuckDBPyConnection, table: TableName, path: Path, kinds: dict[str, str]
) -> None:
    """Make `table` a view of a data file, with the types of its columns (`kinds`)."""
    # A folder's name may look like a pattern, too.
    relation = f"read_parquet({literal(glob.escape(str(path)))})"
    read = _columns(connection, relation)
    casts = {name: kind for name, kind in kinds.items() if read.get(name, kind) != kind}
    connection.execute(
        f"CREATE OR REPLACE VIEW {table.quoted} AS SELECT {_replaced(casts)} FROM {relation}"
    )


def _replaced(casts: dict[str, str]) -> str:
    """The columns of a SELECT with some of them cast to other types."""
    if not casts:
        return "*"
    changed = (f"CAST({quote(name)} AS {kind}) AS {quote(name)}" for name, kind in casts.items())
    return f"* REPLACE ({', '.join(changed)})"


def big_bytes(connection: DuckDBPyConnection, schemas: list[str], big_table_bytes: int) -> int:
    """The bytes of all big tables in `schemas` of the opened database itself."""
    tables = connection.execute(
        filled(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = "
            "current_catalog() AND list_contains(?, schema_name)",
            schemas,
        ),
    ).fetchall()
    sizes = [_bytes_on_disk(connection, TableName(*table).quoted) for table in tables]
    return sum(size for size in sizes if size >= big_table_bytes)


def _exists(connection: DuckDBPyConnection, schema: str) -> bool:
    found = connection.execute(
        filled(
            "SELECT 1 FROM duckdb_schemas() WHERE database_name = ? AND schema_name = ?",
            SOURCE,
            schema,
        ),
    )
    return found.fetchone() is not None


def _tables(connection: DuckDBPyConnection, schema: str) -> list[str]:
    rows = connection.execute(
        filled(
            "SELECT table_name FROM duckdb_tables() "
            "WHERE database_name = ? AND schema_name = ? AND NOT internal ORDER BY table_oid",
            SOURCE,
            schema,
        ),
    ).fetchall()
    return [name for (name,) in rows]


def _bytes_on_disk(connection: DuckDBPyConnection, table: str) -> int:
    """The blocks a table's columns take in the file."""
    row = connection.execute(
        filled(
            "SELECT count(DISTINCT block_id) FROM pragma_storage_info(?) WHERE persistent", table
        )
    ).fetchone()
    return (row[0] if row else 0) * BLOCK_BYTES


def _stored(connection: DuckDBPyConnection, table: TableName, data: Path) -> str | None:
    """The SELECT that writes a table's file, from which every value can be restored exactly.

    A type that Parquet does not have is written as text, also inside others, and the view converts
    it back. None where that is impossible: for a UNION, and for an ENUM within another type, which
    DuckDB cannot keep in a view.
    """
    source = connection.sql(f"FROM {SOURCE}.{table.quoted} LIMIT 0")
    kinds = dict(zip(source.columns, source.types, strict=True))
    simple = {str(leaf) for kind in kinds.values() for leaf in _leaves(kind)}
    if any(
        leaf.id == "union" or (leaf.id == "enum" and leaf is not kind)
        for kind in kinds.values()
        for leaf in _leaves(kind)
    ):
        return None
    exact = _exact_in_parquet(connection, simple, data)
    casts = {
        name: _with_text(kind, exact)
        for name, kind in kinds.items()
        if any(str(leaf) not in exact for leaf in _leaves(kind))
    }
    return f"SELECT {_replaced(casts)} FROM {SOURCE}.{table.quoted}"


def _exact_in_parquet(connection: DuckDBPyConnection, kinds: set[str], data: Path) -> set[str]:
    """The types whose values all come back from a Parquet file exactly."""
    data.mkdir(exist_ok=True)
    probe = data / "probe.parquet"
    tried = sorted(kinds)
    nothing = ", ".join(f'NULL::{kind} AS "{number}"' for number, kind in enumerate(tried))
    connection.execute(f"COPY (SELECT {nothing}) TO {literal(str(probe))} (FORMAT parquet)")
    read = _columns(connection, f"read_parquet({literal(glob.escape(str(probe)))})")
    probe.unlink()
    return {
        kind
        for kind, found in zip(tried, read.values(), strict=True)
        if kind == found and kind not in _LOSSY_IN_PARQUET
    }


def _leaves(kind: Any) -> Iterator[Any]:
    """The innermost types of a DuckDB type; the type itself when it is not nested."""
    if kind.id not in ("list", "array", "struct", "map"):
        yield kind
        return
    for name, part in kind.children:
        if (kind.id, name) != ("array", "size"):
            yield from _leaves(part)


def _with_text(kind: Any, exact: set[str]) -> str:
    """A type with text in place of everything that is not `exact` in a Parquet file."""
    if kind.id not in ("list", "array", "struct", "map"):
        return str(kind) if str(kind) in exact else "VARCHAR"
    parts = {
        name: str(part) if (kind.id, name) == ("array", "size") else _with_text(part, exact)
        for name, part in kind.children
    }
    if kind.id == "struct":
        return f"STRUCT({', '.join(f'{quote(name)} {part}' for name, part in parts.items())})"
    if kind.id == "map":
        return f"MAP({parts['key']}, {parts['value']})"
    return f"{parts['child']}[{parts.get('size', '')}]"


def _columns(connection: DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE FROM {relation}").fetchall()}


def drop(connection: DuckDBPyConnection, table: TableName) -> None:
    """Remove a table or view of the open database, if it exists."""
    row = connection.execute(
        filled(
            "SELECT table_type FROM information_schema.tables WHERE table_catalog = current_catalog() "
            "AND table_schema = ? AND table_name = ?",
            table.schema,
            table.name,
        ),
    ).fetchone()
    if row is not None:
        connection.execute(f"DROP {'VIEW' if row[0] == 'VIEW' else 'TABLE'} {table.quoted}")


def _definition(connection: DuckDBPyConnection, table: TableName) -> str | None:
    """The statement that created a table, if it has keys."""
    row = connection.execute(
        filled(
            "SELECT t.sql, bool_or(c.constraint_type <> 'NOT NULL') FROM duckdb_tables() t "
            "LEFT JOIN duckdb_constraints() c USING (table_oid, schema_name, database_name) "
            "WHERE t.database_name = ? AND t.schema_name = ? AND t.table_name = ? GROUP BY ALL",
            SOURCE,
            table.schema,
            table.name,
        ),
    ).fetchone()
    return row[0] if row is not None and row[1] else None


def _copy_inside(connection: DuckDBPyConnection, table: TableName, definition: str | None) -> None:
    import duckdb

    if definition is not None:
        # Keys are kept where possible, for INSERT OR REPLACE on a development copy. They cannot
        # be kept if they refer to other schemas, or if columns are generated.
        try:
            connection.execute(definition)
            connection.execute(f"INSERT INTO {table.quoted} FROM {SOURCE}.{table.quoted}")
            return
        except duckdb.Error as error:
            logger.debug("%s is copied without its constraints: %s", table, error)
            connection.execute(f"DROP TABLE IF EXISTS {table.quoted}")
    connection.execute(f"CREATE TABLE {table.quoted} AS FROM {SOURCE}.{table.quoted}")


def _copy_comments(connection: DuckDBPyConnection, table: TableName) -> None:
    where = [SOURCE, table.schema, table.name]
    of_table = connection.execute(
        filled(
            "FROM (SELECT database_name, schema_name, table_name AS name, comment FROM duckdb_tables() "
            "UNION ALL SELECT database_name, schema_name, view_name, comment FROM duckdb_views()) "
            "SELECT comment WHERE database_name = ? AND schema_name = ? AND name = ? "
            "AND comment IS NOT NULL",
            *where,
        )
    ).fetchone()
    kind = connection.execute(
        filled(
            "SELECT table_type FROM information_schema.tables WHERE table_schema = ? "
            "AND table_name = ? AND table_catalog = current_catalog()",
            *where[1:],
        )
    ).fetchone()
    if of_table is not None:
        word = "VIEW" if kind is not None and kind[0] == "VIEW" else "TABLE"
        connection.execute(f"COMMENT ON {word} {table.quoted} IS {literal(of_table[0])}")
    for column, comment in connection.execute(
        filled(
            "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = ? "
            "AND schema_name = ? AND table_name = ? AND comment IS NOT NULL",
            *where,
        )
    ).fetchall():
        connection.execute(
            f"COMMENT ON COLUMN {table.quoted}.{quote(column)} IS {literal(comment)}"
        )


def _copy_enums(connection: DuckDBPyConnection, schema: str) -> None:
    for name, labels in connection.execute(
        filled(
            "SELECT type_name, labels FROM duckdb_types() WHERE database_name = ? AND schema_name = ? "
            "AND logical_type = 'ENUM' AND NOT internal",
            SOURCE,
            schema,
        ),
    ).fetchall():
        listed = ", ".join(map(literal, labels))
        connection.execute(f"CREATE TYPE {quote(schema)}.{quote(name)} AS ENUM ({listed})")


def _copy_macros(connection: DuckDBPyConnection, schema: str) -> None:
    """Create the macros; one with several signatures is created with all of them at once."""
    for name, kind, signatures in connection.execute(
        filled(
            "SELECT function_name, function_type, list((parameters, macro_definition)) "
            "FROM duckdb_functions() WHERE database_name = ? AND schema_name = ? AND NOT internal "
            "AND function_type IN ('macro', 'table_macro') GROUP BY ALL",
            SOURCE,
            schema,
        ),
    ).fetchall():
        table = "TABLE " if kind == "table_macro" else ""
        made = ", ".join(
            f"({', '.join(map(quote, parameters))}) AS {table}{body}"
            for parameters, body in signatures
        )
        connection.execute(f"CREATE MACRO {quote(schema)}.{quote(name)}{made}")


def _copy_views(
    connection: DuckDBPyConnection, schemas: list[str], only: str | None = None
) -> None:
    """Create the views of schemas, or the one called `only`; upstream views first."""
    import duckdb

    waiting = connection.execute(
        filled(
            "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE database_name = ? "
            "AND list_contains(?, schema_name) AND NOT internal AND view_name = coalesce(?, view_name) "
            "ORDER BY view_oid",
            SOURCE,
            schemas,
            only,
        ),
    ).fetchall()
    while waiting:
        failed: list[tuple[tuple[str, str, str], duckdb.Error]] = []
        for view in waiting:
            try:
                # Names without a schema in a view are of its own schema.
                connection.execute(f"USE {quote(view[0])}")
                connection.execute(view[2])
            except duckdb.Error as failure:
                failed.append((view, failure))
            finally:
                connection.execute("USE main")
        if len(failed) == len(waiting):
            (schema, name, _), error = failed[0]
            raise WarehouseError(
                f"the view {schema}.{name} does not work on what is published: {first_line(error)}",
                hint="Publish the workflow it reads from first, or drop the view.",
            ) from error
        waiting = [view for view, _ in failed]
