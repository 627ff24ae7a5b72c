"""The warehouse for notebooks: open it, write a table.

::

    from dataflow.shared.db import get_duckdb_connection, write_table

    with get_duckdb_connection() as conn:
        write_table(conn, events, "events", mode="upsert", key=["event_id"])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dataflow.project import Project
from dataflow.warehouse.store import DEFAULT_TIMEOUT, Connection, Database, write_table

__all__ = ["get_duckdb_connection", "write_table"]


def get_duckdb_connection(
    read_only: bool = False,
    *,
    database: Database | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    project: Project | None = None,
) -> Connection:
    """A connection to the warehouse; where the code runs decides which database it is.

    - In a run: the working warehouse, under its write lock.
    - By hand: the development copy, made from the published version on first use.
    - By hand with `read_only=True`: the published version, which blocks nobody.

    Use it in a `with` block, and keep the block short: it is one transaction (commit at its
    end, rollback on an error) and nobody else can write meanwhile. Without `with`, every
    statement commits by itself until `close()`.

    Args:
        read_only: refuse to write.
        database: `working`, `development` or `published`, to choose one explicitly.
        timeout: seconds to wait for other writers.
        project: the project; the one the current folder is in when None.

    Raises (when it opens, on first use):
        WarehouseLocked: another writer held the warehouse longer than `timeout`.
        WarehouseError: the database cannot be opened.
    """
    project = project or Project.find()
    if database is None:
        if os.environ.get("DATAFLOW_RUN_ID"):
            database = "working"
        else:
            database = "published" if read_only else "development"
    return Connection(
        project,
        database,
        read_only=read_only,
        timeout=timeout,
        workflow=current_workflow(project),
        readers=partial(_columns_used, project),
    )


def _columns_used(
    project: Project, table: tuple[str, str], columns: Sequence[str]
) -> dict[str, str]:
    from dataflow.dbt.readers import columns_used

    return columns_used(project, table, columns)


def current_workflow(project: Project) -> str | None:
    """The run's workflow; by hand, the folder below `notebooks/` that holds the cwd."""
    if named := os.environ.get("DATAFLOW_WORKFLOW"):
        return named
    here = Path.cwd().resolve()
    notebooks = project.notebooks.resolve()
    if here == notebooks or not here.is_relative_to(notebooks):
        return None
    return here.relative_to(notebooks).parts[0]
