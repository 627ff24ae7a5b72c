"""Computing beside the warehouse: in an empty database, with its files attached, for a limited time."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.interrupts import interrupt_behind
from dataflow.base.sql import literal
from dataflow.warehouse.files import memory_limit
from dataflow.warehouse.layout import CATALOG
from dataflow.warehouse.profile import EXACT_ROWS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# A second file's name while the first one is the catalog: no workflow's schema may have it.
OLD = "_dataflow_old"


class OutOfTime(Exception):
    """The time is over."""


class Work:
    """Statements on files of the warehouse, until the time for them is over.

    Args:
        connection: on a database of its own.
        end: when the time is over, of `time.monotonic`.
    """

    def __init__(self, connection: DuckDBPyConnection, end: float) -> None:
        self._connection = connection
        self.end = end
        self._attached: dict[str, Path] = {}
        self._is_small = False

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows that a statement returns.

        Raises:
            OutOfTime: the time is over.
        """
        import duckdb

        left = self.end - time.monotonic()
        if left <= 0:
            raise OutOfTime
        timer = threading.Timer(min(left, threading.TIMEOUT_MAX), self._connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            return self._connection.execute(sql).fetchall()
        except duckdb.InterruptException as error:
            if time.monotonic() < self.end:
                raise  # by somebody else
            raise OutOfTime from error
        except RuntimeError as error:
            self._connection.interrupt()  # the next statement would wait for this one
            raise interrupt_behind(error) or error from None
        finally:
            timer.cancel()

    def prepare_for(self, rows: int) -> None:
        """Use one thread for a small table: several take two to three times its CPU time."""
        is_small = rows <= EXACT_ROWS
        if is_small != self._is_small:
            self._connection.execute("SET threads = 1" if is_small else "RESET threads")
            self._is_small = is_small

    def attach(self, catalog: Path, other: Path | None = None) -> DuckDBPyConnection:
        """Attach a file as the catalog that its views name, and another one as `OLD`."""
        wanted = {CATALOG: catalog} | ({OLD: other} if other is not None else {})
        connection = self._connection
        if self._attached != wanted:
            self.detach()
            for name, path in wanted.items():
                connection.execute(f"ATTACH {literal(str(path))} AS {name} (READ_ONLY)")
                self._attached[name] = path
            connection.execute(f"USE {CATALOG}")
        return connection

    @property
    def attached(self) -> DuckDBPyConnection:
        """The connection, for what needs no limit."""
        return self._connection

    def detach(self) -> None:
        """Close all files; what was computed from them stays."""
        self._connection.execute("USE memory")
        for name in list(self._attached):
            self._connection.execute(f"DETACH {name}")
            del self._attached[name]


@contextlib.contextmanager
def work_apart(scratch: Path | None, zone: str) -> Iterator[DuckDBPyConnection]:
    """A connection to an empty database that spills into a folder of its own in `scratch`."""
    import duckdb

    with contextlib.ExitStack() as stack:
        if scratch is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            scratch.mkdir(parents=True, exist_ok=True)
            for left in scratch.iterdir():
                if not _is_used(left):
                    shutil.rmtree(left, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=scratch))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        config: Any = {"memory_limit": memory_limit(), "temp_directory": str(folder / "spilled")}
        connection = stack.enter_context(contextlib.closing(duckdb.connect(config=config)))
        room = shutil.disk_usage(folder).free // 2  # the rest is for those who have to write
        connection.execute(f"SET max_temp_directory_size = '{room} bytes'")
        connection.execute(f"SET TimeZone = {literal(zone)}")
        connection.execute("SET preserve_insertion_order = false")
        yield connection


def _is_used(folder: Path) -> bool:
    """Whether the process that made a folder goes on."""
    try:
        os.kill(int(folder.name.partition("-")[0]), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    return True
