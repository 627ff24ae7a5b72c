"""Which runs may go: the settings `keep_runs` and `keep_days`, and what nothing may remove."""

from __future__ import annotations

import datetime

from dataflow.project import Project
from dataflow.runs.record import ENDED_WELL, Run, newest_first


def expired_runs(project: Project, workflow_id: str) -> list[Run]:
    """The ended runs of a workflow that the settings do not keep, the oldest first.

    Never among them are the newest run that succeeded, the newest that failed, and for each step
    the run of its newest attempt and of the newest one that succeeded: `--changed`, publishing and
    Dagster's pages tell by these how the step stands.
    """
    settings = project.settings
    if settings.keeps_all_runs:
        return []
    runs = list(newest_first(project, workflow_id))
    ended = [run for run in runs if run.status not in ("running", "waiting")]
    if settings.keep_days is not None:
        since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=settings.keep_days)
        old = [run for run in ended if run.started_at < since]
    else:
        old = ended
    kept = {run.run_id for run in ended[: settings.keep_runs or 0]}
    kept |= _needed(runs)
    return [run for run in reversed(old) if run.run_id not in kept]


def _needed(runs: list[Run]) -> set[str]:
    """Of these runs, the newest first, those that say how steps and workflow stand."""
    newest: dict[object, tuple[str, str]] = {}
    for run in runs:
        succeeded = run.status == "succeeded"
        if succeeded or run.status in ("failed", "killed"):
            newest.setdefault(succeeded, ("", run.run_id))
        for name, step in run.steps.items():
            if begun := step.get("started_at"):
                # Runs take turns, but may have begun to wait in another order.
                attempt = (begun, run.run_id)
                for key in (name, (name, step.get("status") in ENDED_WELL)):
                    newest[key] = max(newest.get(key, attempt), attempt)
    return {run_id for _, run_id in newest.values()}
