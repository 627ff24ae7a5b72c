"""How the tables of a database file are stored: what they take, and whether one was written since.

A table's mark changes with anything that is written to it, and costs no look at its rows. It is made
of the file's history, of its definition, of who wrote it last, of how many rows it has, and of where
each piece of its columns is in the file, with the checksum of that block. No one of these would do: who
wrote a table is read from the text of statements, and by those only who hold the lock; a block's number
is used again, and its checksum is the same for values in another order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.sql import TableName, filled, literal
from dataflow.warehouse.history import descriptor
from dataflow.warehouse.layout import BLOCK_BYTES, FILE_HEADER_BYTES
from dataflow.warehouse.provenance import provenance

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_CHECKSUM_BYTES = 8  # at the beginning of each block
_AT_ONCE = 30  # tables in one statement: planning takes the square of them
_PIECES = (
    "persistent AND NOT has_updates, list_prepend(block_id, additional_block_ids), row_group_id, "
    "column_path, segment_id, segment_type, start, count, compression, stats, block_offset "
    "FROM pragma_storage_info({1})"
)
_ROWS = "count(*) FROM {0}"


@dataclass(frozen=True)
class Stored:
    """A table as it is stored.

    Args:
        bytes: what the blocks take in the file that have something of it.
        mark: the same as long as nothing is written to it; None when that cannot be told.
    """

    bytes: int
    mark: str | None


def stored_tables(
    connection: DuckDBPyConnection,
    path: Path,
    schemas: Sequence[str],
    tables: Sequence[TableName],
    history: str | None,
) -> dict[TableName, Stored]:
    """The tables of these schemas, and these tables, as they are stored.

    Args:
        connection: on the file, right after a checkpoint.
        path: the file.
        schemas, tables: the schemas, and tables of others.
        history: names the file's history (`history.py`); None when that is not known, and no table
            has a mark.
    """
    defined = _definitions(connection, [*schemas, *(table.schema for table in tables)])
    wanted = sorted(t for t in defined if t.schema in schemas or t in tables)
    origins = provenance(connection)
    file = None if history is None else descriptor(path)
    found = {}
    for first in range(0, len(wanted), _AT_ONCE):
        some = wanted[first : first + _AT_ONCE]
        pieces: dict[TableName, list[tuple[Any, ...]]] = {table: [] for table in some}
        for table, *piece in _of_each(connection, _PIECES, some):
            pieces[table].append(tuple(piece))
        for table, rows in _of_each(connection, _ROWS, some):
            blocks = sorted({b for _, ids, *_ in pieces[table] for b in ids if b >= 0})
            mark = None
            if file is not None and all(is_stored for is_stored, *_ in pieces[table]):
                told = repr((history, defined[table], origins.get(table), rows, pieces[table]))
                digest = hashlib.sha256(told.encode("utf-8", "surrogatepass"))
                for block in blocks:
                    start = FILE_HEADER_BYTES + block * BLOCK_BYTES
                    digest.update(os.pread(file, _CHECKSUM_BYTES, start))
                mark = digest.hexdigest()
            found[table] = Stored(len(blocks) * BLOCK_BYTES, mark)
    return found


def _of_each(
    connection: DuckDBPyConnection, query: str, tables: Sequence[TableName]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query on each table, with the table first."""
    all_ = " UNION ALL ".join(
        f"SELECT {number}, {query.format(table.quoted, literal(table.quoted))}"
        for number, table in enumerate(tables)
    )
    for number, *row in connection.execute(all_).fetchall():
        yield tables[number], *row


def _definitions(
    connection: DuckDBPyConnection, schemas: Sequence[str]
) -> dict[TableName, list[Any]]:
    """What says how each table is made: its statement, comments, columns with their types."""
    where = "WHERE database_name = current_catalog() AND list_contains(?, schema_name)"
    tables = connection.execute(
        filled(
            f"SELECT schema_name, table_name, sql, comment FROM duckdb_tables() {where}", schemas
        )
    ).fetchall()
    found: dict[TableName, list[Any]] = {TableName(*row[:2]): list(row[2:]) for row in tables}
    columns = connection.execute(
        filled(
            "SELECT schema_name, table_name, column_name, data_type, comment "
            f"FROM duckdb_columns() {where} ORDER BY column_index",
            schemas,
        )
    ).fetchall()
    for schema, name, *column in columns:
        if (table := TableName(schema, name)) in found:  # views have columns, too
            found[table].append(column)
    return found
