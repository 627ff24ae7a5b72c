"""Identify a process, tell whether it still runs, and find what it started.

An id alone identifies a process only for a while, since ids are reused. Together with the
machine's boot and the tick at which the process started it is unique, whatever happens to the
clock.

What a process started is recognised by an environment variable, which all descendants inherit. A
process tree breaks when one in the middle dies, and a process that starts its own session leaves
the group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

# Seconds that a process may seem to have begun earlier or later, where ticks are not known:
# the clock that psutil reckons with can be set in between.
TOLERANCE = 2.0
KILL_SECONDS = 10.0  # for processes that go on starting others
_received: list[int] = []  # signals in `signals_as_interrupt`
EXEC_SECONDS = 0.1  # until a process that begins a program has its environment


def this_process() -> dict[str, Any]:
    """This process, so that others can tell later whether it still runs.

    Returns:
        `host`, `pid`, `boot` (the machine's boot) and `ticks` (since then, as Linux counts them;
        both None elsewhere), and `process_started` (seconds since 1970).
    """
    return process_facts(os.getpid())


def process_facts(pid: int) -> dict[str, Any]:
    """As `this_process`, of process `pid`."""
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "boot": _boot(),
        "ticks": _ticks(pid),
        "process_started": started_at(pid),
    }


def is_alive(process: dict[str, Any] | None) -> bool:
    """Whether a process still runs, as `this_process` noted it.

    A process on another machine cannot be checked: it counts as running.
    """
    if not process:
        return False
    if process.get("host", socket.gethostname()) != socket.gethostname():
        return True
    started = started_at(process["pid"])
    if started is None:
        return False
    if process.get("boot") is not None:
        return bool(process["boot"] == _boot() and process["ticks"] == _ticks(process["pid"]))
    noted = process.get("process_started")
    return noted is not None and abs(started - noted) < TOLERANCE


def started_at(pid: int) -> float | None:
    """When process `pid` began, seconds since 1970; None when it does not run."""
    try:
        process = psutil.Process(pid)
        # Where nobody collects ended processes, as in many containers, they stay as zombies.
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None


def carrying(variable: str, value: str) -> list[psutil.Process]:
    """The running processes whose environment has this `value`, except this process."""
    others = [process for process in psutil.process_iter() if process.pid != os.getpid()]
    # One sleep for all that seem to have no environment, not one for each.
    looked_at = {process: _environment(process) for process in others}
    if any(environment == {} for environment in looked_at.values()):
        time.sleep(EXEC_SECONDS / 5)
        looked_at |= {p: _environment(p) for p, found in looked_at.items() if found == {}}
    return [process for process, found in looked_at.items() if (found or {}).get(variable) == value]


def carries(process: psutil.Process, variable: str, value: str) -> bool:
    """Whether `process` runs and has this `value` of `variable` in its environment."""
    deadline = time.monotonic() + EXEC_SECONDS
    while (environment := _environment(process)) == {} and time.monotonic() < deadline:
        time.sleep(EXEC_SECONDS / 20)
    return (environment or {}).get(variable) == value


def _environment(process: psutil.Process) -> dict[str, str] | None:
    """The environment a process was started with; None when it is gone, or another user's.

    Empty for a moment while the process begins a program: in 27 of 3,000 cases when read as
    soon as `Popen` had returned.
    """
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.environ()
    except (psutil.Error, OSError):
        return None


def kill_carrying(variable: str, value: str, more: Iterable[psutil.Process] = ()) -> int:
    """Kill `more` and every process whose environment has this `value`; returns how many."""
    killed: set[int] = set()
    deadline = time.monotonic() + KILL_SECONDS
    left = [*more, *carrying(variable, value)]
    # One may be starting another just now, so look again until none is left.
    while left and time.monotonic() < deadline:
        for process in left:
            killed.add(process.pid)
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)
        left = carrying(variable, value)
    return len(killed)


def started_by(pid: int, before: Iterable[psutil.Process] = ()) -> list[psutil.Process]:
    """The descendants of process `pid`, without the children `before` and theirs."""
    try:
        children = set(psutil.Process(pid).children()) - set(before)
    except psutil.Error:
        return []
    return [*children, *(below for child in children for below in started_by(child.pid))]


@contextlib.contextmanager
def signals_as_interrupt(*signals: signal.Signals) -> Iterator[None]:
    """Let `signals` end the block as Ctrl-C does; outside the main thread none arrive.

    Where a library catches that, `was_interrupted` says so.
    """

    def interrupt(number: int, frame: Any) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    try:
        before = {number: signal.signal(number, interrupt) for number in signals}
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received.clear()


def was_interrupted() -> bool:
    """Whether a signal arrived in a `signals_as_interrupt` block that goes on."""
    return bool(_received)


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have `variables` in this process's environment in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


def _ticks(pid: int) -> int | None:
    """When process `pid` began, in clock ticks since the boot: field 22 of proc(5)'s stat."""
    try:
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
