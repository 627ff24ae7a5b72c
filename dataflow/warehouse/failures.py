"""Failures of DuckDB and the disk, translated to errors that say what to do.

Only failures of the file and its environment are translated. A mistake in somebody's SQL stays
DuckDB's own error, which tells the author more than ours could.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from dataflow.errors import WarehouseError, WarehouseLocked

_FOREIGN_LOCK = re.compile(
    r"Could not set lock on file.*?held in (?P<program>.+?) \(PID (?P<pid>\d+)\)"
)
_NEWER = re.compile(r"version number (\d+), but we can only read")
_FULL = (
    "No space left on device",
    "File too large",
    "Disk quota exceeded",
    "not enough disk space",
)
_CORRUPT = (
    "not a valid DuckDB database file",
    "Corrupt database file",
    "does not match stored checksum",
    "Failed to deserialize",
    "database file is corrupt",
    "Could not read enough bytes",
    "Failure while replaying WAL",
)
_NOT_WRITABLE = ("Read-only file system", "Permission denied", "read-only mode")
_BROKEN_HANDLE = "database has been invalidated"


def locked_by(error: Exception) -> tuple[str, int] | None:
    """The program and process that hold the file, if that is the cause of `error`."""
    text = str(error)
    if "Could not set lock on file" not in text:
        return None
    match = _FOREIGN_LOCK.search(text)
    return (match["program"], int(match["pid"])) if match else ("another program", 0)


def is_full(error: BaseException) -> bool:
    """Whether a full disk caused `error`."""
    return any(sign in str(error) for sign in _FULL)


def explain(error: Exception, path: Path) -> WarehouseError | None:
    """The `WarehouseError` that explains `error`; None for mistakes in SQL.

    Args:
        error: what DuckDB or the operating system raised.
        path: the database file.
    """
    text = str(error)
    where = str(path)
    if holder := locked_by(error):
        return locked(path, holder, None)
    if _NEWER.search(text) or "newer version of DuckDB" in text:
        return WarehouseError(
            "the file was written by a newer DuckDB than the one installed here",
            where=where,
            hint="Install that version of duckdb, or restore a backup made with this one: "
            "dataflow db restore FILE.",
        )
    if any(sign in text for sign in _CORRUPT):
        return WarehouseError(
            "the file is damaged, or is not a DuckDB database",
            where=where,
            hint="Restore a backup: dataflow db restore FILE. Without one, move the file away "
            "and run the workflows again.",
        )
    if "Unique file handle conflict" in text:
        return WarehouseError(
            "the file is open in this program, by another connection",
            where=where,
            hint="Close that connection, or restart the notebook's kernel, and try again.",
        )
    if is_full(error):
        return WarehouseError(
            "the disk is full; nothing of this write was kept, earlier data is intact",
            where=where,
            hint="Free space on the disk (the setting keep_runs removes old runs) and run again.",
        )
    if type(error).__name__ == "OutOfMemoryException":
        return WarehouseError(
            f"DuckDB needs more memory than it may take: {first_line(error)}",
            where=where,
            hint="Give it more (DATAFLOW_MEMORY_LIMIT=8GB, say), or do it in smaller parts.",
        )
    if _BROKEN_HANDLE in text:
        return WarehouseError(
            f"DuckDB stopped using the file after an earlier failure ({first_line(error)})",
            where=where,
            hint="Close this connection and open a new one; dataflow db check checks the file.",
        )
    if any(sign in text for sign in _NOT_WRITABLE):
        return WarehouseError(
            f"the file cannot be written: {first_line(error)}",
            where=where,
            hint="Make the file and its folder writable for your user, or set DATAFLOW_WAREHOUSE to "
            "a path elsewhere.",
        )
    if isinstance(error, OSError) or type(error).__name__ in ("IOException", "FatalException"):
        return WarehouseError(
            f"DuckDB cannot use the file: {first_line(error)}",
            where=where,
            hint="Check the file: dataflow db check.",
        )
    return None


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what DuckDB and the disk raise in the block as `WarehouseError`.

    Args:
        path: the file or folder.
    """
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise explain(error, path) or WarehouseError(first_line(error), where=str(path)) from error


def locked(path: Path, holder: tuple[str, int], waited: float | None) -> WarehouseLocked:
    """The error for a file that a program outside DATAFLOW keeps open."""
    program, pid = holder
    after = "" if waited is None else f"; waited {waited:g} s"
    return WarehouseLocked(
        f"the database is open in another program: {program} (pid {pid}){after}",
        where=str(path),
        hint=f"Close it there, or end it: kill {pid}. To look at data without blocking anyone "
        "use dataflow db shell.",
    )


def first_line(error: Exception) -> str:
    """DuckDB's message without its position marks and links."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". See also http")[0]
