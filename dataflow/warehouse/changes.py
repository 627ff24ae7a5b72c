"""Which tables a stage wrote: recorded by its connections, compared with what it declares.

Every connection to the working warehouse notes the tables it wrote, in plain SQL too: who wrote
a table is kept beside it (`provenance`), and a stage's own record is compared with its `writes`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dataflow.base.sql import TableName, filled, literal
from dataflow.project import Project
from dataflow.warehouse import provenance
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.names import parse_table
from dataflow.warehouse.statements import changed_tables

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Writes:
    """What a stage wrote, compared with what it declared.

    Args:
        written: every table it changed, created or dropped, as `schema.table`.
        undeclared: those it did not declare.
        missing: those it declared and did not write.
    """

    written: list[str]
    undeclared: list[str]
    missing: list[str]


def compare_writes(
    project: Project, workflow_id: str, run_id: str, stage: str, declared: Sequence[str]
) -> Writes:
    """What a stage of a run wrote, compared with the `writes` of its configuration.

    Args:
        project: whose warehouse.
        workflow_id: the workflow; a bare name in `declared` is in its `<workflow>_raw`.
        run_id: the run.
        stage: the stage.
        declared: the tables it declares.
    """
    wanted = {str(parse_table(name, workflow_id)) for name in declared}
    written = {str(table) for table in stage_writes(project, run_id, stage)}
    return Writes(sorted(written), sorted(written - wanted), sorted(wanted - written))


@dataclass
class Written:
    """A table as a stage left it.

    Args:
        columns: its columns with their types; empty when it was dropped.
        cells: the execution counts of the cells that wrote it, where that is known.
        allowed: whether the author said that it may have other columns than it had.
    """

    columns: dict[str, str] = field(default_factory=dict)
    cells: list[int] = field(default_factory=list)
    allowed: bool = False


def stage_writes(project: Project, run_id: str, stage: str) -> dict[TableName, Written]:
    """The tables that a stage of a run changed, created or dropped.

    Args:
        project: whose warehouse.
        run_id: the run.
        stage: the stage.
    """
    found: dict[TableName, Written] = {}
    for line in _read(project, run_id):
        if line.get("stage") == stage:
            for name, facts in line.get("tables", {}).items():
                written = found.setdefault(TableName(*name.split(".", 1)), Written())
                written.columns = facts["columns"]
                written.cells += [cell for cell in facts["cells"] if cell not in written.cells]
                written.allowed |= facts["allowed"]
    return found


def forget_writes(project: Project, run_id: str, stage: str | None = None) -> None:
    """Drop the record of a run, or of one of its stages (before it is tried again)."""
    path = Layout.of(project).writes_of(run_id)
    there = _read(project, run_id)
    kept = [] if stage is None else [line for line in there if line.get("stage") != stage]
    if stage is not None and len(kept) == len(there):
        return  # another stage may be writing to it
    path.unlink(missing_ok=True)
    for line in kept:
        _append(Layout.of(project), run_id, line)


class Watch:
    """What a connection writes, from the creation of this object until `written` is called.

    DuckDB keeps a log of the statements it executes, those of cursors included; it shows which
    tables' rows were changed. Tables that were created, replaced, renamed or dropped show in the
    catalog. The tables themselves are not read.

    Args:
        connection: outside a transaction.
        keep_log: keep the log, since another connection of this process is watched, too.
    """

    def __init__(self, connection: DuckDBPyConnection, *, keep_log: bool = False) -> None:
        connection.execute("CALL enable_logging('QueryLog')")
        if not keep_log:
            connection.execute("CALL truncate_duckdb_logs()")
        self._before = self._cell_before = _catalog(connection)
        self._cell_since = 0  # the time of the last statement of the cell before, in microseconds
        self._cells: dict[TableName, list[int]] = {}
        self._noted: set[TableName] = set()
        self.allowed: set[TableName] = set()

    def note(self, connection: DuckDBPyConnection) -> set[TableName]:
        """Keep in the database who wrote the tables written so far; returns them all."""
        tables = self.written(connection)
        provenance.note(connection, tables - self._noted)
        self._noted |= tables
        return self._noted

    def end_of_cell(self, connection: DuckDBPyConnection, number: int) -> None:
        """Note what the cell that ends now has written and committed.

        Args:
            connection: on the same database.
            number: the cell's execution count.
        """
        after = _catalog(connection)
        for table in _changed(connection, self._cell_before, after, self._cell_since):
            self._cells.setdefault(table, []).append(number)
        self._cell_before = after
        row = connection.execute("SELECT epoch_us(max(timestamp)) FROM duckdb_logs").fetchone()
        self._cell_since = row[0] if row and row[0] else self._cell_since

    def report(self, connection: DuckDBPyConnection, cell: int | None) -> dict[TableName, Written]:
        """The tables that `note` found, as they are now.

        Args:
            connection: outside a transaction.
            cell: the execution count of the cell that runs.
        """
        if cell is not None and self._cells:
            self.end_of_cell(connection, cell)
        columns = columns_of(connection, self._noted)
        return {
            table: Written(
                columns.get(table, {}),
                self._cells.get(table) or ([] if cell is None else [cell]),
                table in self.allowed,
            )
            for table in sorted(self._noted)
        }

    def written(self, connection: DuckDBPyConnection) -> set[TableName]:
        """The tables written so far, without what was rolled back."""
        return _changed(connection, self._before, _catalog(connection))


def _changed(
    connection: DuckDBPyConnection,
    before: Mapping[TableName, tuple[Any, ...]],
    after: Mapping[TableName, tuple[Any, ...]],
    since: int = 0,
) -> set[TableName]:
    """The tables written between two states of the catalog, without what was rolled back.

    Args:
        connection: on the database.
        before, after: the states, from `_catalog`.
        since: only by statements after this time, in microseconds.
    """
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    log = connection.execute(
        "SELECT connection_id, message FROM duckdb_logs WHERE type = 'QueryLog' AND "
        "transaction_id NOT IN (SELECT transaction_id FROM duckdb_logs WHERE type = "
        "'QueryLog' AND regexp_matches(message, '^\\s*(rollback|abort)', 'i')) "
        # What an earlier cell has set applies to the names of a later one.
        f"AND (epoch_us(timestamp) > {since} OR regexp_matches(message, '^\\s*(use|set)', 'i'))"
    ).fetchall()
    catalog = str(connection.execute("SELECT current_catalog()").fetchall()[0][0])
    named: set[tuple[str, str]] = set()
    for number in {number for number, _ in log}:
        named |= changed_tables((text for n, text in log if n == number), catalog)
    changed |= {t for t in {*before, *after} if (t.schema.lower(), t.name.lower()) in named}
    # Methods of relations (`update`, `insert_into`) are statements without a text.
    if sum(not text for _, text in log) > len(changed):
        changed |= _updated(connection, [t for t, mark in after.items() if mark[0] == "table"])
    return {table for table in changed if table.schema != provenance.SCHEMA}


def _catalog(connection: DuckDBPyConnection) -> dict[TableName, tuple[Any, ...]]:
    """A mark for every table and view that changes when it is recreated or its rows change."""
    rows = connection.execute(
        "SELECT schema_name, table_name, 'table', table_oid, estimated_size, column_count "
        "FROM duckdb_tables() WHERE database_name = current_catalog() AND NOT temporary UNION ALL "
        "SELECT schema_name, view_name, 'view', view_oid, 0, 0 FROM duckdb_views() "
        "WHERE database_name = current_catalog() AND NOT temporary AND NOT internal"
    ).fetchall()
    return {TableName(schema, name): tuple(mark) for schema, name, *mark in rows}


def columns_of(
    connection: DuckDBPyConnection, tables: Iterable[TableName]
) -> dict[TableName, dict[str, str]]:
    """The columns of tables and views, with their types; without tables that do not exist."""
    listed = list(tables)
    rows = connection.execute(
        filled(
            "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = current_catalog() AND (schema_name, table_name) IN "
            "(SELECT (unnest(?), unnest(?))) ORDER BY column_index",
            [table.schema for table in listed],
            [table.name for table in listed],
        )
    ).fetchall()
    found: dict[TableName, dict[str, str]] = {}
    for schema, table, column, kind in rows:
        found.setdefault(TableName(schema, table), {})[column] = kind
    return found


def _updated(connection: DuckDBPyConnection, tables: Sequence[TableName]) -> set[TableName]:
    """The tables with rows that were updated since the last checkpoint."""
    parts = [
        f"SELECT {number} FROM pragma_storage_info({literal(table.quoted)}) WHERE has_updates"
        for number, table in enumerate(tables)
    ]
    found = connection.execute(" UNION ".join(parts)).fetchall() if parts else []
    return {tables[number] for (number,) in found}


def record(layout: Layout, written: Mapping[TableName, Written]) -> None:
    """Note what was written, for the run this process belongs to."""
    run_id = os.environ.get("DATAFLOW_RUN_ID")
    if run_id and written:
        tables = {str(table): asdict(facts) for table, facts in written.items()}
        _append(layout, run_id, {"stage": os.environ.get("DATAFLOW_STAGE"), "tables": tables})


def _append(layout: Layout, run_id: str, line: Mapping[str, object]) -> None:
    path = layout.writes_of(run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _read(project: Project, run_id: str) -> list[dict[str, Any]]:
    try:
        text = Layout.of(project).writes_of(run_id).read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]
