"""Connections to the warehouse: short, under the write lock, each to the right database."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from dataflow.base.lock import DEFAULT_TIMEOUT, Held
from dataflow.base.sql import TableName, quote, schemas_of
from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.warehouse import cells, changes, failures, history, lock, provenance, versions
from dataflow.warehouse.columns import Readers
from dataflow.warehouse.development import WHAT, ensure
from dataflow.warehouse.files import give_back_after, open_file, warn_if_still_open
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.versions import Reading

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Database = Literal["working", "development", "published"]


class _Opened:
    """What an open connection holds: apart from `Connection`, for that one's finalizer."""

    def __init__(self, path: Path, raw: DuckDBPyConnection, keeps: Held | Reading) -> None:
        self.path = path
        self.raw = raw
        self._keeps = keeps
        self._forget: Callable[[], None] = lambda: None
        self.watch: changes.Watch | None = None

    def begin_writing(self, layout: Layout | None) -> None:
        """From here on, keep in the database who writes which tables; `close` ends it.

        Args:
            layout: where the run's record of that is; None for a database that has none.
        """
        nested = isinstance(self._keeps, Held) and self._keeps.is_nested
        with failures.translated(self.path):
            provenance.prepare(self.raw)
            self.watch = changes.Watch(self.raw, keep_log=nested)
        self._layout = layout
        self._forget = cells.at_end_of_each(self._end_of_cell)

    def _end_of_cell(self, number: int) -> None:
        if self.watch is not None:
            # Not on the connection itself, whose next cell may fetch what this one selected.
            with self.raw.cursor() as cursor:
                self.watch.end_of_cell(cursor, number)

    def close(self) -> None:
        self._forget()
        try:
            if self.watch is not None:
                self._record(self.watch)
            self.raw.close()
            if isinstance(self._keeps, Held) and not self._keeps.is_nested:
                warn_if_still_open(self.path)
        finally:
            self._keeps.release()

    def _record(self, watch: changes.Watch) -> None:
        """Note what was written, also for the run's check of `writes`."""
        import duckdb

        # A missing record is no reason to fail: after a full disk, say, there is nothing to note.
        with contextlib.suppress(duckdb.Error, OSError):
            with contextlib.suppress(duckdb.TransactionException):
                self.raw.rollback()
            watch.note(self.raw)
            if self._layout is not None:
                changes.record(self._layout, watch.report(self.raw, cells.current()))
            provenance.tidy(self.raw)


