"""Runs from the command line whose process was killed: Dagster does not notice by itself.

To Dagster they go on for ever, and each takes one of the slots for concurrent runs, until no
schedule gets one any more. Each start of a run looks for them, and so does Dagster's daemon.
"""

from __future__ import annotations

import json
from typing import Any

import dagster as dg

from dataflow.base.process import is_alive

PROCESS_TAG = "dataflow/process"


def end_lost_runs(instance: Any) -> list[str]:
    """End the runs in Dagster's instance whose process is gone; other machines' runs stay.

    Returns:
        Their ids.
    """
    status = dg.DagsterRunStatus
    under_way = [status.NOT_STARTED, status.STARTING, status.STARTED, status.CANCELING]
    ended = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=under_way)):
        process = run.tags.get(PROCESS_TAG)
        # A run that is tried again in Dagster has the tags of the one before.
        if process is None or "dagster/parent_run_id" in run.tags or is_alive(json.loads(process)):
            continue
        instance.report_run_failed(
            run, "its process is gone: it was killed, or the machine went down"
        )
        ended.append(str(run.run_id))
    return ended
