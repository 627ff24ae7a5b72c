"""Where the services are reached: the one place for their host, ports and addresses."""

from __future__ import annotations

import json
import os

from dataflow.project import Project

# This machine only, since most services have no login. It is never called `localhost`, for
# which a browser may try `::1` first, where another user can listen.
HOST = "127.0.0.1"
OWN_NAMES = (HOST, "localhost", "[::1]")
PORTS = {"jupyter": 8888, "dagster": 3000, "evidence": 9000}


def local_url(port: int) -> str:
    """The address of the service on `port` of this machine."""
    return f"http://{HOST}:{port}"


def public_url(project: Project, service: str) -> str | None:
    """A service's address behind a proxy: `DATAFLOW_<SERVICE>_URL`, of the environment or `.env`."""
    name = f"DATAFLOW_{service.upper()}_URL"
    address = (os.environ.get(name) or _in_file(project, name)).strip().rstrip("/")
    if not address or "://" in address:
        return address or None
    return f"https://{address}"  # a bare name: proxies are taken to use TLS


def _in_file(project: Project, name: str) -> str:
    from dotenv import dotenv_values

    return dotenv_values(project.root / ".env").get(name) or ""


def service_url(project: Project, service: str) -> str:
    """Where people reach a service: its public address, or where it was started last."""
    return public_url(project, service) or local_url(_port(project, service))


def _port(project: Project, service: str) -> int:
    try:
        state = json.loads((project.state / "services" / f"{service}.json").read_text("utf-8"))
        return int(state["port"])
    except (OSError, ValueError, TypeError, KeyError):  # it does not run
        return PORTS[service]
