"""Give back the space that a write took on a full disk before it failed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dataflow.errors import WarehouseError
from dataflow.warehouse import lock
from dataflow.warehouse.failures import is_full
from dataflow.warehouse.files import checkpoint, open_file

FILE_HEADER_BYTES = 3 * 4096


def give_back_after(error: BaseException | None, path: Path) -> None:
    """After a write that failed for a full disk, cut the file to what is in it.

    DuckDB leaves the blocks it wrote in vain at the end of the file. They belong to nothing
    and would be used again, but until then the disk is full: not even its log fits.

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
        # What is still in DuckDB's log has blocks at the end of the file, too, or gets them
        # when the log is written into the file. So the log first: only without one does the
        # file's header say how many blocks are in use.
        checkpoint(path)
        with contextlib.closing(open_file(path, read_only=True)) as connection:
            row = connection.execute(
                "SELECT block_size, total_blocks FROM pragma_database_size()"
            ).fetchone()
        needed = FILE_HEADER_BYTES + row[0] * row[1] if row else path.stat().st_size
        if needed < path.stat().st_size:
            os.truncate(path, needed)
