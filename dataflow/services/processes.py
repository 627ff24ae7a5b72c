"""The processes of a service: found by a mark in their environment, and ended.

Trees of processes fall apart when one in the middle dies, and process groups are left by
whoever starts a session of its own (JupyterLab's kernels do). A variable of the environment
goes down to all of them.
"""

from __future__ import annotations

import contextlib
import os
import time

import psutil

MARK_VARIABLE = "DATAFLOW_SERVICE"


def is_alive(pid: int, mark: str) -> bool:
    """Whether process `pid` still is the one that was started with `mark`.

    No other has that mark, whoever was given its number since and whatever was done to the clock.
    """
    try:
        return _carries(psutil.Process(pid), mark)
    except psutil.Error:
        return False


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.environ().get(MARK_VARIABLE) == mark
        )
    except (psutil.Error, OSError):  # gone, or another user's
        return False


def marked(mark: str) -> list[psutil.Process]:
    """The running processes that carry `mark`, this one excepted."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _carries(process, mark)
    ]


def wait_until_gone(mark: str, seconds: float) -> bool:
    """Wait until no process carries `mark`; returns whether that came true in time."""
    deadline = time.monotonic() + seconds
    while marked(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def terminate_marked(mark: str) -> None:
    """Tell every process that carries `mark` to end."""
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):
            process.terminate()


def kill_marked(mark: str) -> int:
    """Kill every process that carries `mark`; returns how many there were."""
    killed: set[int] = set()
    deadline = time.monotonic() + 10
    # One may be starting another just now, so look again until none is left.
    while (left := marked(mark)) and time.monotonic() < deadline:
        for process in left:
            killed.add(process.pid)
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)
    return len(killed)
