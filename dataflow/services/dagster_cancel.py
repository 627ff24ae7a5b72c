"""Cancels the runs that Dagster has under way, as *Terminate* does: its service is to end.

A signal alone would make them failures to Dagster, which starts those again.
"""

from __future__ import annotations

import time
from typing import Any

from dataflow.orchestration.instance import open_instance
from dataflow.project import Project

WORK_SECONDS = 20.0  # for work in hand to note its own end


def cancel_runs(instance: Any, seconds: float = WORK_SECONDS) -> list[str]:
    """Cancel the runs that the code server started, and wait for their ends.

    Runs from the command line are another process's, and queued ones have not begun.

    Returns:
        The ids of the runs that were cancelled.
    """
    found = _under_way(instance)
    for run in found:
        try:
            instance.run_launcher.terminate(run.run_id)
        except Exception as error:  # its server is gone; the run's end is noted below
            print(f"run {run.run_id} could not be told to end: {error}")
    deadline = time.monotonic() + seconds
    while (left := _under_way(instance)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for run in left:  # its process is killed next
        instance.report_run_canceled(run, message="The service ended before the run did.")
    return [run.run_id for run in found]


def _under_way(instance: Any) -> list[Any]:
    from dagster import DagsterRunStatus, RunsFilter
    from dagster._core.storage.tags import GRPC_INFO_TAG

    statuses = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    runs = instance.get_runs(RunsFilter(statuses=statuses))
    return [run for run in runs if GRPC_INFO_TAG in run.tags]


def main() -> None:
    """Cancel the runs of the project that the environment names."""
    with open_instance(Project.find(), quiet=True) as instance:
        for run_id in cancel_runs(instance):
            print(f"dataflow: run {run_id} was cancelled, since the service ends")


if __name__ == "__main__":
    main()
