"""Which tables a stage wrote: recorded by its connections, compared with what it declares.

Within a run every connection to the working warehouse notes, when it closes, the tables that
changed while it held the write lock. Nobody else can have changed them, so the record says
exactly which stage wrote what, in plain SQL too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow.warehouse.layout import Layout
from dataflow.warehouse.names import TableName, literal, quote

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from dataflow.project import Project

# Above this many rows a table's storage takes too long to look through each time; there a
# change of the number of rows tells, and `write_table` notes its tables in any case.
LOOK_THROUGH_ROWS = 5_000_000


@dataclass(frozen=True)
class Writes:
    """What a stage wrote, beside what it declared.

    Args:
        written: every table it changed, made or dropped, as `schema.table`.
        undeclared: those it did not declare.
        missing: those it declared and did not write.
    """

    written: list[str]
    undeclared: list[str]
    missing: list[str]

    @property
    def as_declared(self) -> bool:
        """Whether it wrote what it declared, and nothing else."""
        return not self.undeclared and not self.missing

    def __str__(self) -> str:
        parts = []
        if self.undeclared:
            parts.append(f"wrote {', '.join(self.undeclared)}, which it does not declare")
        if self.missing:
            parts.append(f"did not write {', '.join(self.missing)}, which it declares")
        return "; ".join(parts) or "wrote what it declares"


def compare_writes(
    project: Project, workflow_id: str, run_id: str, stage: str, declared: Sequence[str]
) -> Writes:
    """What a stage of a run wrote, compared with the `writes` of its configuration.

    Args:
        project: whose warehouse.
        workflow_id: the workflow; a bare name in `declared` is in its `<workflow>_raw`.
        run_id: the run.
        stage: the stage.
        declared: the tables it is to write.
    """
    wanted = {str(TableName.parse(name, workflow_id)) for name in declared}
    written = {
        table
        for line in _read(project, run_id)
        if line.get("stage") == stage
        for table in line.get("tables", [])
    }
    return Writes(sorted(written), sorted(written - wanted), sorted(wanted - written))


def forget_writes(project: Project, run_id: str, stage: str | None = None) -> None:
    """Drop the record of a run, or of one of its stages (before it is tried again)."""
    path = Layout.of(project).writes_of(run_id)
    kept = [] if stage is None else [x for x in _read(project, run_id) if x.get("stage") != stage]
    path.unlink(missing_ok=True)
    for line in kept:
        _append(Layout.of(project), run_id, line)


def states(connection: DuckDBPyConnection) -> dict[str, str]:
    """A mark for every table that changes when the table does.

    Args:
        connection: outside a transaction.
    """
    tables = connection.execute(
        "SELECT schema_name, table_name, estimated_size, column_count FROM duckdb_tables() "
        "WHERE database_name = current_catalog() AND NOT temporary"
    ).fetchall()
    marks = {f"{schema}.{name}": f"{rows}/{columns}" for schema, name, rows, columns in tables}
    parts = [
        # The rows are counted too: deleted ones stay in their segments until a checkpoint.
        f"SELECT {literal(f'{schema}.{name}')} AS name, bit_xor(hash(row_group_id, column_id, "
        "segment_id, count, stats, has_updates, persistent, block_id, block_offset)) AS mark, "
        f"(SELECT count(*) FROM {quote(schema)}.{quote(name)}) AS visible "
        f"FROM pragma_storage_info({literal(f'{quote(schema)}.{quote(name)}')})"
        for schema, name, rows, _ in tables
        if rows <= LOOK_THROUGH_ROWS
    ]
    if parts:
        for name, mark, visible in connection.execute(" UNION ALL ".join(parts)).fetchall():
            marks[name] += f"/{mark}/{visible}"
    return marks


def record(
    layout: Layout, before: dict[str, str], after: dict[str, str], noted: Iterable[str]
) -> None:
    """Note what changed between two `states`, for the run this process belongs to.

    Args:
        noted: tables that were written in any case, if without a change.
    """
    run_id = os.environ.get("DATAFLOW_RUN_ID")
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    tables = sorted(changed | set(noted))
    if run_id and tables:
        _append(layout, run_id, {"stage": os.environ.get("DATAFLOW_STAGE"), "tables": tables})


def _append(layout: Layout, run_id: str, line: Mapping[str, object]) -> None:
    path = layout.writes_of(run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _read(project: Project, run_id: str) -> list[dict[str, list[str]]]:
    try:
        text = Layout.of(project).writes_of(run_id).read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]
