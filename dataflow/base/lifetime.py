"""Processes that end with the one that started them, however that one ends, or in time."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PR_SET_PDEATHSIG = 1  # linux/prctl.h
GENTLY = 10  # nice(1)
FIRST_TO_GO = 500  # proc(5)'s oom_score_adj, up to 1000
LOOK_EVERY = 1.0  # seconds
STEP_PROCESSES = "dagster._core.executor.child_process_executor"

# Loaded before any fork: loading a library between fork and exec can deadlock.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel send this process SIGKILL when its parent dies, even by kill -9.

    Linux only; elsewhere it does nothing (ipykernel then looks for its parent itself,
    once a second).

    Args:
        parent: the parent's process id, when known: a parent that has died before this
            call is noticed too.
    """
    if _libc is None:
        return
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def child_setup(*, gently: bool = False) -> Callable[[], None]:
    """A `preexec_fn` for subprocesses that must not outlive this process.

    Args:
        gently: have it run behind all others, and be the first to go when memory runs out.
    """
    parent = os.getpid()

    def set_up() -> None:
        die_with_parent(parent)
        if gently:
            os.nice(GENTLY)
            # Linux weighs sessions against each other, and priorities only within one.
            for file, value in (("autogroup", GENTLY), ("oom_score_adj", FIRST_TO_GO)):
                with contextlib.suppress(OSError):
                    handle = os.open(f"/proc/self/{file}", os.O_WRONLY)
                    os.write(handle, b"%d" % value)
                    os.close(handle)

    return set_up


def end_with_run() -> None:
    """Have a step that Dagster runs in a process of its own end when its run's process does.

    Without this, a run that is killed leaves its steps running, with their kernels and the
    warehouse's write lock. The system's way (`die_with_parent`) does not work here: the
    parent of a forked step is the process that forks, which lives as long as the step.
    """
    process = multiprocessing.current_process()
    run = multiprocessing.parent_process()
    # The run's own process is a child too, of Dagster's code server, which may be replaced.
    target = getattr(process, "_target", None)
    if run is None or getattr(target, "__module__", "") != STEP_PROCESSES:
        return

    def watch() -> None:
        run.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-run", daemon=True).start()


def end_group(pid: int) -> None:
    """Kill process `pid` and everything it started in its process group, at once."""
    if pid <= 0 or pid in (os.getpid(), os.getpgrp()):
        return
    try:
        # By its number: the group outlives its leader, who may be gone already.
        os.killpg(pid, signal.SIGKILL)
        return
    except (ProcessLookupError, PermissionError):
        pass
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)  # it leads no group


def in_words(returncode: int | None) -> str:
    """How a process ended, for people."""
    if returncode is None:
        return "ended"
    if returncode < 0:
        number = -returncode
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = "unknown"
        text = f"was killed by signal {number} ({name})"
        if number == signal.SIGKILL:
            text += ", which is what the system does when memory runs out"
        return text
    return f"ended itself with exit code {returncode}"


@dataclass
class Limit:
    """A limit that is in force.

    Args:
        seconds: how long a program may take.
        passed: whether it was ended because it took longer.
        stopped: whether it was ended because nobody wanted it any more.
    """

    seconds: float
    passed: bool = False
    stopped: bool = False


@contextlib.contextmanager
def limited(
    process: subprocess.Popen[str], seconds: float, until: Callable[[], bool] | None = None
) -> Iterator[Limit]:
    """End `process` if it is still there after `seconds`; with its group, if it leads one.

    Args:
        process: the process.
        seconds: how long it may take.
        until: asked once a second whether it is to be ended before.
    """
    limit = Limit(seconds)
    ended = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + seconds
        left = seconds
        while not ended.wait(min(left, LOOK_EVERY) if until else left):
            left = max(0.0, deadline - time.monotonic())
            over = until is not None and until()
            if (over or not left) and process.poll() is None:
                limit.stopped, limit.passed = over, not over
                end_group(process.pid)
                return

    watching = threading.Thread(target=watch, name="limit", daemon=True)
    watching.start()
    try:
        yield limit
    finally:
        ended.set()
        watching.join()