class Connection:
    """A DuckDB connection to one of the warehouse's databases.

    It opens when first used. As a context manager it is one transaction: commit on success,
    rollback on an error, then close. Without `with`, every statement commits by itself, and
    `close()`, the garbage collector or the end of the process closes it. All methods of
    DuckDB's own connection (`execute`, `sql`, `register`, …) are its methods.

    Args:
        project: whose warehouse.
        database: `working`, `development` or `published`.
        read_only: refuse to write.
        timeout: seconds to wait for other writers.
        workflow: the workflow whose schema a bare table name means; None when unknown.
        readers: says which files use columns that are about to change; None when nobody knows.
    """

    def __init__(
        self,
        project: Project,
        database: Database,
        *,
        read_only: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        workflow: str | None = None,
        readers: Readers | None = None,
    ) -> None:
        self.project = project
        self.database = database
        self.read_only = read_only or database == "published"
        self.workflow = workflow
        self.readers = readers
        self._timeout = timeout
        self._layout = Layout.of(project)
        self._zone = project.timezone
        self._opened: _Opened | None = None
        self._finalizer: weakref.finalize[Any, Connection] | None = None

    @property
    def raw(self) -> DuckDBPyConnection:
        """DuckDB's own connection, for libraries that insist on its type."""
        if self._opened is None:
            self._opened = self._open()
            self._finalizer = weakref.finalize(self, self._opened.close)
            if self.read_only and self.database != "published":
                # The file is opened for writing nevertheless: within one process DuckDB opens
                # a file in one mode only, and a nested connection may have to write.
                self._opened.raw.execute("BEGIN TRANSACTION READ ONLY")
            elif not self.read_only:
                self._make_schemas(self._opened.raw)
                # What is written into a copy is nothing that a stage wrote.
                self._opened.begin_writing(self._layout if self.database == "working" else None)
        return self._opened.raw

    @property
    def path(self) -> Path:
        """The database file; for the published database, that of the current version."""
        if self._opened is not None:
            return self._opened.path
        if self.database == "published":
            version = versions.current(self._layout)
            return version.path if version else self._layout.current / self._layout.working.name
        return self._layout.working if self.database == "working" else self._layout.development

    def allow_other_columns(self, table: TableName) -> None:
        """Note that the author wants a table to have other columns, whoever uses those it had."""
        if self._opened is not None and self._opened.watch is not None:
            self._opened.watch.allowed.add(table)

    def close(self) -> None:
        """Close, and release the lock; an unfinished transaction is rolled back."""
        opened, self._opened = self._opened, None
        if self._finalizer is not None:
            self._finalizer.detach()
            self._finalizer = None
        if opened is not None:
            opened.close()

    def __getattr__(self, name: str) -> Any:
        # Only reached for what this class lacks. The bound method itself is returned, so that
        # DuckDB, looking for a data frame by its name, finds the caller's variables.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.raw, name)

    def __enter__(self) -> Connection:
        raw = self.raw
        if not self.read_only:
            raw.execute("BEGIN TRANSACTION")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import duckdb

        path, failure = self.path, error
        try:
            if error is None:
                self._commit()
            elif isinstance(error, duckdb.Error):
                explained = failures.explain(error, path)
                if explained is not None:
                    raise explained from error
        except WarehouseError as explained:
            failure = explained
            raise
        finally:
            # DuckDB rolls back whatever was not committed.
            self.close()
            give_back_after(failure, path)

    def __repr__(self) -> str:
        where = self.project.relative(self.path)
        name = {
            "working": "working warehouse",
            "development": "development copy",
            "published": "published version",
        }[self.database]
        if self.database == "published":
            name += (
                f" {self.path.parent.name}" if self.path.parent.name.isdigit() else " (none yet)"
            )
        return f"<DuckDB connection: {name}, {where}{', read only' if self.read_only else ''}>"

    def _commit(self) -> None:
        import duckdb

        opened = self._opened
        if opened is None:
            return
        watch, opened.watch = opened.watch, None  # nothing is noted of a commit that fails
        try:
            # DuckDB "commits" an aborted transaction silently, and without its writes.
            opened.raw.execute("SELECT 1")
            if watch is not None:
                watch.note(opened.raw)
            opened.raw.commit()
            opened.watch = watch
        except duckdb.TransactionException as error:
            if "no transaction is active" in str(error):
                opened.watch = watch
                return  # the block has committed or rolled back by itself
            raise failures.explain(error, self.path) or WarehouseError(
                f"nothing was written: {failures.first_line(error)}",
                where=str(self.path),
                hint="A statement in the block failed and its error was caught: do not catch it.",
            ) from error
        except duckdb.Error as error:
            raise failures.explain(error, self.path) or error from None

    def _open(self) -> _Opened:
        if self.database == "published":
            return self._open_published()
        if self.database == "development":
            path = self._layout.development
            return self._open_under_lock(path, WHAT, lambda: ensure(self._layout))
        return self._open_under_lock(self._layout.working, "the warehouse", lambda: None)

    def _open_published(self) -> _Opened:
        reading = versions.read_current(self._layout)
        if reading is None:
            raise WarehouseError(
                "nothing is published yet",
                where=str(self._layout.published),
                hint="Run a workflow: dataflow workflow run NAME.",
            )
        try:
            self._check_not_moved(reading)
            raw = open_file(
                reading.version.path, read_only=True, timeout=self._timeout, zone=self._zone
            )
        except BaseException:
            reading.release()
            raise
        return _Opened(reading.version.path, raw, reading)

    def _check_not_moved(self, reading: Reading) -> None:
        metadata = reading.version.metadata
        if metadata and metadata.files and metadata.folder != str(self._layout.published):
            raise WarehouseError(
                f"the project was moved: the published version {metadata.version} looks for its "
                f"big tables in {metadata.folder}",
                where=str(reading.version.path),
                hint="Publish once more: dataflow db publish.",
            )

    def _open_under_lock(self, path: Path, what: str, prepare: Callable[[], None]) -> _Opened:
        started = time.monotonic()
        held = lock.acquire(
            path, what, timeout=self._timeout, keeps_history=self.database == "working"
        )
        try:
            prepare()
            left = max(self._timeout - (time.monotonic() - started), 0)
            raw = open_file(path, timeout=left, zone=self._zone)
        except BaseException:
            held.release()
            raise
        return _Opened(path, raw, held)

    def _make_schemas(self, raw: DuckDBPyConnection) -> None:
        """Create the workflow's own schemas, for SQL that creates the first table in one."""
        for schema in schemas_of(self.workflow) if self.workflow else ():
            raw.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")


@contextlib.contextmanager
def dbt_writes(
    project: Project,
    holder: str,
    *,
    run_id: str | None = None,
    workflow: str | None = None,
    step: str | None = None,
) -> Iterator[list[str]]:
    """Hold the write lock while dbt works in the block, and note at its end what it built.

    Args:
        project: whose warehouse.
        holder: what the lock is held for, in words for those who wait.
        run_id, workflow, step: the step that has dbt run; None by hand.

    Yields:
        A list for the models it built, as `schema.table`.

    Raises:
        WarehouseLocked: somebody else held the warehouse all the time.
    """
    with lock.write_lock(project, holder, run_id=run_id):
        built: list[str] = []
        try:
            yield built
        except BaseException:
            history.begin(lock.lock_folder(project.warehouse))  # what it built is not noted
            raise
        if built:
            names = [TableName(*model.split(".", 1)) for model in built]
            with Connection(project, "working") as conn:
                provenance.note(conn.raw, names, run_id=run_id, workflow=workflow, step=step)
