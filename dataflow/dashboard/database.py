"""Open what dashboards read from: the published warehouse, never the working one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.dashboard.types import literal
from dataflow.errors import DashboardError
from dataflow.project import Project

if TYPE_CHECKING:
    import duckdb

OVERRIDE = "EVIDENCE_DUCKDB_PATH"


@contextmanager
def open_published(
    project: Project, database: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that reads the published warehouse, in UTC and without the network.

    Args:
        database: another DuckDB file; the environment's `EVIDENCE_DUCKDB_PATH` wins over it.

    Raises:
        DashboardError: nothing was published yet, or the file cannot be read.
    """
    import duckdb

    path = _find(project, database)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        try:
            # The views of dbt name their catalog, so it is called the same in every file.
            connection.execute(f"ATTACH {literal(str(path))} AS dataflow (READ_ONLY)")
            connection.execute("USE dataflow")
            connection.execute("SET TimeZone = 'UTC'")
        except duckdb.Error as error:
            raise DashboardError(
                f"the warehouse cannot be read: {error}",
                where=project.relative(path),
                hint="Publish it again: run the workflow.",
            ) from error
        yield connection


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
