"""What is in the warehouse, and whether it is intact."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.base import finding
from dataflow.base.files import draft_beside
from dataflow.base.finding import Finding
from dataflow.base.lock import DEFAULT_TIMEOUT
from dataflow.base.sql import TableName, filled
from dataflow.base.words import counted
from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.warehouse import changes, failures, lock, provenance, versions
from dataflow.warehouse.connect import Connection, Database
from dataflow.warehouse.files import attached, checkpoint, copy_database, open_file
from dataflow.warehouse.layout import BLOCK_BYTES, Layout
from dataflow.warehouse.provenance import Origin
from dataflow.warehouse.snapshot import relations, stored_columns

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# Where a DuckDB file has its magic bytes, and the version that wrote it.
_MAGIC = slice(8, 12)
_WRITTEN_BY = slice(52, 84)


@dataclass(frozen=True)
class Table:
    """A table or view of the warehouse.

    Args:
        schema, name: its name.
        kind: `table` or `view`.
        rows: how many; None for a view, which would have to be computed.
        bytes: its size on disk; None for a view.
        columns: how many.
        run_id: the run that wrote it last; None when it was written by hand or is not known.
        step: the step of that run.
        written_at: when it was written last.
    """

    schema: str
    name: str
    kind: str
    rows: int | None
    bytes: int | None
    columns: int
    run_id: str | None
    step: str | None
    written_at: datetime | None


def tables(project: Project, database: Database = "published", timeout: float = 60) -> list[Table]:
    """Every table and view of a database, by schema and name.

    Args:
        project: whose warehouse.
        database: which of its databases.
        timeout: seconds to wait for writers.

    Raises:
        WarehouseError: it cannot be opened.
    """
    with Connection(
        project, database, read_only=database != "development", timeout=timeout
    ) as conn:
        return tables_of(conn)


def tables_of(conn: Connection) -> list[Table]:
    """Every table and view that an open connection can read, by schema and name."""
    metadata = versions.Metadata.read(conn.path.parent)
    files = metadata.files if metadata is not None else {}
    origins = provenance.provenance(conn.raw)
    data = Layout.of(conn.project).data
    found = conn.execute(
        filled(
            "SELECT t.table_schema, t.table_name, t.table_type, count(c.column_name) "
            "FROM information_schema.tables t LEFT JOIN information_schema.columns c "
            "USING (table_catalog, table_schema, table_name) "
            "WHERE t.table_catalog = current_catalog() AND t.table_schema <> ? "
            "GROUP BY ALL ORDER BY ALL",
            provenance.SCHEMA,
        ),
    ).fetchall()
    sizes = _sizes(conn.raw, [TableName(*row[:2]) for row in found if row[2] != "VIEW"])
    result = []
    for schema, name, kind, columns in found:
        table = TableName(schema, name)
        file = files.get(str(table)) if kind == "VIEW" else None
        rows = size = None
        if kind != "VIEW" or file is not None:
            rows = _count(conn.raw, table)
            size = _size(data / file) if file else sizes[table]
        origin = origins.get(table)
        run_id, step, at = origin if origin else (None, None, None)
        is_view = kind == "VIEW" and file is None
        kind = "view" if is_view else "table"
        result.append(Table(schema, name, kind, rows, size, columns, run_id, step, at))
    return result


@dataclass(frozen=True)
class Shape:
    """How big a table is, and what it is made of.

    Args:
        rows: how many; of a view as many as it has now.
        columns: the types by name.
    """

    rows: int
    columns: dict[str, str]


def shapes(database: Path, workflow_id: str) -> dict[TableName, Shape]:
    """The shape of every table and view that a version has of a workflow.

    Args:
        database: the version's file, published or awaiting review.
        workflow_id: whose.

    Raises:
        WarehouseError: it cannot be opened.
    """
    metadata = versions.Metadata.read(database.parent)
    of = metadata.schemas if metadata else {}
    own = {name for name, origin in of.items() if origin.get("workflow") == workflow_id}
    with contextlib.closing(open_file(database, read_only=True)) as connection:
        return {
            table: Shape(_count(connection, table), stored_columns(connection, table))
            for table in relations(connection, None)
            if table.schema in own or str(table) in own
        }


def contents(
    project: Project, *, timeout: float = DEFAULT_TIMEOUT
) -> dict[TableName, Origin | None]:
    """The tables and views of the working warehouse, each with who wrote it last, where known.

    Args:
        project: whose.
        timeout: seconds to wait for its writers.

    Raises:
        WarehouseError: it cannot be opened.
    """
    if not project.warehouse.exists():
        return {}
    with Connection(project, "working", read_only=True, timeout=timeout) as conn:
        origins = provenance.provenance(conn.raw)
        return {table: origins.get(table) for table in relations(conn.raw, None)}


@dataclass(frozen=True)
class PublishedTable:
    """A table as it is published.

    Args:
        columns: its columns with their types.
        run, workflow, step: who wrote it last; None by hand, or where it is not known.
    """

    columns: dict[str, str]
    run: str | None
    workflow: str | None
    step: str | None


def published_tables(
    project: Project, names: Collection[TableName]
) -> dict[TableName, PublishedTable]:
    """These tables as they are published; without those that are not.

    Raises:
        WarehouseError: the published version cannot be opened.
    """
    if versions.current(Layout.of(project)) is None:
        return {}
    with Connection(project, "published") as conn:
        origins = provenance.provenance(conn.raw)
        workflows = provenance.writers(conn.raw)
        found = changes.columns_of(conn.raw, names)
    tables = {}
    for table, columns in found.items():
        run, step, _ = origins.get(table) or (None, None, None)
        tables[table] = PublishedTable(columns, run, workflows.get(table), step)
    return tables


def published_writers(project: Project) -> set[str]:
    """The ids of the runs that wrote the published tables, or published them.

    Raises:
        WarehouseError: the published version cannot be opened.
    """
    if versions.current(Layout.of(project)) is None:
        return set()
    with Connection(project, "published") as conn:
        runs = {origin.run for origin in provenance.provenance(conn.raw).values()}
        runs.update(origin["run_id"] for origin in versions.published_runs(conn.path).values())
    return {run for run in runs if run}


def restored_at(project: Project) -> str | None:
    """When a backup was last restored (ISO 8601, UTC), which undid earlier runs; None if never."""
    return Layout.of(project).restored_at()


def files_of_all(project: Project) -> list[Path]:
    """The files and folders of the warehouse that every user of a shared project writes."""
    layout = Layout.of(project)
    return [
        *layout.folder.glob("*"), *layout.folder.glob("locks/*"), *layout.published.glob("*/"),
        *layout.candidates.glob("*/"), *layout.candidates.glob("*/*/"),
    ]  # fmt: skip


def quick_check(project: Project) -> Iterator[Finding]:
    """Whether this DuckDB can open the working warehouse and the published version."""
    layout = Layout.of(project)
    if not layout.working.exists():
        yield finding.ok("warehouse", "not created yet: no workflow has run")
    elif holder := lock.read_holder(layout.working):
        yield finding.ok("warehouse", f"in use by {holder}")
    else:
        yield _opened(project, "warehouse", layout.working)
    if layout.shared_development.exists():
        yield finding.warning(
            "development copy",
            f"{project.relative(layout.shared_development)} is from a version with one for all users",
            f"The user who created it ({layout.shared_development.stat().st_uid}) gets it with their "
            "next connection by hand; delete it if nobody needs it.",
        )
    reading = versions.read_current(layout)
    if reading is None:
        yield finding.ok("published version", "none yet")
        return
    with reading:
        version = reading.version
        yield _opened(project, f"published version {version.number}", version.path)


def _opened(project: Project, subject: str, path: Path) -> Finding:
    import duckdb

    fix = "dataflow db restore FILE, from a backup; or move the file away and run the workflows."
    with path.open("rb") as file:
        header = file.read(_WRITTEN_BY.stop)
    if header[_MAGIC] != b"DUCK":
        return finding.broken(subject, f"{project.relative(path)} is not a DuckDB file", fix)
    written = header[_WRITTEN_BY].split(b"\0")[0].decode("ascii", "replace").removeprefix("v")
    try:
        open_file(path, read_only=True).close()
    except WarehouseError as error:
        return finding.broken(
            subject, f"{error.message} (written by DuckDB {written})", error.hint or fix
        )
    if written and _numbers(written) > _numbers(duckdb.__version__):
        return finding.warning(
            subject,
            f"written by DuckDB {written}, newer than the {duckdb.__version__} here",
            "Use the DuckDB of requirements.lock everywhere.",
        )
    return finding.ok(subject, f"written by DuckDB {written}, {path.stat().st_size:,} bytes")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def check(project: Project) -> list[Finding]:
    """Open every database and read all of it.

    The working warehouse and the development copy are copied for that, so that writers wait only
    for the copy; if the disk has no room for it, they wait until the reading is done.

    Args:
        project: whose warehouse.
    """
    layout = Layout.of(project)
    holder = lock.read_holder(layout.working)
    findings = [finding.ok("write lock", f"held by {holder}" if holder else "free")]
    if layout.working.exists():
        findings.append(_check_file("working warehouse", layout.working, under_lock=True))
    else:
        findings.append(finding.ok("working warehouse", "not created yet: no workflow has run"))
    findings.append(_check_published(layout))
    if layout.development.exists():
        findings.append(_check_file("development copy", layout.development, under_lock=True))
    return findings


def read_everything(connection: DuckDBPyConnection) -> tuple[int, int]:
    """Read every value of every table and bind every view; returns (tables, rows).

    Reading makes DuckDB verify the checksums of its blocks.

    Raises:
        duckdb.Error: something cannot be read.
    """
    rows = count = 0
    for table in sorted(relations(connection, None)):
        row = connection.execute(
            f"SELECT count(*), max(hash(t)) FROM {table.quoted} AS t"
        ).fetchone()
        if table.schema != provenance.SCHEMA:
            rows, count = rows + (row[0] if row else 0), count + 1
    return count, rows


def read_file(path: Path) -> tuple[int, int]:
    """Read everything in a file of any name; returns (tables, rows).

    Raises:
        duckdb.Error: it is not a database, or something in it cannot be read.
    """
    with attached(path, read_only=True) as connection:
        return read_everything(connection)


def _check_published(layout: Layout) -> Finding:
    what = "published version"
    again = "Publish: dataflow db publish."
    reading = versions.read_current(layout)
    if reading is None:
        if layout.current.is_symlink():
            return finding.broken(what, "the link `current` leads nowhere", again)
        return finding.ok(what, "nothing is published yet")
    with reading:
        what = f"published version {reading.version.number}"
        metadata = reading.version.metadata
        if metadata is None:
            return finding.broken(what, f"{versions.METADATA} is missing", again)
        if lost := [n for n in metadata.files.values() if not (layout.data / n).exists()]:
            hint = "Run the workflow they belong to, or dataflow db publish."
            return finding.broken(what, f"data files are missing: {', '.join(lost)}", hint)
        return _check_file(what, reading.version.path, under_lock=False)


def _check_file(what: str, path: Path, *, under_lock: bool) -> Finding:
    """Open a database file and read all of it."""
    import duckdb

    try:
        with contextlib.ExitStack() as stack:
            read = path
            if under_lock:
                read = stack.enter_context(draft_beside(path))
                with contextlib.ExitStack() as writing:
                    writing.enter_context(lock.acquire(path, holder="dataflow db check"))
                    checkpoint(path)
                    if shutil.disk_usage(path.parent).free < 2 * path.stat().st_size:
                        read = path
                        stack.push(writing.pop_all())
                    else:
                        copy_database(path, read)
            count, rows = read_file(read)
    except WarehouseError as error:
        return finding.broken(what, error.message, error.hint)
    except (duckdb.Error, OSError) as error:
        explained = failures.explain(error, path)
        hint = explained.hint if explained else "Run the workflows again."
        return finding.broken(what, failures.first_line(error), hint)
    found = f"{counted(count, 'table')}, {counted(rows, 'row')}, {path.stat().st_size:,} bytes"
    return finding.ok(what, found)


def _count(connection: DuckDBPyConnection, table: TableName) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table.quoted}").fetchone()
    return int(row[0]) if row else 0


def _sizes(connection: DuckDBPyConnection, tables: list[TableName]) -> dict[TableName, int]:
    """The bytes of the blocks each table takes, and its share of those used by several."""
    blocks = {
        table: [
            row[0]
            for row in connection.execute(
                filled(
                    "SELECT DISTINCT block_id FROM pragma_storage_info(?) WHERE persistent",
                    table.quoted,
                ),
            ).fetchall()
        ]
        for table in tables
    }
    users = Counter(block for taken in blocks.values() for block in taken)
    return {
        table: round(sum(BLOCK_BYTES / users[block] for block in taken))
        for table, taken in blocks.items()
    }


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None
