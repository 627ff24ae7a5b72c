"""The write lock of a database file.

DuckDB itself lets one process write and fails everybody else at once; here they wait in turn.
"""

from __future__ import annotations

from pathlib import Path

from dataflow.base import lock
from dataflow.base.lock import DEFAULT_TIMEOUT, Held, Holder
from dataflow.errors import WarehouseError, WarehouseLocked
from dataflow.project import Project
from dataflow.warehouse import history


def write_lock(
    project: Project,
    holder: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    run_id: str | None = None,
) -> Held:
    """Hold the write lock of the working warehouse in a `with` block; see `acquire`."""
    return acquire(
        project.warehouse, holder=holder, timeout=timeout, run_id=run_id, keeps_history=True
    )


def acquire(
    database: Path,
    what: str = "the warehouse",
    *,
    holder: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    run_id: str | None = None,
    keeps_history: bool = False,
) -> Held:
    """Take the write lock of a database file, and hold it until the result is released.

    Re-entrant: a thread that holds it may take it again, also through a connection.

    Args:
        database: the file.
        what: its name in messages.
        holder: what the lock is held for, in words, shown to those who wait.
        timeout: seconds to wait at most; by default, for one that is held by hand.
        run_id: the run it is held for; the environment's when None.
        keeps_history: whether the holder notes what it writes, in the working warehouse.

    Raises:
        WarehouseLocked: somebody else held it all the time.
        WarehouseError: the folder of the database cannot be written.
    """
    folder = lock_folder(database)
    try:
        held = lock.acquire(folder, what, holder=holder, timeout=timeout, run_id=run_id)
    except lock.StillHeld as error:
        end_it = f", or end it: kill {error.holder.pid}" if error.holder else ""
        raise WarehouseLocked(
            f"{what} is held by {error.holder or 'another program'}; waited {timeout:g} s",
            where=str(database.parent),
            hint=f"Wait until it is done and try again{end_it}.",
        ) from None
    except OSError as error:
        raise WarehouseError(
            f"cannot write in the warehouse's folder: {error.strerror or error}",
            where=str(error.filename or folder),
            hint="Make folder and file writable for your user, or set DATAFLOW_WAREHOUSE to a file elsewhere.",
        ) from error
    if keeps_history and not held.is_nested:
        history.resume(database, folder)
        held.before_release = lambda: history.keep(database, folder)
    return held


def lock_folder(database: Path) -> Path:
    """The folder of a database file's lock."""
    return database.parent / "locks"


def read_holder(database: Path) -> Holder | None:
    """Who holds the lock of a database file now; None when it is free."""
    return lock.read_holder(lock_folder(database))
