"""Schemas as a whole: which tables are whose, and taking a workflow's away everywhere.

Everything here can be repeated: what was killed in the middle is finished by calling it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dataflow.base.sql import quote
from dataflow.warehouse import lock, versions
from dataflow.warehouse.connect import Connection, Database
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.names import TableName
from dataflow.warehouse.provenance import SCHEMA, writers
from dataflow.warehouse.publish import publish
from dataflow.warehouse.snapshot import drop, relations

if TYPE_CHECKING:
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
        wait: wait for somebody who writes to it; else None when there is one.

    Raises:
        WarehouseError: it cannot be opened.
    """
    layout = Layout.of(project)
    path = {"working": layout.working, "development": layout.development}.get(database)
    if not wait and path is not None and lock.read_holder(path):
        return None
    with Connection(project, database, read_only=True) as conn:
        made_by = writers(conn.raw)
        found = (table for table in relations(conn.raw, None) if table.schema != SCHEMA)
        return {table: made_by.get(table) for table in found}


def remove_tables(
    project: Project,
    workflow_id: str,
    schemas: Sequence[str],
    shared: Iterable[tuple[str, str]] = (),
) -> None:
    """Remove a workflow's tables from the working warehouse, the development copy of this user,
    and, by a new version, from what is published.

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
    there = databases(project)
    for database in there:
        if database == "published":
            continue
        with Connection(project, database) as conn:
            for schema in schemas:
                conn.execute(f"DROP SCHEMA IF EXISTS {quote(schema)} CASCADE")
            for table in single:
                drop(conn.raw, table)
    if "published" in there:
        publish(project, workflow_id, schemas, shared=single, forget=True)
