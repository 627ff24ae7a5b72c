"""Ends the processes that a run's steps started, however the run ends, even by kill -9.

A process in a session of its own (`nohup … &`) is in no group of ours, and outlives its kernel.
`python -m dataflow.base.guardian RUN` waits for its parent to end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from dataflow.base.process import kill_carrying

RUN_VARIABLE = "DATAFLOW_RUN_ID"  # in the environment of all processes of a run's steps
STEP_VARIABLE = "DATAFLOW_STEP_PROCESSES"  # of those of one kernel or op
LOOK_EVERY = 0.5  # seconds


@contextlib.contextmanager
def guarded(run_id: str) -> Iterator[None]:
    """End the processes of a run when the `with` block ends, or this process does."""
    # Without the variables, by which the guardian would find and end itself.
    environment = {n: v for n, v in os.environ.items() if not n.startswith("DATAFLOW_")}
    guardian = subprocess.Popen(
        [sys.executable, "-m", "dataflow.base.guardian", run_id, str(os.getpid())],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        kill_carrying(RUN_VARIABLE, run_id)
        guardian.kill()
        guardian.wait()


def main(run_id: str, parent: int) -> None:
    """Wait until process `parent`, which started this one, is gone; then end the rest."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    # Twice: its kernels die at the same moment, and may be starting something just then.
    kill_carrying(RUN_VARIABLE, run_id)
    time.sleep(LOOK_EVERY)
    kill_carrying(RUN_VARIABLE, run_id)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
