"""One table in detail: its columns and what they hold, and its first rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflow.base.sql import quote
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError
from dataflow.warehouse.connect import Connection, Database
from dataflow.warehouse.failures import translated
from dataflow.warehouse.inspect import Table, tables_of
from dataflow.warehouse.names import TableName

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from dataflow.project import Project

FIRST_ROWS = 3
# Up to here different values are counted; above, DuckDB estimates them.
COUNTED_ROWS = 1_000_000
_WITHOUT_ORDER = {"blob", "list", "array", "struct", "map", "union", "bit"}


@dataclass(frozen=True)
class Column:
    """A column and what it holds.

    Args:
        name, type: the column's.
        nulls: how many of its values are NULL.
        distinct: how many different values it has; about, in a table of more than a million rows.
        min, max: the smallest and the largest value, as text; None where its type has no order.
    """

    name: str
    type: str
    nulls: int
    distinct: int
    min: str | None
    max: str | None


@dataclass(frozen=True)
class Description:
    """A table or view.

    Args:
        table: its name, kind, size, and the run that wrote it last.
        rows: how many; of a view, too.
        columns: its columns.
        first: its first rows, values as text (None for NULL).
    """

    table: Table
    rows: int
    columns: tuple[Column, ...]
    first: tuple[tuple[str | None, ...], ...]


def describe(
    project: Project, name: str, database: Database = "published", timeout: float = 60
) -> Description:
    """Describe one table or view; reads all of it.

    Args:
        project: whose warehouse.
        name: `schema.table`, or `table` where only one schema has it; in any case.
        database: which of its databases.
        timeout: seconds to wait for writers.

    Raises:
        ConfigurationError: there is no such table, or several.
        WarehouseError: the database cannot be opened or read.
    """
    with Connection(project, database, read_only=True, timeout=timeout) as conn:
        table = _find(tables_of(conn), name, database)
        full = TableName(table.schema, table.name)
        with translated(conn.path):
            rows, columns = _columns(conn.raw, full.quoted)
            first = conn.execute(
                f"SELECT COLUMNS(*)::VARCHAR FROM {full.quoted} LIMIT {FIRST_ROWS}"
            ).fetchall()
    return Description(table, rows, columns, tuple(first))


def _find(tables: list[Table], name: str, database: Database) -> Table:
    wanted = name.lower()
    names = {f"{table.schema}.{table.name}": table for table in tables}
    found = {
        full: table for full, table in names.items() if wanted in (full.lower(), table.name.lower())
    }
    if len(found) > 1:
        raise ConfigurationError(
            f"several schemas have a table {name}", hint=f"Use one of: {', '.join(found)}."
        )
    if not found:
        bare = {table.name: full for full, table in names.items()}
        raise ConfigurationError(
            f"the {database} database has no table {name}",
            hint=nearest(wanted, names if "." in name else bare)
            or "Run the workflow that writes it: dataflow workflow run NAME.",
        )
    return next(iter(found.values()))


def _columns(connection: DuckDBPyConnection, table: str) -> tuple[int, tuple[Column, ...]]:
    """The number of rows, and the columns with what they hold."""
    relation = connection.sql(f"FROM {table}")
    counted = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    rows = int(counted[0]) if counted else 0
    different = "count(DISTINCT {0})" if rows <= COUNTED_ROWS else "approx_count_distinct({0})"
    wanted = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        column = quote(name)
        wanted += [f"count({column})", different.format(column)]
        for limit in ("min", "max"):
            has_order = kind.id not in _WITHOUT_ORDER
            wanted.append(f"{limit}({column})::VARCHAR" if has_order else "NULL")
    values: tuple[Any, ...] = (
        connection.execute(f"SELECT {', '.join(wanted)} FROM {table}").fetchone() or ()
    )
    return rows, tuple(
        Column(name, str(kind), rows - values[at], *values[at + 1 : at + 4])
        for at, name, kind in zip(
            range(0, len(values), 4), relation.columns, relation.types, strict=True
        )
    )
