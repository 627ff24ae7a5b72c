"""Compare the columns of what is written with those of the table that is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataflow.base.sql import quote
from dataflow.warehouse.names import TableName

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from dataflow.warehouse.incoming import Incoming

# DuckDB casts these by itself, but a value changes its meaning.
_CHANGES_MEANING = {("TIMESTAMP", "TIMESTAMP WITH TIME ZONE")}


@dataclass
class Difference:
    """What is different between the data and the table.

    Args:
        added: columns only the data has, with their types.
        missing: columns only the table has, with their types.
        changed: columns of another type: (column, the table's type, the data's type).
    """

    added: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    changed: list[tuple[str, str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.missing or self.changed)

    def lines(self) -> list[str]:
        """One line per column."""
        return [
            *(f"+ {name} {kind}  (only in the data)" for name, kind in self.added.items()),
            *(f"- {name} {kind}  (only in the table)" for name, kind in self.missing.items()),
            *(f"~ {name} {old} → {new}  (table → data)" for name, old, new in self.changed),
        ]


def compare(raw: DuckDBPyConnection, incoming: Incoming, existing: dict[str, str]) -> Difference:
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
            difference.added[column] = new_type(incoming, column)
            continue
        name, old = there.pop(column.lower())
        if old != kind and column not in incoming.untyped and not _contains(raw, old, kind):
            difference.changed.append((name, old, kind))
    difference.missing = dict(there.values())
    return difference


def existing_columns(raw: DuckDBPyConnection, table: TableName) -> dict[str, str] | None:
    """The columns a table has, with their types; None when there is no such table."""
    import duckdb

    try:
        # Quicker than asking DuckDB's catalog tables, which list everything first.
        rows = raw.execute(f"DESCRIBE {table.quoted}").fetchall()
    except duckdb.CatalogException:
        return None
    return {row[0]: row[1] for row in rows}


def new_type(incoming: Incoming, column: str) -> str:
    """The type a new column gets; without a single value to go by, text."""
    return "VARCHAR" if column in incoming.untyped else incoming.columns[column]


def select(incoming: Incoming, types: dict[str, str] | None = None) -> str:
    """The query that reads the data with the types the table has.

    Args:
        types: the table's columns; None for a new table.
    """
    wanted = {name.lower(): kind for name, kind in (types or {}).items()}
    parts = []
    for column, kind in incoming.columns.items():
        target = wanted.get(column.lower(), new_type(incoming, column))
        name = quote(column)
        parts.append(name if target == kind else f"CAST({name} AS {target}) AS {name}")
    return f"SELECT {', '.join(parts)} FROM {incoming.name}"


def _contains(raw: DuckDBPyConnection, wide: str, narrow: str) -> bool:
    """Whether every value of type `narrow` has its place in type `wide`."""
    if (narrow, wide) in _CHANGES_MEANING:
        return False
    row = raw.execute(f"SELECT can_cast_implicitly(NULL::{narrow}, NULL::{wide})").fetchone()
    return bool(row and row[0])
