"""The state of a service that was started, `.dataflow/services/<name>.json`, and its processes.

All processes of a start have its mark in their environment, and are found by it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from dataflow.base.files import whole_file
from dataflow.base.process import carries, carrying, kill_carrying
from dataflow.errors import ServiceError
from dataflow.project import Project

MARK_VARIABLE = "DATAFLOW_SERVICE"


@dataclass(frozen=True)
class ServiceState:
    """A start of a service.

    Args:
        service: the service's name.
        pid: the process that watches over the service's programs.
        created: when that process began, seconds since 1970.
        port: where the service listens.
        url: the address for people; JupyterLab's has the token in it.
        health: the path that answers 200 when it works.
        log: everything its programs print.
        mark: the value by which its processes are recognised in their environment.
        started_at: ISO time, UTC.
        dev: whether it is a development server.
        port_given: whether its start named the port, rather than the settings.
        ended: why it ended by itself; None while it runs, or when nobody could note it.
    """

    service: str
    pid: int
    created: float
    port: int
    url: str
    health: str
    log: str
    mark: str
    started_at: str
    dev: bool = False
    port_given: bool = False
    ended: str | None = None

    def is_alive(self) -> bool:
        """Whether the watching process still runs.

        No other process has its mark, whoever got its id since and whatever happened to the
        clock.
        """
        try:
            return carries(psutil.Process(self.pid), MARK_VARIABLE, self.mark)
        except psutil.Error:
            return False

    def processes(self) -> list[psutil.Process]:
        """The running processes of this start, left over ones included."""
        return carrying(MARK_VARIABLE, self.mark)

    def kill(self) -> int:
        """Kill every process of this start; returns how many there were."""
        return kill_carrying(MARK_VARIABLE, self.mark)


def services_folder(project: Project) -> Path:
    """The folder of the services' states and logs; private, since Jupyter's token is in them.

    Raises:
        ServiceError: another user's services are, or were, started in this project.
    """
    folder = project.state / "services"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ServiceError(
            f"the services of this project belong to the user {folder.owner()}",
            hint="Ask them, or start yours in your own clone.",
        )
    return folder


def state_file(project: Project, service: str) -> Path:
    """Where a service's state is kept."""
    return services_folder(project) / f"{service}.json"


def log_file(project: Project, service: str) -> Path:
    """Where a service's log is."""
    return services_folder(project) / f"{service}.log"


def read_state(path: Path) -> ServiceState | None:
    """The state in `path`; None when there is none that can be read."""
    try:
        return ServiceState(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_state(path: Path, state: ServiceState) -> None:
    """Write a state in one step; only its owner may read it."""
    with whole_file(path) as draft:
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(state), indent=2), "utf-8")


def forget(path: Path, mark: str) -> None:
    """Remove the state of the start `mark`; a later start's is left alone."""
    state = read_state(path)
    if state is None or state.mark == mark:
        path.unlink(missing_ok=True)


def note_end(path: Path, mark: str, why: str) -> None:
    """Note why the start `mark` ended by itself."""
    state = read_state(path)
    if state is not None and state.mark == mark:
        write_state(path, replace(state, ended=why))
