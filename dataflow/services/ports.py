"""Ports: whether one is free, who uses it, and whether a service answers there."""

from __future__ import annotations

import contextlib
import http.client
import socket

import psutil

from dataflow.addresses import HOST
from dataflow.base.words import shortened
from dataflow.services.state import MARK_VARIABLE

# A browser that is told `localhost` may try either of them first.
_LOOPBACKS = ((socket.AF_INET, HOST), (socket.AF_INET6, "::1"))


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` of this machine's own addresses."""
    for family, address in _LOOPBACKS:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as candidate:
                # Connections that were closed a moment ago do not matter.
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                candidate.bind((address, port))
        except OSError:
            if family == socket.AF_INET or accepts(family, (address, port)):
                return False
    return True


def accepts(family: socket.AddressFamily, address: tuple[str, int] | str) -> bool:
    """Whether somebody accepts connections at `address`, which is a path for a Unix socket."""
    with contextlib.suppress(OSError), socket.socket(family) as connection:
        connection.settimeout(2)
        connection.connect(address)
        return True
    return False


def is_healthy(port: int, path: str) -> bool:
    """Whether the service on `port` answers `path` with 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def holder(port: int) -> str:
    """Who listens on `port`, in words: the process, and the project when it is one of ours."""
    pid = None
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == port:
                pid = connection.pid or pid
    if pid is None:
        return "a process of another user"
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return f"process {pid}"
    whose = ""
    with contextlib.suppress(psutil.Error, OSError):
        environment = process.environ()
        if MARK_VARIABLE in environment:
            whose = f" of the project in {environment.get('DATAFLOW_PROJECT')}"
    return f"process {pid}{whose}: {shortened(command, 100)}"
