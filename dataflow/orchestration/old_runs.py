"""Old runs go with the services, too: a workflow that no longer runs would keep its runs for ever."""

from __future__ import annotations

from typing import Any

import dagster as dg

from dataflow.orchestration.retention import prune
from dataflow.project import Project

EVERY = 3600  # seconds
AT_A_TIME = 20.0  # seconds: Dagster ends an evaluation that takes a minute


def old_runs_sensor() -> Any:
    """The sensor by which Dagster's daemon removes old runs, also of workflows that no longer run."""

    @dg.sensor(
        name="removes_old_runs",
        minimum_interval_seconds=EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Removes the runs that keep_runs and keep_days do not keep.",
        # It requests no runs, but Dagster demands a target.
        asset_selection=dg.AssetSelection.all(),
    )
    def removes_old_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        project = Project.find()
        if project.settings.keeps_all_runs:
            return dg.SkipReason("all runs are kept: neither keep_runs nor keep_days is set")
        removed = prune(project, context.instance, seconds=AT_A_TIME)
        names = ", ".join(run.run_id[:8] for run in removed)
        return dg.SkipReason(f"removed {names}" if removed else "no run is too old")

    return removes_old_runs
