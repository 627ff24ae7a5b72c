"""Which runs may go: those past the limits, except what nothing may remove."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.runs.record import AWAITING, ENDED_WELL, GOING_ON, Run, newest_first
from dataflow.settings import Settings

NOT_ENDED = (*GOING_ON, AWAITING)  # the last waits for somebody's decision
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Limits:
    """Which ended runs of each workflow are kept; where both are set, the longer counts.

    Args:
        newest: that many of the newest; None for no such limit.
        age: those that began within it; None for no such limit.
    """

    newest: int | None = None
    age: datetime.timedelta | None = None

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits of the settings `keep_runs` and `keep_days`."""
        days = settings.keep_days
        return cls(settings.keep_runs, None if days is None else datetime.timedelta(days=days))

    @property
    def keep_all(self) -> bool:
        """Whether no run is ever too old."""
        return self.newest is None and self.age is None


@dataclass(frozen=True)
class OldRun:
    """A run that the limits do not keep.

    Args:
        run: the run.
        needed: why it stays all the same; empty when it may go.
    """

    run: Run
    needed: str = ""


def age_of(text: str) -> datetime.timedelta:
    """An age as a person writes it: `12h`, `30d`, `8w`.

    Raises:
        ConfigurationError: it is none.
    """
    match = re.fullmatch(r"(\d+) ?([hdw])", text.strip().lower())
    try:
        if match and int(match[1]) > 0:
            return datetime.timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        pass
    raise ConfigurationError(
        f"`{text}` is not an age", hint="Write hours, days or weeks like 12h, 30d or 8w."
    )


def old_runs(project: Project, workflow_id: str, limits: Limits | None = None) -> list[OldRun]:
    """The runs of a workflow that the limits do not keep, the oldest first.

    Needed are those that go on or await review, pinned ones, the newest run that succeeded, the
    newest that failed, and for each step the run of its newest attempt and of the newest one that
    succeeded: `--changed`, publishing and Dagster's pages tell by these how the step stands.

    Args:
        project: the project.
        workflow_id: the workflow.
        limits: what to keep; by default what the settings say.
    """
    limits = limits or Limits.of(project.settings)
    if limits.keep_all:
        return []
    runs = list(newest_first(project, workflow_id))
    old = [run for run in runs if run.status not in GOING_ON]
    kept = {run.run_id for run in old[: limits.newest or 0]}
    if limits.age is not None:
        since = datetime.datetime.now(datetime.UTC) - limits.age
        kept |= {run.run_id for run in old if run.started_at >= since}
    telling = _telling(runs)
    found = []
    for run in reversed(old):
        if run.run_id in kept:
            continue
        needed = "tells how a step stands" if run.run_id in telling else ""
        if run.status in NOT_ENDED:
            needed = run.status
        elif run.data.get("pinned"):
            needed = "pinned"
        found.append(OldRun(run, needed))
    return found


def _telling(runs: list[Run]) -> set[str]:
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
