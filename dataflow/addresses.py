"""Where the services are reached: the one place for their host, ports and addresses."""

from __future__ import annotations

import json

from dataflow.project import Project

# This machine only, since most services have no login. It is never called `localhost`, for
# which a browser may try `::1` first, where another user can listen.
HOST = "127.0.0.1"
OWN_NAMES = (HOST, "localhost", "[::1]")


def local_url(port: int) -> str:
    """The address of the service on `port` of this machine."""
    return f"http://{HOST}:{port}"


def public_url(project: Project, service: str) -> str | None:
    """A service's address behind a proxy: the setting `<service>_url`."""
    return getattr(project.settings, f"{service}_url", None)


def usual_port(project: Project, service: str) -> int:
    """Where a service listens unless it is told otherwise: the setting `<service>_port`."""
    return int(getattr(project.settings, f"{service}_port"))


def service_url(project: Project, service: str) -> str:
    """Where people reach a service: its public address, or where it was started last."""
    return public_url(project, service) or local_url(_port(project, service))


def _port(project: Project, service: str) -> int:
    try:
        state = json.loads((project.state / "services" / f"{service}.json").read_text("utf-8"))
        return int(state["port"])
    except (OSError, ValueError, TypeError, KeyError):  # it does not run
        return usual_port(project, service)
