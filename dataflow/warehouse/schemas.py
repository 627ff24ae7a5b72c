"""Schemas as a whole: which tables are whose, and removing or renaming a workflow's everywhere.

Everything here can be repeated: what was killed in the middle is finished by calling it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dataflow.base.sql import filled, quote
from dataflow.errors import WarehouseError
from dataflow.warehouse import lock, versions
from dataflow.warehouse.connect import Connection, Database
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.names import TableName
from dataflow.warehouse.provenance import SCHEMA, writers
from dataflow.warehouse.publish import revise
from dataflow.warehouse.snapshot import drop, point_at_file, relations, stored_columns
from dataflow.warehouse.versions import Metadata

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from dataflow.project import Project

DATABASES: tuple[Database, ...] = ("working", "published", "development")


def databases(project: Project) -> list[Database]:
    """The warehouse's databases that there are; the development copy is this user's."""
    layout = Layout.of(project)
    there = {
        "working": layout.working.exists(),
        "published": versions.current(layout) is not None,
        "development": layout.development.exists(),
    }
    return [database for database in DATABASES if there[database]]


def table_makers(
    project: Project, database: Database, *, wait: bool = True
) -> dict[TableName, str | None] | None:
    """Each table and view of a database that is there, and the workflow that made it last.

    Args:
        project: whose warehouse.
        database: which of its databases.
        wait: wait for somebody who writes to it; else None when there is one, and when it
            cannot be opened.

    Raises:
        WarehouseError: it cannot be opened.
    """
    layout = Layout.of(project)
    path = {"working": layout.working, "development": layout.development}.get(database)
    if not wait and path is not None and lock.read_holder(path):
        return None
    timeout = lock.DEFAULT_TIMEOUT if wait else 0
    try:
        with Connection(project, database, read_only=True, timeout=timeout) as conn:
            made_by = writers(conn.raw)
            found = (table for table in relations(conn.raw, None) if table.schema != SCHEMA)
            return {table: made_by.get(table) for table in found}
    except WarehouseError:
        if wait:
            raise
        return None


def remove_tables(
    project: Project,
    workflow_id: str,
    schemas: Sequence[str],
    shared: Iterable[tuple[str, str]] = (),
) -> None:
    """Remove a workflow's tables from the working warehouse, this user's development copy, and,
    by a new version, from what is published.

    Args:
        project: whose warehouse.
        workflow_id: the workflow.
        schemas: those that go whole.
        shared: tables that go from other schemas, as (schema, table).

    Raises:
        WarehouseLocked: somebody else held a database all the time.
        WarehouseError: a database cannot be written.
    """
    single = [TableName(*table) for table in shared]
    gone = {*schemas, *map(str, single)}

    def remove(connection: DuckDBPyConnection) -> None:
        for schema in schemas:
            connection.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
        for table in single:
            drop(connection, table)

    def publish_without(connection: DuckDBPyConnection, metadata: Metadata) -> None:
        remove(connection)
        for about in (metadata.schemas, metadata.files, metadata.definitions):
            for name in [name for name in about if gone.intersection((name, _schema(name)))]:
                del about[name]

    _everywhere(project, f"removal of {workflow_id}", remove, publish_without)


def rename_schemas(
    project: Project,
    workflow_id: str,
    schemas: Mapping[str, str],
    model: Callable[[str], str],
    sql: Callable[[str], str],
) -> list[str]:
    """Give a workflow's schemas other names, in the same databases as `remove_tables`.

    DuckDB cannot rename a schema (1.5): tables are copied into the new one, with their keys.

    Args:
        project: whose warehouse.
        workflow_id: the workflow's new name.
        schemas: each schema with its new name.
        model: the new name of a table or view.
        sql: a view's statement with the new names.

    Returns:
        The views, macros and types that could not be taken along, as `schema.name`.

    Raises:
        WarehouseLocked: somebody else held a database all the time.
        WarehouseError: a database cannot be written.
    """
    data = Layout.of(project).data
    left: set[str] = set()

    def rename(connection: DuckDBPyConnection) -> None:
        left.update(_rename(connection, schemas, model, sql))

    def renamed(table: str) -> str:
        schema, _, name = table.partition(".")
        new = schemas.get(schema, schema)
        return f"{new}.{model(name) if schema in schemas else name}" if name else new

    def publish_renamed(connection: DuckDBPyConnection, metadata: Metadata) -> None:
        files = {name: file for name, file in metadata.files.items() if _schema(name) in schemas}
        for name, file in files.items():  # before the views that read them
            table = _table(renamed(name))
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(table.schema)}")
            kinds = stored_columns(connection, _table(name))
            point_at_file(connection, table, data / file, kinds)
            drop(connection, _table(name))
        rename(connection)
        metadata.files = {renamed(name): file for name, file in metadata.files.items()}
        metadata.definitions = {
            renamed(name): _made_as(made, _table(renamed(name))) if name in files else made
            for name, made in metadata.definitions.items()
        }
        # Which run made it is not said: a run of the new name there was none.
        metadata.schemas = {
            renamed(name): (
                {**origin, "workflow": workflow_id, "run_id": None}
                if _schema(name) in schemas
                else origin
            )
            for name, origin in metadata.schemas.items()
        }

    _everywhere(project, f"renaming to {workflow_id}", rename, publish_renamed)
    return sorted(left)


def _everywhere(
    project: Project,
    what: str,
    change: Callable[[DuckDBPyConnection], None],
    publish_changed: Callable[[DuckDBPyConnection, Metadata], None],
) -> None:
    """Change every database that there is: files in place, what is published by a new version."""
    for database in databases(project):
        if database == "published":
            revise(project, what, publish_changed)
            continue
        with Connection(project, database) as conn:
            change(conn.raw)


def _rename(
    connection: DuckDBPyConnection,
    schemas: Mapping[str, str],
    model: Callable[[str], str],
    sql: Callable[[str], str],
) -> list[str]:
    """Rename schemas of the open database; returns what could not be taken along."""
    where = filled(
        "database_name = current_catalog() AND list_contains(?, schema_name) AND NOT internal",
        list(schemas),
    )
    made = connection.execute(
        f"SELECT schema_name, table_name, sql FROM duckdb_tables() WHERE {where} ORDER BY table_oid"
    ).fetchall()
    views = connection.execute(
        f"SELECT schema_name, view_name, sql FROM duckdb_views() WHERE {where} ORDER BY view_oid"
    ).fetchall()
    others = connection.execute(
        "SELECT DISTINCT schema_name || '.' || name FROM ("
        "SELECT database_name, schema_name, function_name AS name, internal FROM duckdb_functions() "
        "UNION ALL SELECT database_name, schema_name, type_name, internal FROM duckdb_types()) "
        f"WHERE {where}"
    ).fetchall()
    for schema in {row[0] for row in [*made, *views]}:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schemas[schema])}")
    for schema, name, definition in made:
        _move(
            connection, TableName(schema, name), TableName(schemas[schema], model(name)), definition
        )
    left = [name for (name,) in others]
    for schema in schemas:
        connection.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
    return left + _make_views(connection, [(f"{s}.{name}", sql(text)) for s, name, text in views])


def _move(
    connection: DuckDBPyConnection, table: TableName, target: TableName, definition: str
) -> None:
    import duckdb

    try:
        connection.execute(_made_as(definition, target))
        connection.execute(f"INSERT INTO {target.quoted} FROM {table.quoted}")
    except (duckdb.CatalogException, duckdb.BinderException):
        # Its keys refer to tables elsewhere, or columns are generated: the rows are what counts.
        connection.execute(f"DROP TABLE IF EXISTS {target.quoted}")
        connection.execute(f"CREATE TABLE {target.quoted} AS FROM {table.quoted}")


def _made_as(definition: str, table: TableName) -> str:
    """The statement that makes a table, for one of another name."""
    return f"CREATE TABLE {table.quoted}{definition[definition.index('(') :]}"


def _make_views(connection: DuckDBPyConnection, views: list[tuple[str, str]]) -> list[str]:
    """Make views, those that others build on first; returns those that do not work."""
    import duckdb

    waiting = views
    while waiting:
        failed = []
        for name, text in waiting:
            try:
                connection.execute(text)
            except (duckdb.CatalogException, duckdb.BinderException):
                failed.append((name, text))
        if len(failed) == len(waiting):
            break
        waiting = failed
    return [name for name, _ in waiting]


def _table(name: str) -> TableName:
    return TableName(*name.split(".", 1))


def _schema(name: str) -> str:
    """The schema of `schema.table`, or of `schema`."""
    return name.partition(".")[0]
