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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.files import sync
from dataflow.base.sql import TableName, filled, literal, quote
from dataflow.errors import WarehouseError
from dataflow.warehouse.failures import first_line
from dataflow.warehouse.files import attached
from dataflow.warehouse.layout import CATALOG
from dataflow.warehouse.stored import Stored

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# The name of the database that is copied: no workflow's schema may have it.
SOURCE = "_dataflow_working"

BIG_TABLE_BYTES = 8 * 2**20
"""From this size on a table becomes a file of its own. Those inside are copied with each version."""

# Their Parquet form has the right type but not every value (milliseconds, no zone).
_LOSSY_IN_PARQUET = ("INTERVAL", "TIME WITH TIME ZONE")

logger = logging.getLogger(__name__)


class Copying:
    """Copies of the attached database `SOURCE`, whole schemas or single tables.

    Args:
        connection: on the file to change, with `SOURCE` attached.
        data: the folder for big tables' files.
        number: the version being made; part of the files' names.
        stored: the tables of `SOURCE` as they are stored, where that is known; others are small.
        unchanged: those of them that are in the file to change already, and stay as they are.
        big_table_bytes: the size on disk from which a table becomes a file.

    Attributes:
        files: big tables as files: `schema.table` → name.
        definitions: for those that have keys, the statement that creates the table.
        unchanged: the tables that stayed.
        bytes_written: to the files of big tables.
    """

    def __init__(
        self,
        connection: DuckDBPyConnection,
        data: Path,
        number: int,
        stored: Mapping[TableName, Stored],
        unchanged: Iterable[TableName] = (),
        big_table_bytes: int = BIG_TABLE_BYTES,
    ) -> None:
        self._connection = connection
        self._data = data
        self._number = number
        self._stored = stored
        self._big_table_bytes = big_table_bytes
        self._there = relations(connection, SOURCE)
        self._tables = _tables(connection)
        self._definitions = _definitions(connection)
        self._comments = _comments(connection)
        self.unchanged = set(unchanged) & relations(connection, None)
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
                self._comments.put(self._connection, table, "VIEW")
                if name in definitions:
                    self.definitions[name] = definitions[name]

    def schemas(self, schemas: list[str]) -> None:
        """Replace whole schemas; one that is missing in the source is missing afterwards.

        Raises:
            WarehouseError: a view refers to something that is not there.
        """
        connection = self._connection
        self._replaced.update(schemas)
        made = _own_types(connection, schemas)
        kept = [
            schema
            for schema in schemas
            if any(table.schema == schema for table in self.unchanged)
            and made[SOURCE, schema] == made[CATALOG, schema]
            and self._clear(schema)
        ]
        for schema in set(schemas).difference(kept):
            self.unchanged -= {table for table in self.unchanged if table.schema == schema}
            connection.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
        present = [schema for schema in schemas if _exists(connection, schema)]
        for schema in present:
            if schema not in kept:
                connection.execute(f"CREATE SCHEMA {quote(schema)}")
                for statement in made[SOURCE, schema]:
                    connection.execute(statement)
            for table in self._tables:
                if table.schema == schema and table not in self.unchanged:
                    self._table(table)
        _copy_views(connection, present)

    def _clear(self, schema: str) -> bool:
        """Remove all but the unchanged tables of a schema; false if something depends on it."""
        import duckdb

        gone = [t for t in relations(self._connection, None) - self.unchanged if t.schema == schema]
        try:
            for table in sorted(gone):
                drop(self._connection, table)
        except duckdb.Error as error:
            logger.debug("The schema %s is copied as a whole: %s", schema, error)
            return False
        return True

    def tables(self, tables: list[TableName]) -> None:
        """Replace single tables; the rest of their schemas stays."""
        self._replaced.update(map(str, tables))
        for table in tables:
            if table in self.unchanged:
                continue
            drop(self._connection, table)
            if table not in self._there:
                continue
            self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(table.schema)}")
            if table in self._tables:
                self._table(table)
            else:
                _copy_views(self._connection, [table.schema], table.name)

    def _table(self, table: TableName) -> None:
        connection = self._connection
        size = self._stored[table].bytes if table in self._stored else 0
        definition = self._definitions.get(table)
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
            kinds = _columns(connection, f"{SOURCE}.{table.quoted}")
            point_at_file(connection, table, path, kinds)
            self.files[str(table)] = path.name
            if definition is not None:
                self.definitions[str(table)] = definition
            self.bytes_written += path.stat().st_size
        else:
            _copy_inside(connection, table, definition)
        self._comments.put(connection, table, "TABLE" if stored is None else "VIEW")


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
        views = connection.execute(
            filled(
                "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE database_name = ? "
                "AND contains(sql, 'read_parquet(')",
                SOURCE,
            ),
        ).fetchall()
        comments = _comments(connection)
        for name in sorted({name for (name,) in views} & set(files)):
            table = TableName(*name.split(".", 1))
            drop(connection, table)
            _copy_inside(connection, table, definitions.get(name))
            comments.put(connection, table, "TABLE")


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


