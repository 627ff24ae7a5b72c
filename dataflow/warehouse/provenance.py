"""Who wrote each table, and when, and by which key: kept in the database, to travel with the data.

A backup, a published version and a restored warehouse have it, as the working warehouse does.
The schema is hidden from listings, and belongs to no workflow.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from dataflow.base.sql import TableName, filled, quote
from dataflow.warehouse.layout import CATALOG

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCHEMA = "_dataflow"
_TABLE = f"{SCHEMA}.table_origins"  # not a variable's name in this module, which DuckDB would read instead
_KEYS = f"{SCHEMA}.table_keys"
# Rows are only ever appended while others may write: two connections of one process that
# changed the same row would conflict, and cost one of them its data. The newest row counts.
_NEWEST = "QUALIFY row_number() OVER (PARTITION BY schema_name, table_name ORDER BY rowid DESC) = 1"
TIDY_ABOVE = 100


class Origin(NamedTuple):
    """The step of a run that wrote a table last; run and step are None for a write by hand."""

    run: str | None
    step: str | None
    at: datetime


def provenance(connection: DuckDBPyConnection, catalog: str = CATALOG) -> dict[TableName, Origin]:
    """Who wrote each table last, for existing tables whose writer is known.

    Args:
        connection: on any of the warehouse's databases.
        catalog: which of the attached databases.
    """
    import duckdb

    try:
        rows = connection.execute(
            filled(
                "SELECT schema_name, table_name, run_id, step, epoch_us(written_at) "
                f"FROM {quote(catalog)}.{_TABLE} WHERE (schema_name, table_name) IN "
                "(SELECT (table_schema, table_name) FROM information_schema.tables "
                f"WHERE table_catalog = ?) {_NEWEST}",
                catalog,
            ),
        ).fetchall()
    except duckdb.CatalogException:
        return {}  # from before this was recorded
    return {
        TableName(schema, table): Origin(run, step, datetime.fromtimestamp(at / 1e6, UTC))
        for schema, table, run, step, at in rows
    }


def writers(connection: DuckDBPyConnection) -> dict[TableName, str]:
    """The workflow that wrote each table last, where one did and it is known."""
    import duckdb

    try:
        rows = connection.execute(
            f"FROM (FROM {_TABLE} {_NEWEST}) SELECT schema_name, table_name, workflow "
            "WHERE workflow IS NOT NULL"
        ).fetchall()
    except duckdb.CatalogException:
        return {}  # of a time when this was not kept
    return {TableName(schema, table): workflow for schema, table, workflow in rows}


def by_hand(
    origins: Mapping[TableName, Origin | None], since: Mapping[TableName, datetime | None]
) -> dict[TableName, datetime]:
    """The tables that somebody wrote by hand after a moment, and when.

    Args:
        origins: who wrote each table last.
        since: the tables to check, each with its moment; None where it does not matter.
    """
    return {
        table: origin.at
        for table, moment in since.items()
        if moment is not None
        and (origin := origins.get(table)) is not None
        and origin.run is None
        and origin.at > moment
    }


def prepare(connection: DuckDBPyConnection) -> None:
    """Create the table if it is missing, outside of any transaction."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_TABLE} (schema_name VARCHAR, table_name VARCHAR, "
        "run_id VARCHAR, workflow VARCHAR, step VARCHAR, written_at TIMESTAMPTZ)"
    )
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_KEYS} (schema_name VARCHAR, table_name VARCHAR, "
        "key_columns VARCHAR[])"
    )


def note(
    connection: DuckDBPyConnection,
    tables: Iterable[TableName],
    *,
    run_id: str | None = None,
    workflow: str | None = None,
    step: str | None = None,
) -> None:
    """Note that tables were written, in the connection's transaction: by this run, or by hand.

    Args:
        connection: on the working warehouse.
        tables: the tables.
        run_id, workflow, step: who wrote them; by default the step this process belongs to.
    """
    if named := sorted(tables):
        connection.execute(
            filled(
                f"INSERT INTO {_TABLE} SELECT unnest(?), unnest(?), "
                "?, ?, ?, get_current_timestamp()",
                *map(list, zip(*named, strict=True)),
                run_id or os.environ.get("DATAFLOW_RUN_ID"),
                workflow or os.environ.get("DATAFLOW_WORKFLOW"),
                step or os.environ.get("DATAFLOW_STAGE"),
            ),
        )


def known_keys(connection: DuckDBPyConnection) -> dict[TableName, tuple[str, ...]]:
    """The columns that identify a row, as `write_table` was given them last, where it was."""
    import duckdb

    try:
        rows = connection.execute(
            f"FROM (FROM {_KEYS} {_NEWEST}) SELECT schema_name, table_name, key_columns"
        ).fetchall()
    except duckdb.CatalogException:
        return {}  # from before this was recorded
    return {TableName(schema, table): tuple(columns) for schema, table, columns in rows}


def note_key(connection: DuckDBPyConnection, table: TableName, key: Sequence[str]) -> None:
    """Note which columns identify a table's rows, in the connection's transaction."""
    if known_keys(connection).get(table) != tuple(key):
        connection.execute(filled(f"INSERT INTO {_KEYS} VALUES (?, ?, ?)", *table, list(key)))


def copy_provenance(
    connection: DuckDBPyConnection, source: str, schemas: list[str], tables: Iterable[TableName]
) -> None:
    """Copy what is noted of these schemas' tables, and of these tables, from the database `source`."""
    import duckdb

    prepare(connection)
    listed = list(tables)
    taken = filled(
        "(list_contains(?, schema_name) OR (schema_name, table_name) IN "
        "(SELECT (unnest(?), unnest(?))))",
        schemas,
        [table.schema for table in listed],
        [table.name for table in listed],
    )
    for noted in (_TABLE, _KEYS):
        connection.execute(f"DELETE FROM {noted} WHERE {taken}")
        # A source from before this was recorded has none.
        with contextlib.suppress(duckdb.CatalogException):
            connection.execute(
                f"INSERT INTO {noted} FROM {quote(source)}.{noted} WHERE {taken} {_NEWEST}"
            )


def tidy(connection: DuckDBPyConnection) -> None:
    """Drop superseded rows when there are many, outside a transaction."""
    row = connection.execute(
        f"SELECT count(*) - 2 * count(DISTINCT (schema_name, table_name)) FROM {_TABLE}"
    ).fetchone()
    if row and row[0] > TIDY_ABOVE:
        connection.execute(
            f"DELETE FROM {_TABLE} WHERE rowid NOT IN (SELECT rowid FROM {_TABLE} {_NEWEST})"
        )
