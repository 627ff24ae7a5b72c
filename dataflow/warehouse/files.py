"""Open a DuckDB file, even one that another program has open for a while."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.lock import FIRST_MESSAGE_AFTER, MESSAGE_EVERY
from dataflow.base.sql import literal
from dataflow.errors import ProjectNotFound, WarehouseError
from dataflow.project import Project
from dataflow.settings import read_settings
from dataflow.warehouse import failures, lock
from dataflow.warehouse.failures import is_full, translated
from dataflow.warehouse.layout import CATALOG, FILE_HEADER_BYTES

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

logger = logging.getLogger(__name__)


def open_file(
    path: Path,
    *,
    read_only: bool = False,
    timeout: float = 0,
    zone: str = "UTC",
) -> DuckDBPyConnection:
    """Open a database file, waiting while a program outside DATAFLOW has it open.

    Args:
        path: the file; created if missing, unless `read_only`.
        read_only: open it for reading.
        timeout: seconds to wait at most.
        zone: the time zone of the connection; results must not depend on the machine's.

    Raises:
        WarehouseLocked: the other program still has it open.
        WarehouseError: the file cannot be opened; says why.
    """
    import duckdb

    started = time.monotonic()
    next_message = started + FIRST_MESSAGE_AFTER
    while True:
        try:
            connection = duckdb.connect(str(path), read_only=read_only)
            connection.execute(f"SET TimeZone = {literal(zone)}")
            connection.execute(f"SET memory_limit = {literal(memory_limit())}")
            return connection
        except (duckdb.Error, OSError) as error:
            holder = failures.locked_by(error)
            now = time.monotonic()
            if holder is None:
                raise failures.explain(error, path) or WarehouseError(
                    f"DuckDB cannot open the file: {failures.first_line(error)}", where=str(path)
                ) from error
            if now - started >= timeout:
                raise failures.locked(path, holder, timeout) from error
            if now >= next_message:
                logger.warning("Waiting for the warehouse, open in %s (pid %s)", *holder)
                next_message = now + MESSAGE_EVERY
            time.sleep(min(0.05, max(timeout - (now - started), 0)))


@contextlib.contextmanager
def attached(
    path: Path, *, read_only: bool = False, is_draft: bool = False
) -> Iterator[DuckDBPyConnection]:
    """A database file of any name under the name of the catalog, which its views have in them.

    Args:
        path: the file.
        read_only: open it for reading.
        is_draft: nobody needs it unless the block ends well: DuckDB keeps no log of what is
            written, which costs a wait for the disk with each statement.
    """
    import duckdb

    config: dict[str, Any] = {"memory_limit": memory_limit(), "temp_directory": f"{path}.tmp"}
    with contextlib.closing(duckdb.connect(config=config)) as connection:
        how = "READ_ONLY" if read_only else "RECOVERY_MODE no_wal_writes" if is_draft else ""
        connection.execute(f"ATTACH {literal(str(path))} AS {CATALOG}{how and f' ({how})'}")
        connection.execute(f"USE {CATALOG}.main")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
        if is_draft:
            connection.execute("CHECKPOINT")


def memory_limit() -> str:
    """How much memory a connection may take before it spills to disk, as DuckDB reads it.

    The setting `memory_limit` of the project that this process works for; by default a quarter of
    DuckDB's own default, which is 80 % of the machine's memory or the container's, since up to
    four runs go on at a time.
    """
    try:
        settings = Project.find().settings
    except ProjectNotFound:
        settings = read_settings(None)
    return settings.memory_limit or _quarter()


@functools.cache
def _quarter() -> str:
    import duckdb

    with contextlib.closing(duckdb.connect()) as connection:
        row = connection.execute("SELECT current_setting('memory_limit')").fetchone()
    amount, unit = str(row[0]).split() if row else ("4", "GiB")
    return f"{float(amount) / 4:.2f} {unit}"


def checkpoint(path: Path, timeout: float = 0) -> None:
    """Write DuckDB's log into the file; see `checkpointed`."""
    with checkpointed(path, timeout):
        pass


@contextlib.contextmanager
def checkpointed(path: Path, timeout: float = 0) -> Iterator[DuckDBPyConnection]:
    """Write DuckDB's log into the file, so that the file has everything that is committed.

    Creates a missing file. The caller holds the write lock.

    Yields:
        The connection, to look at what there is.

    Raises:
        WarehouseLocked: a program outside DATAFLOW has the file open.
        WarehouseError: the log cannot be written; a copy of the file would lack data.
    """
    import duckdb

    with translated(path):
        with contextlib.closing(open_file(path, timeout=timeout)) as connection:
            try:
                connection.execute("CHECKPOINT")
            except duckdb.TransactionException as error:
                raise _behind(path) from error
            yield connection
        if has_log(path):
            raise _behind(path)


def copy_database(source: Path, target: Path, timeout: float = 0) -> None:
    """Copy a database with everything committed; the caller holds its write lock.

    Raises:
        WarehouseError: it cannot be copied completely.
    """
    checkpoint(source, timeout)
    shutil.copyfile(source, target)
    if has_log(source):  # by somebody who does not ask for the lock
        raise _behind(source)


def _behind(path: Path) -> WarehouseError:
    return WarehouseError(
        "the file lacks committed data: something in this process writes to it",
        where=str(path),
        hint="Close the other connections of this program, and try again.",
    )


def has_log(path: Path) -> bool:
    """Whether committed changes of a database are in DuckDB's log beside it, not in the file."""
    try:
        return path.with_name(path.name + ".wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def warn_if_still_open(path: Path) -> None:
    """Warn when something in this process keeps the file open after `close()`."""
    if not _open_here(path):
        return
    gc.collect()
    if _open_here(path):
        logger.warning(
            "%s stays open: a relation or Arrow reader of a closed connection was not read to "
            "its end. Nobody else can write until it is deleted.",
            path,
        )


def _open_here(path: Path) -> bool:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return False
    for entry in os.listdir(folder):  # noqa: PTH208 - hot path
        with contextlib.suppress(OSError):
            if os.readlink(folder / entry) == str(path):  # noqa: PTH115 - hot path
                return True
    return False


def give_back_after(error: BaseException | None, path: Path) -> None:
    """After a write that failed on a full disk, cut the file to its content.

    DuckDB leaves the blocks it wrote in vain at the end of the file. They are unused and would be
    reused, but until then the disk is full: not even its log fits.

    Args:
        error: what ended the write; nothing is done unless it was a full disk.
        path: the database file, closed.
    """
    while error is not None and not is_full(error):
        error = error.__cause__
    if error is None:
        return
    import duckdb

    with (
        contextlib.suppress(WarehouseError, duckdb.Error, OSError),
        lock.acquire(path, holder="cleaning up after a full disk", timeout=5),
    ):
        # Data still in DuckDB's log has blocks at the end of the file, too, or gets them when
        # the log is written into the file. So the log comes first: only without one does the
        # file's header say how many blocks are in use.
        checkpoint(path)
        with contextlib.closing(open_file(path, read_only=True)) as connection:
            row = connection.execute(
                "SELECT block_size, total_blocks FROM pragma_database_size()"
            ).fetchone()
        needed = FILE_HEADER_BYTES + row[0] * row[1] if row else path.stat().st_size
        if needed < path.stat().st_size:
            os.truncate(path, needed)
