"""Dagster's SQLite databases made cheap, for runs with nine events for each step, and the service.

Dagster makes a database engine for each connection, which asks SQLite for its version and compiles
every statement anew, and connects up to three times for an event. The last connection that closes
copies the log of writes into the file: five syncs of the disk for each event. A run has a database
of its own, whose tables are made one by one, and for which all migrations are read. None of this
has a setting.

Here an engine stays, a connection to each database stays open, and the database of a new run is a
copy of an empty one. The disk is synced when the log of writes is copied: after a power cut the
files are whole, and may lack the events of the last moments, which the run's record has. Dagster's
pages learn of events by changes of the file: here, of that log.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import shutil
import sqlite3
import threading
from multiprocessing import util
from pathlib import Path
from typing import Any

from dataflow.base.files import draft_beside, sync

logger = logging.getLogger("dataflow")

KEPT = 8  # databases: the removal of old runs opens those of many
_held: dict[Path, sqlite3.Connection] = {}
_of_parent: list[sqlite3.Connection] = []  # never closed in a fork: SQLite forbids it
_holding = threading.Lock()


@functools.cache
def make_databases_cheap() -> None:
    """Have this process use Dagster's SQLite databases in ways that cost less."""
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage

    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        vars(module).update(create_engine=_engine, check_alembic_revision=_revisions)
    storage: Any = sqlite_event_log.SqliteEventLogStorage
    make = storage._initdb

    def copy_or_make(self: Any, engine: Any, for_index_shard: bool = False) -> None:
        file = Path(engine.url.database)
        if for_index_shard:
            make(self, engine, for_index_shard)
            return
        is_new = not file.exists() and not _copy_empty(file)
        make(self, engine)  # of a database that is complete it only asks for the version
        if is_new:
            _keep_empty(file)

    storage._initdb = copy_or_make
    _watch_the_log(sqlite_event_log)
    os.register_at_fork(after_in_child=_let_go)
    atexit.register(close_databases)


def _watch_the_log(module: Any) -> None:
    """Have who follows a run look again when an event was added to the log of writes."""

    class Watchdog(module.SqliteEventLogStorageWatchdog):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._patterns = [self._log_path, f"{self._log_path}-wal"]

        def on_modified(self, event: Any) -> None:
            # One thread looks for all pages, and would end with an error: of a run, for instance,
            # that has just been removed.
            try:
                if os.path.exists(self._log_path):  # noqa: PTH110 - else one is made
                    self._process_log()
            except Exception as error:
                logger.warning("the events of run %s cannot be read: %s", self._run_id, error)

    module.SqliteEventLogStorageWatchdog = Watchdog


def _engine(url: str, **options: Any) -> Any:
    """The engine of a database, as Dagster's storages ask for one before they connect."""
    engine = _engines(url)
    _hold(Path(engine.url.database))
    return engine


@functools.lru_cache(KEPT)
def _engines(url: str) -> Any:
    import sqlalchemy
    from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS

    engine = sqlalchemy.create_engine(
        url,
        poolclass=sqlalchemy.NullPool,
        connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS},
    )

    @sqlalchemy.event.listens_for(engine, "connect")
    def sync_less(connection: Any, record: Any) -> None:
        # Only with a log of writes does a file stay whole without it.
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def _hold(file: Path) -> None:
    """Hold a connection to a database, so that no other is the last to close."""
    if file in _held:
        return
    with _holding, contextlib.suppress(sqlite3.Error):
        if file in _held or not file.exists():
            return
        if not _held:  # a process of `multiprocessing` ends without what `atexit` would do
            util.Finalize(None, close_databases, exitpriority=0)
        while len(_held) >= KEPT:
            _held.pop(next(iter(_held))).close()
        connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        # Only one that has read something counts.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        _held[file] = connection


def close_databases() -> None:
    """Close the connections that are held; the last one copies what was written into its file."""
    with _holding:
        while _held:
            _held.popitem()[1].close()


def _let_go() -> None:
    """In a forked process: the connections are its parent's."""
    _of_parent.extend(_held.values())
    _held.clear()


def _revisions(config: Any, connection: Any) -> tuple[Any, Any]:
    """The migration that a database is at, and the newest, for which all are read only once."""
    from dagster._core.storage import sql

    alembic: Any = sql
    newest = _newest(config.get_main_option("script_location"))
    heads = alembic.MigrationContext.configure(connection).get_current_heads()
    if len(heads) > 1:
        # Earlier versions let two processes make a database at once: its tables are the newest.
        connection.execute(
            alembic.db.text("DELETE FROM alembic_version WHERE version_num <> :newest"),
            {"newest": newest},
        )
        connection.commit()
        heads = (newest,)
    return (heads[0] if heads else None), newest


@functools.cache
def _newest(location: str) -> Any:
    from dagster._core.storage import sql

    alembic: Any = sql
    config = alembic.Config()
    config.set_main_option("script_location", location)
    return alembic.ScriptDirectory.from_config(config).as_revision_number("head")


def _empty(folder: Path) -> Path:
    """The empty database of a run as this version of Dagster makes it."""
    from dagster import __version__

    return folder / f"empty-{__version__}.sqlite"


def _copy_empty(file: Path) -> bool:
    """Make a new run's database from the empty one; whether that could be done."""
    empty = _empty(file.parent)
    with contextlib.suppress(OSError), draft_beside(empty) as draft:
        shutil.copy(empty, draft)
        os.link(draft, file)  # never over one that another process has made meanwhile
        return True
    return False


def _keep_empty(file: Path) -> None:
    """Keep a run's database, which has just been made, for the runs that follow."""
    empty = _empty(file.parent)
    with contextlib.suppress(OSError, sqlite3.Error), draft_beside(empty) as draft:
        with contextlib.closing(sqlite3.connect(file)) as made:
            made.execute("VACUUM INTO ?", [str(draft)])
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as copy:
            if copy.execute("SELECT count(*) FROM event_logs").fetchone() != (0,):
                return  # another process was quick
            copy.execute("PRAGMA journal_mode = WAL")
        sync(draft)
        for older in file.parent.glob("empty-*.sqlite"):
            older.unlink(missing_ok=True)
        draft.replace(empty)
