"""A workflow's schedule: whether Dagster takes its cron line, the same in words, and its times."""

from __future__ import annotations

import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo


def cron_problem(schedule: str) -> str | None:
    """Why Dagster would reject `schedule`, without the seconds that importing Dagster takes."""
    from croniter import CroniterError, croniter

    fields = schedule.split()
    if len(fields) != 5 and not schedule.startswith("@"):
        # croniter knows more fields, seconds and years; Dagster does not.
        return f"it has {len(fields)} fields, not 5"
    try:
        croniter.expand(schedule)
    except CroniterError as error:
        return str(error)
    return None


@lru_cache(maxsize=1024)
def in_words(schedule: str, timezone: str) -> str:
    """A valid `schedule` in English: "At 06:00, every day (UTC)".

    The cron line itself where it has no words.
    """
    from cron_descriptor import Options, get_description
    from cron_descriptor.Exception import FormatException
    from croniter import croniter

    try:
        # `@daily` and the like are no fields yet; croniter knows which they stand for.
        short = schedule.startswith("@")
        fields = croniter(schedule).expressions if short else schedule.split()
        # "every day" says something beside a time; "Every minute, every hour, every day" does not.
        verbose = "*" not in fields[1]
        options = Options(verbose=verbose, use_24hour_time_format=True, locale_code="en_US")
        words = get_description(" ".join(fields), options)
    except (ValueError, FormatException):
        words = schedule
    return f"{words} ({timezone})"


def next_time(schedule: str, timezone: str, after: datetime.datetime) -> datetime.datetime | None:
    """When a valid `schedule` is due next, in its own time zone; None when never (30 February)."""
    return _time(schedule, timezone, after.replace(second=0, microsecond=0), "get_next")


def last_time(schedule: str, timezone: str, before: datetime.datetime) -> datetime.datetime | None:
    """When a valid `schedule` was due last, in its own time zone; None when never."""
    return _time(schedule, timezone, before.replace(second=59, microsecond=999_999), "get_prev")


@lru_cache(maxsize=1024)  # within a minute the answer is the same
def _time(
    schedule: str, timezone: str, moment: datetime.datetime, which: str
) -> datetime.datetime | None:
    from croniter import CroniterBadDateError, croniter

    times = croniter(schedule, moment.astimezone(ZoneInfo(timezone)))
    try:
        found: datetime.datetime = getattr(times, which)(datetime.datetime)
    except CroniterBadDateError:
        return None
    return found
