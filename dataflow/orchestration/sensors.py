"""What Dagster's daemon does besides schedules: it ends lost runs, and removes old ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg

from dataflow.orchestration.lost import end_lost_runs
from dataflow.orchestration.retention import prune
from dataflow.project import Project

AT_A_TIME = 20.0  # seconds: Dagster ends an evaluation that takes a minute


def sensors() -> list[Any]:
    """The sensors, which request no runs."""
    return [
        _sensor(
            "ends_lost_runs", 30, end_lost,
            "Ends runs from the command line whose process was killed.",
        ),
        # At their end runs remove those of their own workflow only, and some no longer run.
        _sensor(
            "removes_old_runs", 3600, remove_old,
            "Removes the runs that keep_runs and keep_days do not keep.",
        ),
    ]  # fmt: skip


def end_lost(instance: Any) -> str:
    """End the runs that are lost; says which."""
    ended = end_lost_runs(instance)
    return f"ended {', '.join(ended)}" if ended else "no run is lost"


def remove_old(instance: Any) -> str:
    """Remove the runs that the settings do not keep; says which."""
    project = Project.find()
    if project.settings.keeps_all_runs:
        return "all runs are kept: neither keep_runs nor keep_days is set"
    removed = prune(project, instance, seconds=AT_A_TIME)
    names = ", ".join(run.run_id[:8] for run in removed)
    return f"removed {names}" if removed else "no run is too old"


def _sensor(name: str, every: int, work: Callable[[Any], str], description: str) -> Any:
    """A sensor that does `work` with Dagster's instance, every so many seconds."""

    @dg.sensor(
        name=name,
        minimum_interval_seconds=every,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
        asset_selection=dg.AssetSelection.all(),  # Dagster demands a target
    )
    def of_dagster(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason(work(context.instance))

    return of_dagster
