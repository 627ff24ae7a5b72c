"""Runs of Dagster's service begin with everything imported: they are forked from a process that has.

Dagster's code server starts each run as a new Python, which imports for seconds. Here that server
has a process beside it with what every run needs, and nothing of the project: a run reads its
notebooks, `config.yaml`, modules and `.env` itself, as they are then. When a package was installed,
updated or removed, another such process takes its place.

The servers that a run forks its kernels and dbt from are kept for the next ones.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing import forkserver, util
from pathlib import Path
from typing import Any

from dataflow.base import fork_servers
from dataflow.base.fork_servers import Keeper

# In the environment of the code server: the service's private folder, for the socket.
VARIABLE = "DATAFLOW_FORKED_RUNS"
IMPORTED = ["dataflow.orchestration.preloaded", "dataflow.orchestration.preloaded_service"]
_PACKAGE = Path(__file__).parents[1]

logger = logging.getLogger("dataflow")


def fork_runs() -> None:
    """In Dagster's code server, before it reads the project: have it fork its runs."""
    folder = os.environ.pop(VARIABLE, None)
    if folder is None or sys.platform != "linux":
        return
    from dagster._grpc.server import DagsterApiServer

    servers = _Servers()
    try:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            sockets = Path(util.get_temp_dir())  # goes with the service, however that ends
        finally:
            tempfile.tempdir = before
        Keeper(sockets / "servers", packages)
        os.environ[fork_servers.VARIABLE] = str(sockets / "servers")  # runs inherit it
        servers.connect([], only_start=True)
    except OSError as error:
        logger.warning("runs are started as new processes, which takes seconds: %s", error)
        return
    forkserver.connect_to_new_process = servers.connect
    context = multiprocessing.get_context("forkserver")
    # The server has made one of its own by now, for new processes.
    vars_of: Any = DagsterApiServer
    vars_of._mp_ctx = property(lambda server: context, lambda server, other: None)


class _Servers:
    """The process from which runs are forked, and its successors."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: Any = None
        self._packages: Any = None

    def connect(self, fds: Sequence[int], only_start: bool = False) -> Any:
        """As `multiprocessing.forkserver.connect_to_new_process`."""
        with self._lock:
            now = packages()
            if now != self._packages:
                if self._server is not None:
                    logger.info("packages have changed: they are imported again for runs")
                    self._retire(self._server)
                self._server, self._packages = forkserver.ForkServer(), now
                self._server.set_forkserver_preload(IMPORTED)
            if only_start:
                return self._server.ensure_running()
            return self._server.connect_to_new_process(fds)

    def _retire(self, server: Any) -> None:
        # It ends with the last of its runs: they hold the other ends.
        os.close(server._forkserver_alive_fd)
        pid, address = server._forkserver_pid, server._forkserver_address
        Path(address).unlink(missing_ok=True)
        threading.Thread(target=os.waitpid, args=(pid, 0), name="reaper", daemon=True).start()


def packages() -> frozenset[tuple[str, int]]:
    """What is installed, and the state of this package's own files."""
    found = set()
    for folder in dict.fromkeys(sys.path):
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            # Importing writes beside modules, never into these.
            found |= {
                (entry.path, entry.stat().st_mtime_ns)
                for entry in entries
                if entry.name.endswith((".dist-info", ".egg-info", ".pth"))
            }
    for path in _PACKAGE.rglob("*.py"):
        with contextlib.suppress(OSError):
            found.add((str(path), path.stat().st_mtime_ns))
    return frozenset(found)
