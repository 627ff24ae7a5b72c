"""The processes of a service: found by a mark in their environment, and ended."""

from __future__ import annotations

import contextlib
import time

import psutil

from dataflow.base.process import carries, carrying, kill_carrying

MARK_VARIABLE = "DATAFLOW_SERVICE"


def is_alive(pid: int, mark: str) -> bool:
    """Whether process `pid` still is the one that was started with `mark`.

    No other has that mark, whoever was given its number since and whatever was done to the clock.
    """
    try:
        return carries(psutil.Process(pid), MARK_VARIABLE, mark)
    except psutil.Error:
        return False


def marked(mark: str) -> list[psutil.Process]:
    """The running processes that carry `mark`, this one excepted."""
    return carrying(MARK_VARIABLE, mark)


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
    return kill_carrying(MARK_VARIABLE, mark)
