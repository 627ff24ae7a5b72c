"""What is remembered of a service that was started: `.dataflow/services/<name>.json`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dataflow.project import Project
from dataflow.services.model import services_folder


@dataclass(frozen=True)
class ServiceState:
    """A start of a service.

    Args:
        service: the service's name.
        pid: the process that watches over the service's programs.
        created: when that process began, seconds since 1970: numbers are given out again.
        port: where the service listens.
        url: the address for people; JupyterLab's has the token in it.
        health: the path that answers 200 when it works.
        log: everything its programs print.
        mark: what its processes carry in their environment; all of them are found by it.
        started_at: ISO time, UTC.
        dev: whether it is a development server.
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
    ended: str | None = None


def state_file(project: Project, service: str) -> Path:
    """Where a service's state is kept."""
    return services_folder(project) / f"{service}.json"


def read_state(path: Path) -> ServiceState | None:
    """The state in `path`; None when there is none that can be read."""
    try:
        return ServiceState(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_state(path: Path, state: ServiceState) -> None:
    """Write a state in one step; only its owner may read it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(state), file, indent=2)
    scratch.replace(path)


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
