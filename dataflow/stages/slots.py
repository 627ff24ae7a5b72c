"""How many stages have a kernel at the same time, whoever runs them: the others wait their turn."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dataflow.base.guardian import RUN_VARIABLE
from dataflow.base.lock import FIRST_MESSAGE_AFTER, MESSAGE_EVERY, acquire
from dataflow.project import Project

LOOK_EVERY = 0.1  # seconds


@contextlib.contextmanager
def kernel_slot(project: Project, who: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Wait until fewer kernels run than the setting `max_kernels` says; those who came before first.

    A run that a notebook has started takes none: that notebook has one, and waits for it.

    Args:
        project: the project.
        who: the stage, in words for those who wait behind it.
        on_wait: called with a sentence every few seconds of waiting.
    """
    if RUN_VARIABLE in os.environ:
        yield
        return
    folder = project.state / "kernels"
    most = project.settings.max_kernels
    what = f"a kernel: {most} may run at the same time (the setting max_kernels)"
    with contextlib.ExitStack() as until_the_end:
        # Where the lock cannot be written, on a full disk, say, the stage has a better error.
        with (
            contextlib.suppress(OSError),
            acquire(folder, what, holder=who, timeout=math.inf, on_wait=on_wait),
        ):
            slot = _first_free(folder, most, lambda: on_wait(f"Waiting for {what}"))
            until_the_end.callback(slot.release)
        yield


def _first_free(folder: Path, most: int, on_wait: Callable[[], None]) -> FileLock:
    """Wait for one of the slots, which the operating system frees when their process ends."""
    next_message = time.monotonic() + FIRST_MESSAGE_AFTER
    while True:
        for number in range(most):
            lock = FileLock(folder / f"{number}.lock", thread_local=False)
            with contextlib.suppress(Timeout):
                lock.acquire(blocking=False)
                return lock
        if time.monotonic() >= next_message:
            on_wait()
            next_message = time.monotonic() + MESSAGE_EVERY
        time.sleep(LOOK_EVERY)
