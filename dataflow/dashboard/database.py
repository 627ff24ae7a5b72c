"""Open what dashboards read from: the published warehouse, never the working one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.dashboard.types import literal
from dataflow.errors import DashboardError
from dataflow.project import Project
from dataflow.warehouse.files import memory_limit
from dataflow.warehouse.versions import Metadata

if TYPE_CHECKING:
    import duckdb

OVERRIDE = "EVIDENCE_DUCKDB_PATH"


@dataclass(frozen=True)
class OpenWarehouse:
    """The warehouse that is exported.

    Args:
        connection: reads it, in UTC and without the network.
        metadata: what the published version is made of; None for another file.
    """

    connection: duckdb.DuckDBPyConnection
    metadata: Metadata | None

    def origin(self, workflow_id: str) -> dict[str, Any] | None:
        """The run that published the workflow's schemas, and when; None when that is not known."""
        return origin_of(self.metadata, workflow_id)


def origin_of(metadata: Metadata | None, workflow_id: str) -> dict[str, Any] | None:
    """The run that published the workflow's schemas in a version, and when; None if not known."""
    found = [
        origin
        for origin in (metadata.schemas.values() if metadata else ())
        if origin.get("workflow") == workflow_id and origin.get("published_at")
    ]
    if not found:
        return None
    newest = max(found, key=lambda origin: str(origin["published_at"]))
    return {"run_id": newest.get("run_id"), "finished_at": newest["published_at"]}


def published_metadata(project: Project) -> Metadata | None:
    """What the current published version is made of; None when there is none."""
    from dataflow.warehouse.layout import Layout
    from dataflow.warehouse.versions import current

    version = current(Layout.of(project))
    return version.metadata if version else None


@contextmanager
def open_published(project: Project, database: Path | None = None) -> Iterator[OpenWarehouse]:
    """Open the published warehouse to read it, in the project's time zone and without the network.

    Args:
        database: another DuckDB file; the environment's `EVIDENCE_DUCKDB_PATH` wins over it.

    Raises:
        DashboardError: nothing was published yet, or the file cannot be read.
    """
    import duckdb

    path = _find(project, database)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        try:
            connection.execute(f"SET memory_limit = {literal(memory_limit())}")
            # The views of dbt name their catalog, so it is called the same in every file.
            connection.execute(f"ATTACH {literal(str(path))} AS dataflow (READ_ONLY)")
            connection.execute("USE dataflow")
            connection.execute(f"SET TimeZone = {literal(project.timezone)}")
        except duckdb.Error as error:
            raise DashboardError(
                f"the warehouse cannot be read: {error}",
                where=project.relative(path),
                hint="Publish it again: run the workflow.",
            ) from error
        yield OpenWarehouse(connection, Metadata.read(path.parent))


def schemas(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The schemas of the warehouse that `connection` reads."""
    rows = connection.execute(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'dataflow' AND NOT internal"
    ).fetchall()
    return {name for (name,) in rows}


def _find(project: Project, database: Path | None) -> Path:
    if named := os.environ.get(OVERRIDE):
        path = (project.root / named).resolve()
        if not path.is_file():
            raise DashboardError(
                f"{OVERRIDE} names a file that does not exist",
                where=str(path),
                hint=f"Unset {OVERRIDE}, or point it at a DuckDB file.",
            )
        return path
    if database is not None:
        return database
    from dataflow.warehouse.publish import published_path

    published = published_path(project)
    if published is None:
        raise DashboardError(
            "nothing was published yet, so there is nothing to show",
            hint="Run a workflow: dataflow workflow run NAME",
        )
    return published
