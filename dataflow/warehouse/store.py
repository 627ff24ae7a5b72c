"""The seam: what a store must offer to be a DATAFLOW warehouse.

One DuckDB file under a write lock is the store today. A store with many writers (DuckLake,
its catalog in Postgres and its data on shared storage) can take its place by offering the
same: its `write_lock` holds nothing, its versions are snapshots, its development copy a
schema or a catalog of its own. Code above `dataflow.warehouse` talks to a store through
these operations and SQL, and takes no file for granted: `published_path` is for programs
that can read nothing but a DuckDB file, and another store may return None or export one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflow.project import Project
    from dataflow.warehouse.connect import Connection, Database
    from dataflow.warehouse.publish import Published


class Store(Protocol):
    """What notebooks, dbt, publishing and readers need of a warehouse."""

    def connect(
        self, database: Database, *, read_only: bool, timeout: float, workflow: str | None
    ) -> Connection:
        """A connection to the working, development or published database.

        In its SQL the catalog is called `dataflow`, and times are in UTC.
        """

    def write_lock(self, holder: str, timeout: float) -> AbstractContextManager[None]:
        """Keep other writers out while a program of its own (dbt) writes."""

    def publish(self, workflow_id: str, schemas: Sequence[str]) -> Published:
        """Show readers these schemas as they are now, in one step."""

    def published_path(self) -> Path | None:
        """A DuckDB file with the published version; None when there is none."""

    def reset_development(self) -> int | None:
        """Make the development copy anew; the published version's number, if any."""


class DuckDBFile:
    """One DuckDB file, one writer at a time, published versions beside it."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def connect(
        self, database: Database, *, read_only: bool, timeout: float, workflow: str | None
    ) -> Connection:
        """See `Store.connect`."""
        from dataflow.warehouse.connect import Connection

        return Connection(
            self._project, database, read_only=read_only, timeout=timeout, workflow=workflow
        )

    def write_lock(self, holder: str, timeout: float) -> AbstractContextManager[None]:
        """See `Store.write_lock`."""
        from dataflow.warehouse.lock import write_lock

        return write_lock(self._project, holder, timeout)

    def publish(self, workflow_id: str, schemas: Sequence[str]) -> Published:
        """See `Store.publish`."""
        from dataflow.warehouse.publish import publish

        return publish(self._project, workflow_id, schemas)

    def published_path(self) -> Path | None:
        """See `Store.published_path`."""
        from dataflow.warehouse.publish import published_path

        return published_path(self._project)

    def reset_development(self) -> int | None:
        """See `Store.reset_development`."""
        from dataflow.warehouse.development import reset_development

        return reset_development(self._project)


def store_of(project: Project) -> Store:
    """The store of a project: the one place that chooses."""
    return DuckDBFile(project)