def _exists(connection: DuckDBPyConnection, schema: str) -> bool:
    found = connection.execute(
        filled(
            "SELECT 1 FROM duckdb_schemas() WHERE database_name = ? AND schema_name = ?",
            SOURCE,
            schema,
        ),
    )
    return found.fetchone() is not None


def _tables(connection: DuckDBPyConnection) -> dict[TableName, None]:
    """The tables of `SOURCE`, in the order in which they were made."""
    rows = connection.execute(
        filled(
            "SELECT schema_name, table_name FROM duckdb_tables() "
            "WHERE database_name = ? AND NOT internal ORDER BY table_oid",
            SOURCE,
        ),
    ).fetchall()
    return {TableName(*row): None for row in rows}


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


def _definitions(connection: DuckDBPyConnection) -> dict[TableName, str]:
    """The statements that created the tables of `SOURCE`, of those that have keys."""
    rows = connection.execute(
        filled(
            "SELECT schema_name, table_name, sql FROM duckdb_tables() WHERE database_name = ? "
            "AND table_oid IN (SELECT table_oid FROM duckdb_constraints() "
            "WHERE database_name = ? AND constraint_type <> 'NOT NULL')",
            SOURCE,
            SOURCE,
        ),
    ).fetchall()
    return {TableName(schema, table): sql for schema, table, sql in rows}


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


@dataclass(frozen=True)
class _Comments:
    """What is said about tables, and about their columns."""

    tables: Mapping[TableName, str]
    columns: Mapping[TableName, list[tuple[str, str]]]

    def put(self, connection: DuckDBPyConnection, table: TableName, word: str) -> None:
        """Say it about the copy of a table, which is a `word`: TABLE or VIEW."""
        if table in self.tables:
            said = literal(self.tables[table])
            connection.execute(f"COMMENT ON {word} {table.quoted} IS {said}")
        for column, comment in self.columns.get(table, ()):
            connection.execute(
                f"COMMENT ON COLUMN {table.quoted}.{quote(column)} IS {literal(comment)}"
            )


def _comments(connection: DuckDBPyConnection) -> _Comments:
    """The comments of `SOURCE`."""
    where = "WHERE database_name = ? AND comment IS NOT NULL"
    tables = connection.execute(
        filled(
            f"SELECT schema_name, table_name, comment FROM duckdb_tables() {where} UNION ALL "
            f"SELECT schema_name, view_name, comment FROM duckdb_views() {where}",
            SOURCE,
            SOURCE,
        )
    ).fetchall()
    columns = connection.execute(
        filled(
            f"SELECT schema_name, table_name, column_name, comment FROM duckdb_columns() {where}",
            SOURCE,
        )
    ).fetchall()
    found: dict[TableName, list[tuple[str, str]]] = {}
    for schema, table, column, comment in columns:
        found.setdefault(TableName(schema, table), []).append((column, comment))
    return _Comments({TableName(*row[:2]): row[2] for row in tables}, found)


def _own_types(
    connection: DuckDBPyConnection, schemas: list[str]
) -> dict[tuple[str, str], list[str]]:
    """The statements that make the enums and macros of schemas, by database and schema.

    A macro with several signatures is created with all of them at once.
    """
    made: dict[tuple[str, str], list[str]] = {
        (database, schema): [] for database in (SOURCE, CATALOG) for schema in schemas
    }
    where = (
        "WHERE list_contains(?, database_name) AND list_contains(?, schema_name) AND NOT internal"
    )
    enums = connection.execute(
        filled(
            f"SELECT database_name, schema_name, type_name, labels FROM duckdb_types() {where} "
            "AND logical_type = 'ENUM' ORDER BY ALL",
            [SOURCE, CATALOG],
            schemas,
        ),
    ).fetchall()
    for database, schema, name, labels in enums:
        listed = ", ".join(map(literal, labels))
        made[database, schema].append(
            f"CREATE TYPE {quote(schema)}.{quote(name)} AS ENUM ({listed})"
        )
    macros = connection.execute(
        filled(
            "SELECT database_name, schema_name, function_name, function_type, "
            f"list((parameters, macro_definition)) FROM duckdb_functions() {where} "
            "AND function_type IN ('macro', 'table_macro') GROUP BY ALL ORDER BY ALL",
            [SOURCE, CATALOG],
            schemas,
        ),
    ).fetchall()
    for database, schema, name, kind, signatures in macros:
        table = "TABLE " if kind == "table_macro" else ""
        bodies = ", ".join(
            f"({', '.join(map(quote, parameters))}) AS {table}{body}"
            for parameters, body in signatures
        )
        made[database, schema].append(f"CREATE MACRO {quote(schema)}.{quote(name)}{bodies}")
    return made


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
                connection.execute(f"USE {CATALOG}.{quote(view[0])}")
                connection.execute(view[2])
            except duckdb.Error as failure:
                failed.append((view, failure))
            finally:
                connection.execute(f"USE {CATALOG}.main")
        if len(failed) == len(waiting):
            (schema, name, _), error = failed[0]
            raise WarehouseError(
                f"the view {schema}.{name} does not work on what is published: {first_line(error)}",
                hint="Publish the workflow it reads from first, or drop the view.",
            ) from error
        waiting = [view for view, _ in failed]
