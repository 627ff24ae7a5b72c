"""When a workflow is due, and whether its data is late."""

from __future__ import annotations

import datetime

import pytest

from dataflow.workflows.freshness import freshness
from dataflow.workflows.model import WorkflowSection

DAILY = WorkflowSection(name="Sales", schedule="0 6 * * *", timezone="Europe/Berlin")
NOON = datetime.datetime(2026, 10, 25, 12, tzinfo=datetime.UTC)  # the day the clock goes back


def hours_before_noon(hours: float) -> datetime.datetime:
    return NOON - datetime.timedelta(hours=hours)


def test_the_next_time_is_in_the_schedules_own_zone_also_when_the_clock_changes():
    """06:00 in Berlin stays 06:00 on the day with 25 hours."""
    told = [
        freshness(DAILY, None, now=moment).next.isoformat()
        for moment in (hours_before_noon(12), NOON)
    ]

    assert told == ["2026-10-25T06:00:00+01:00", "2026-10-26T06:00:00+01:00"]


@pytest.mark.parametrize(
    ("last_good", "now", "usual_seconds", "late"),
    [
        (hours_before_noon(7), NOON, 0, False),  # 06:00 in Berlin, by winter time
        (hours_before_noon(7.1), NOON, 0, True),
        (hours_before_noon(31), hours_before_noon(6.9), 0, False),  # it may still be starting
        (hours_before_noon(31), hours_before_noon(6.5), 3600, False),  # it takes an hour
        (hours_before_noon(31), hours_before_noon(4.5), 3600, True),
    ],
)
def test_data_is_late_when_a_scheduled_run_should_have_succeeded_by_now(
    last_good, now, usual_seconds, late
):
    """Late is told by the last good run's start, after the time that a run usually takes."""
    told = freshness(DAILY, last_good, usual_seconds=usual_seconds, now=now)

    assert told.late is late


def test_a_workflow_that_never_ran_is_not_late_and_one_that_never_succeeded_is():
    """A new workflow has missed nothing yet."""
    assert not freshness(DAILY, None, now=NOON).late
    assert freshness(DAILY, None, known_since=hours_before_noon(48), now=NOON).late


@pytest.mark.parametrize("schedule", [None, "0 0 30 2 *"])
def test_without_a_time_in_the_calendar_nothing_is_due(schedule):
    """Neither no schedule nor the 30th of February makes data late."""
    told = freshness(
        WorkflowSection(name="Sales", schedule=schedule), hours_before_noon(1e4), now=NOON
    )

    assert (told.next, told.late) == (None, False)
