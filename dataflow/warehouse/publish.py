"""Publish: a workflow's audited schemas enter a new version that readers see at once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.warehouse import lock, versions
from dataflow.warehouse.connect import open_file
from dataflow.warehouse.layout import FILE_NAME, Layout
from dataflow.warehouse.versions import READERS_LOCK, Version

if TYPE_CHECKING:
    from dataflow.project import Project


@dataclass(frozen=True)
class Published:
    """What a publish did.

    Args:
        version: the new version's number.
        path: its database file.
        schemas: the schemas that were taken from the working warehouse.
        bytes_copied: bytes written for it.
        seconds: how long it took, waiting for the lock included.
    """

    version: int
    path: Path
    schemas: list[str]
    bytes_copied: int
    seconds: float


def published_path(project: Project) -> Path | None:
    """The current published version's database file; None when nothing is published yet."""
    version = versions.current(Layout.of(project))
    return version.path if version else None


def publish(
    project: Project,
    workflow_id: str,
    schemas: Sequence[str],
    *,
    timeout: float = lock.DEFAULT_TIMEOUT,
) -> Published:
    """Publish a workflow: call it after its checks and dbt tests have passed.

    Args:
        project: whose warehouse.
        workflow_id: the workflow.
        schemas: what it owns; all other schemas stay as they were last published.
        timeout: seconds to wait for other writers.

    Raises:
        WarehouseLocked: another writer held the warehouse all the time.
        WarehouseError: the working warehouse cannot be read, or the version not written.
    """
    started = time.monotonic()
    layout = Layout.of(project)
    with lock.write_lock(project, f"publish of {workflow_id}", timeout):
        last = versions.current(layout)
        number = max([0, *(version.number for version in versions.all_versions(layout))]) + 1
        draft = layout.published / f".draft-{number}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        target = draft / FILE_NAME
        if last is not None:
            shutil.copyfile(last.path, target)
        _take_schemas(layout.working, target, schemas)
        (draft / READERS_LOCK).touch()
        version = Version(number, layout.published / str(number))
        draft.rename(version.folder)
        versions.make_current(layout, version)
    return Published(
        version=number,
        path=version.path,
        schemas=list(schemas),
        bytes_copied=version.path.stat().st_size,
        seconds=time.monotonic() - started,
    )


def _take_schemas(working: Path, target: Path, schemas: Sequence[str]) -> None:
    open_file(working).close()  # makes it when missing, and writes its log into the file
    connection = open_file(target)
    try:
        connection.execute(f"ATTACH '{working}' AS source (READ_ONLY)")
        for schema in schemas:
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        views = []
        for schema in schemas:
            connection.execute(f'CREATE SCHEMA "{schema}"')
            tables = connection.execute(
                "SELECT table_name FROM duckdb_tables() "
                "WHERE database_name = 'source' AND schema_name = ? ORDER BY ALL",
                [schema],
            ).fetchall()
            for (table,) in tables:
                connection.execute(
                    f'CREATE TABLE "{schema}"."{table}" AS FROM source."{schema}"."{table}"'
                )
            views += connection.execute(
                "SELECT sql FROM duckdb_views() WHERE database_name = 'source' "
                "AND schema_name = ? AND NOT internal ORDER BY view_oid",
                [schema],
            ).fetchall()
        connection.execute("DETACH source")
        for (sql,) in views:
            connection.execute(sql)
    finally:
        connection.close()
