"""How many stages have a kernel at the same time, whoever runs them: the others wait their turn."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator

from dataflow.base.guardian import RUN_VARIABLE
from dataflow.base.lock import acquire
from dataflow.project import Project


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
    most = project.settings.max_kernels
    what = f"a kernel: {most} may run at the same time (the setting max_kernels)"
    with contextlib.ExitStack() as until_the_end:
        # Where the lock cannot be written, on a full disk, say, the stage has a better error.
        with contextlib.suppress(OSError):
            slot = acquire(
                project.state / "kernels", what,
                holder=who, timeout=math.inf, on_wait=on_wait, places=most,
            )  # fmt: skip
            until_the_end.enter_context(slot)
        yield
