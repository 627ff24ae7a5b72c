"""Cancelling a run that another process executes, whoever started it.

`python -m dataflow.orchestration.cancel RUN_ID` asks Dagster to cancel a run of its service.
Only that process imports Dagster: this module is for programs that go on, too.
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import psutil

from dataflow.base.process import is_alive
from dataflow.errors import EXIT_FAILED, EXIT_OK, ConfigurationError, DataflowError
from dataflow.orchestration.apart import python
from dataflow.orchestration.instance import open_instance
from dataflow.orchestration.options import OWN_TRIGGERS
from dataflow.project import ROOT_VARIABLE, Project
from dataflow.runs.marks import change
from dataflow.runs.record import GOING_ON, SHORT, Run, moment_of, now, read_run, user

AGAIN = 20.0  # seconds after which a second cancel is sent to a run that goes on
MOST = 60.0  # seconds to wait for a run's end
LOOK_EVERY = 0.1


def cancel(project: Project, run: Run, *, by: str | None = None, seconds: float = MOST) -> Run:
    """Cancel a run as Ctrl-C does where it was started, and wait for its end.

    One that has ended stays as it is. One that ends just now may have succeeded.

    Args:
        project: the project.
        run: the run.
        by: who cancels it; by default the user of this process.
        seconds: how long to wait for its end; 0 only asks for it.

    Returns:
        The run as it is then.

    Raises:
        ConfigurationError: it runs on another machine, or is another user's.
        DataflowError: its record cannot be changed, or it has not ended in time.
    """
    run = read_run(run.folder) or run
    if run.status not in GOING_ON:
        return run
    process = run.data.get("process") or {}
    what = f"run {run.run_id[:SHORT]} of {run.workflow_id}"
    refuse_foreign(process, what, f"dataflow runs cancel {run.run_id[:SHORT]}")
    if is_new(run.data.get("cancel")):
        asked = {"by": by or user(), "at": now()}
        run = change(run, lambda data: data.update(cancel=asked))
        in_dagster = run.data.get("trigger") not in OWN_TRIGGERS
        if not (in_dagster and _in_dagster(project, run.run_id)):
            send(process)
    deadline = time.monotonic() + seconds
    while run.status in GOING_ON and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
        run = read_run(run.folder) or run
    if run.status in GOING_ON and seconds:
        raise DataflowError(
            f"{what} was asked to end {seconds:.0f} s ago, and goes on",
            hint=f"Call `dataflow runs cancel {run.run_id[:SHORT]}` again, or end its process "
            f"{process.get('pid')}: kill -9 takes along what it started.",
        )
    return run


def refuse_foreign(process: Mapping[str, Any], what: str, command: str) -> None:
    """Refuse to end a process that this user or machine cannot reach.

    Args:
        process: the process as `this_process` noted it.
        what: what it does, for people.
        command: what its user enters to end it.

    Raises:
        ConfigurationError: it runs on another machine, or as another user.
    """
    host = process.get("host") or socket.gethostname()
    if host != socket.gethostname():
        raise ConfigurationError(f"{what} is on the machine {host}", hint=f"There: {command}")
    try:
        owner = psutil.Process(process["pid"])
        if os.geteuid() in (0, owner.uids().real):
            return
        name = owner.username()
    except (psutil.Error, KeyError):
        return  # it is gone
    raise ConfigurationError(
        f"{what} belongs to the user {name}; you are {getpass.getuser()}",
        hint=f"Ask {name} to enter: {command}",
    )


def send(process: Mapping[str, Any]) -> bool:
    """Send a process what cancels its run; returns whether it was there to take it."""
    try:
        found = psutil.Process(process["pid"])
        # Looked at after it was found: psutil sends nothing to another that got its id since.
        if not is_alive(dict(process)):
            return False
        found.send_signal(signal.SIGTERM)
    except (psutil.Error, KeyError):
        return False
    return True


def is_new(asked: Any) -> bool:
    """Whether a cancel is the first, or the one before had no effect for long."""
    try:
        before = moment_of(asked["at"])
    except (TypeError, KeyError, ValueError):
        return True
    return (moment_of(now()) - before).total_seconds() > AGAIN


def _in_dagster(project: Project, run_id: str) -> bool:
    """Have Dagster cancel a run; returns whether it could."""
    asked = subprocess.run(
        python(__spec__.name, run_id),
        env={**os.environ, ROOT_VARIABLE: str(project.root)},
        cwd=project.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return asked.returncode == EXIT_OK


def main(run_id: str) -> int:
    """Ask Dagster to cancel a run of its service; returns the exit code."""
    with open_instance(Project.find()) as instance:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return EXIT_FAILED
        return EXIT_OK if instance.run_coordinator.cancel_run(run_id) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
