"""Ports: whether one is free, and who has it when it is not."""

from __future__ import annotations

import contextlib
import http.client
import socket

from dataflow.base.addresses import HOST
from dataflow.errors import ServiceError
from dataflow.services.model import Service

# A browser that is told `localhost` may try either of them first.
_LOOPBACKS = ((socket.AF_INET, HOST), (socket.AF_INET6, "::1"))


def require_free(service: Service, port: int) -> None:
    """Make sure nobody listens on `port`.

    Raises:
        ServiceError: somebody does; names the process, and a port that is free.
    """
    if is_free(port):
        return
    other = next((p for p in range(port + 1, min(port + 100, 65535)) if is_free(p)), None)
    hint = "Stop that process first"
    if other is not None:
        hint += f", or use another port: dataflow service start {service.name} --port {other}"
    raise ServiceError(
        f"port {port}, where {service.title} listens, is taken by {holder(port)}", hint=f"{hint}."
    )


def is_free(port: int) -> bool:
    """Whether nobody listens on `port` of this machine's own addresses."""
    for family, address in _LOOPBACKS:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as candidate:
                # Connections that were closed a moment ago are no hindrance.
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                candidate.bind((address, port))
        except OSError:
            if family == socket.AF_INET or answers(address, port):
                return False
    return True


def answers(address: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=2):
        return True
    return False


def holder(port: int) -> str:
    """Who listens on `port`, in words: the process, and the project when it is one of ours."""
    import psutil

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
    shown = command if len(command) <= 100 else command[:99] + "…"
    whose = ""
    with contextlib.suppress(psutil.Error, OSError):
        environment = process.environ()
        if "DATAFLOW_SERVICE" in environment:
            whose = f" of the project in {environment.get('DATAFLOW_PROJECT')}"
    return f"process {pid}{whose}: {shown}"


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


def answers_on_socket(path: str) -> bool:
    """Whether somebody accepts connections on the Unix socket `path`."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(path)
        return True
    return False
