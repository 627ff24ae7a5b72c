"""The command `dataflow` in a process forked from one that has imported what commands import.

Hundreds of tests run it to its end, and half of what each costs is importing the same packages.
What a user starts is a process of its own: services, and whatever is killed or cancelled, are
tested that way.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

# What a run, the warehouse's commands and dbt's step import; nothing that reads a project.
_IMPORTED = (
    "dataflow.cli.main", "dataflow.cli.report", "dataflow.cli.validate", "dataflow.warehouse.store",
    "dataflow.workflows.registry", "dataflow.orchestration.run", "dataflow.orchestration.build",
    "dataflow.orchestration.executor", "dataflow.orchestration.lost", "dataflow.runs.html",
    "dagster._core.storage.event_log.sqlite", "dagster._core.storage.runs.sqlite",
    "dagster._core.execution.api", "dataflow.dbt.without_dbt", "nbconvert", "papermill", "IPython",
    "sqlglot",
)  # fmt: skip


def run_warm(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `dataflow` with `arguments`, as `subprocess.run` would.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds, and was killed.
    """
    command = ["dataflow", *arguments]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as err,
        Path(os.devnull).open() as nothing,
        _asked(server(), arguments, cwd, env, [nothing, out, err]) as connection,
    ):
        answers = connection.makefile()
        pid = int(answers.readline())
        connection.settimeout(timeout)
        try:
            code = int(answers.readline())
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(command, timeout, _text(out), _text(err)) from None
        return subprocess.CompletedProcess(command, code, _text(out), _text(err))


def pass_on(address: str, arguments: Sequence[str]) -> int:
    """Be `dataflow` with `arguments` for who called this process; returns its exit code.

    Args:
        address: the server's.
    """
    streams = [sys.stdin, sys.stdout, sys.stderr]
    with _asked(address, arguments, Path.cwd(), os.environ, streams) as connection:
        code = int(connection.makefile().read().split()[1])
    return code if code >= 0 else 128 - code


def _asked(
    address: str,
    arguments: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    streams: Sequence[IO[str]],
) -> socket.socket:
    """Send a request; the answer is the number of the process, and its exit code at its end."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    request = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "env": dict(env)})
    numbers = [stream.fileno() for stream in streams]
    socket.send_fds(connection, [f"{len(request):08}".encode()], numbers)
    connection.sendall(request.encode())
    return connection


def _text(file: tempfile._TemporaryFileWrapper) -> str:
    file.seek(0)
    return file.read()


@cache
def server() -> str:
    """The address of this process's server, which ends with it."""
    address = str(Path(tempfile.mkdtemp(prefix="warm-")) / "socket")
    subprocess.Popen(
        [sys.executable, __file__, address, str(os.getpid())],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for the tests
    )
    end = time.monotonic() + 60
    while not Path(address).exists():
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.05)
    return address


def serve(address: str, parent: int) -> None:
    """Answer requests, each in a process of its own, until the process `parent` is gone."""
    for name in _IMPORTED:
        __import__(name)
    # At a fork's end Python would look through all of it once more, which copies it: 1.3 s.
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as waiting:
        listener.bind(f"{address}.new")
        listener.listen(64)
        Path(f"{address}.new").rename(address)
        waiting.register(listener, selectors.EVENT_READ)
        while os.path.exists(f"/proc/{parent}"):  # noqa: PTH110
            for key, _ in waiting.select(1):
                if key.fileobj is not listener:
                    _report(waiting, key)
                    continue
                connection = listener.accept()[0]
                pid = os.fork()
                if pid == 0:
                    listener.close()
                    _become(connection)
                connection.sendall(f"{pid}\n".encode())
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))


def _report(waiting: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    pid, connection = key.data
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    waiting.unregister(key.fileobj)
    os.close(key.fd)
    with connection, suppress(OSError):  # nobody may wait any more
        connection.sendall(f"{code}\n".encode())


def _become(connection: socket.socket) -> None:
    """Be the command that was asked for, to the end of this process."""
    size, fds, _, _ = socket.recv_fds(connection, 8, 3)
    text = b""
    while len(text) < int(size):
        text += connection.recv(1 << 16)
    connection.close()
    request = json.loads(text)
    for target, source in enumerate(fds):
        os.dup2(source, target)
        os.close(source)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = ["dataflow", *request["arguments"]]
    from dataflow.cli.main import main

    main()
    sys.exit()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0] = str(Path(__file__).parents[2])  # the checkout, not the helpers
    serve(sys.argv[1], int(sys.argv[2]))
