"""Whether a workflow's data is as new as its schedule promises."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from dataflow.workflows.model import WorkflowSection
from dataflow.workflows.schedule import last_time, next_time

GRACE = datetime.timedelta(
    minutes=10
)  # for a run to begin, and to end, beside what it usually takes


@dataclass(frozen=True)
class Freshness:
    """How new a workflow's data is.

    Args:
        last_good: when the last run that succeeded started; None when there is none.
        next: when the schedule is due next, in its time zone; None without a schedule.
        missed: the scheduled time that no good run followed although there was time enough; None
            when the data is as new as the schedule promises.
    """

    last_good: datetime.datetime | None
    next: datetime.datetime | None = None
    missed: datetime.datetime | None = None

    @property
    def late(self) -> bool:
        """Whether a scheduled run that should be there is missing, or did not succeed."""
        return self.missed is not None


def freshness(
    about: WorkflowSection,
    last_good: datetime.datetime | None,
    *,
    known_since: datetime.datetime | None = None,
    usual_seconds: float = 0,
    now: datetime.datetime | None = None,
) -> Freshness:
    """How new a workflow's data is, and whether it is late.

    Args:
        about: its section `workflow:`.
        last_good: when its last run that succeeded started.
        known_since: when it ran at all for the first time; a workflow that never ran is not late.
        usual_seconds: how long a run usually takes.
        now: the moment to tell it for.
    """
    if not about.schedule:
        return Freshness(last_good)
    now = now or datetime.datetime.now(datetime.UTC)
    due = last_time(
        about.schedule,
        about.timezone,
        now - GRACE - datetime.timedelta(seconds=2 * usual_seconds),
    )
    since = last_good or known_since
    late = since is not None and due is not None and since < due
    return Freshness(
        last_good, next_time(about.schedule, about.timezone, now), due if late else None
    )
