"""Finding runs: what is known of each in short, and which of them somebody asks for.

The pages at `/runs`, `dataflow runs list` and `Project.runs` ask by this.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError
from dataflow.runs.record import (
    AWAITING,
    FAILED,
    GOING_ON,
    REJECTED,
    SUPERSEDED,
    UNDER_WAY,
    UNREADABLE,
    Run,
    mapping,
)

UNSUCCESSFUL = ("failed", "killed", "cancelled", "incomplete", REJECTED)
STATUSES = ("succeeded", *UNSUCCESSFUL, *GOING_ON, AWAITING, SUPERSEDED)
TRIGGERS = ("schedule", "cli", "python", "jupyterlab", "dagster", "re-execution", "retry")
_LONGEST = 200  # characters of a remark
_AGO = re.compile(r"(\d+)\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Facts:
    """A run in short: what lists show and searches ask for.

    Args:
        home: the folder of its workflow's runs.
        name: its folder's name.
        run_id: its id.
        workflow_id: the workflow.
        started_at: when it started, UTC.
        seconds: how long it took; None while it goes on.
        status: how it stands.
        trigger: what started it.
        user: who.
        commit: the project's commit.
        dirty: whether files differed from it.
        chosen: the values set for this run, as (stage, parameter, value).
        configured: the values from `config.yaml`, alike.
        rows: the rows it wrote, by table.
        remark: why it did not succeed, or what it is doing.
        step: the step that the remark is about.
        notebook: that step's executed notebook, the name of its file.
        pinned: whether it is kept for good.
        notes: how many notes people added.
    """

    home: str
    name: str
    run_id: str
    workflow_id: str
    started_at: datetime.datetime
    seconds: float | None
    status: str
    trigger: str
    user: str
    commit: str
    dirty: bool
    chosen: tuple[tuple[str, str, Any], ...]
    configured: tuple[tuple[str, str, Any], ...]
    rows: Mapping[str, int]
    remark: str
    step: str
    notebook: str
    pinned: bool = False
    notes: int = 0

    @classmethod
    def of(cls, run: Run) -> Facts:
        """What is known of `run`.

        Raises:
            UNREADABLE: its record holds something else.
        """
        data = run.data
        status = sys.intern(run.status)
        steps = _named(run.steps)
        git = mapping(data.get("git"))
        chosen = tuple(_values(mapping(data.get("parameters"))))
        own = {(stage, name) for stage, name, _ in chosen}
        effective = {stage: mapping(step.get("values")) for stage, step in steps.items()}
        step, remark = _remark(run, status, steps)
        return cls(
            home=sys.intern(str(run.folder.parent)),
            name=run.folder.name,
            run_id=run.run_id,
            workflow_id=sys.intern(run.workflow_id),
            started_at=run.started_at,
            seconds=run.seconds,
            status=status,
            trigger=sys.intern(str(data.get("trigger") or "")),
            user=sys.intern(str(data.get("user") or "")),
            commit=sys.intern(str(git.get("commit") or "")),
            dirty=bool(git.get("dirty")),
            chosen=chosen,
            configured=tuple(one for one in _values(effective) if one[:2] not in own),
            rows=_rows(steps),
            remark=remark[:_LONGEST],
            step=sys.intern(step),
            notebook=sys.intern(str(mapping(steps.get(step)).get("notebook") or "")),
            pinned=run.pinned is not None,
            notes=len(run.notes),
        )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.home, self.name)

    @property
    def goes_on(self) -> bool:
        """Whether it has not ended."""
        return self.status in GOING_ON


def _named(steps: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: mapping(step) for name, step in steps.items()}


def _values(by_stage: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for stage, values in by_stage.items():
        for name, value in mapping(values).items():
            yield sys.intern(str(stage)), sys.intern(str(name)), value


def _rows(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The rows that a run's own code wrote, by table; the dashboard's are copies of them."""
    return {
        sys.intern(str(table)): count
        for step in steps.values()
        if step.get("kind") != "dashboard"
        for table, count in mapping(step.get("rows")).items()
        if isinstance(count, int)
    }


def _remark(run: Run, status: str, steps: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """The step that decides how a run stands, and a line about it."""
    if status in GOING_ON:
        if waiting := run.data.get("waiting_for"):
            return "", f"waits for {waiting}"
        at_work = [name for name, step in steps.items() if step.get("status") in UNDER_WAY]
        return at_work[0] if at_work else "", ", ".join(at_work)
    for name, step in steps.items():
        if step.get("status") in (*FAILED, "killed"):
            message = str(mapping(step.get("error")).get("message") or step["status"])
            return name, f"{name}: {message.strip().partition(chr(10))[0]}"
    message = str(mapping(run.data.get("error")).get("message") or "")
    return "", message.strip().partition("\n")[0]


@dataclass(frozen=True)
class Wanted:
    """Which runs somebody asks for; what is empty is not asked.

    Args:
        statuses: those that stand like this.
        since: those that started then or later.
        parameters: those that ran with all of these values, as (name, value); a name is a
            parameter's or `stage.parameter`; without a value (None, written `*`), any will do.
        trigger: what started them.
        user: who started them.
        commit: the beginning of the project's commit.
    """

    statuses: frozenset[str] = frozenset()
    since: datetime.datetime | None = None
    parameters: tuple[tuple[str, str | None], ...] = ()
    trigger: str | None = None
    user: str | None = None
    commit: str | None = None

    @classmethod
    def asked(
        cls,
        *,
        statuses: Iterable[str] = (),
        since: datetime.date | str | None = None,
        parameters: Iterable[str] = (),
        trigger: str | None = None,
        user: str | None = None,
        commit: str | None = None,
    ) -> Wanted:
        """What somebody wrote, on a page or as options: `parameters` as `NAME=VALUE` or `NAME`.

        Raises:
            ConfigurationError: a status is unknown, a time is none, or a parameter has no name.
        """
        for status in statuses:
            if status not in STATUSES:
                raise ConfigurationError(
                    f"no run is ever `{status}`", hint=nearest(status, STATUSES)
                )
        pairs = [text.partition("=") for text in parameters if text.strip()]
        if any(not name.strip() for name, _, _ in pairs):
            raise ConfigurationError(
                "a parameter has no name", hint="Write it like min_magnitude=4.5."
            )
        return cls(
            frozenset(statuses),
            None if since is None else moment(since),
            tuple(
                (name.strip(), None if not equals or value.strip() == "*" else value.strip())
                for name, equals, value in pairs
            ),
            trigger or None,
            user or None,
            commit or None,
        )

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return self != Wanted()

    def matches(self, run: Facts) -> bool:
        """Whether this is one of the runs."""
        return (
            (not self.statuses or run.status in self.statuses)
            and (self.since is None or run.started_at >= self.since)
            and (self.trigger is None or run.trigger == self.trigger)
            and (self.user is None or run.user == self.user)
            and (self.commit is None or run.commit.startswith(self.commit.lower()))
            and all(_ran_with(run, name, value) for name, value in self.parameters)
        )

    def fits(self, run: Run) -> bool:
        """Whether this, of which the whole record was read, is one of the runs."""
        try:
            return self.matches(Facts.of(run))
        except UNREADABLE:
            return False

    def not_older(self, runs: Iterable[S]) -> Iterator[S]:
        """The first of `runs`, the newest first: as many as are not too old."""
        since = self.since
        return itertools.takewhile(lambda run: since is None or run.started_at >= since, runs)


S = TypeVar("S", Facts, Run)


def _ran_with(run: Facts, wanted: str, text: str | None) -> bool:
    stage, _, bare = wanted.rpartition(".")
    return any(
        (name == bare and stage in ("", of)) and (text is None or _is(value, text))
        for of, name, value in (*run.chosen, *run.configured)
    )


def _is(value: Any, text: str) -> bool:
    """Whether a parameter's value is what somebody wrote: `4.50` is 4.5, `true` is True."""
    if isinstance(value, str):
        return value == text
    try:
        return bool(json.loads(text.lower()) == value) and isinstance(value, bool) == (
            text.lower() in ("true", "false")
        )
    except ValueError:
        return str(value) == text


def moment(since: datetime.date | str) -> datetime.datetime:
    """A time that somebody wrote or chose; without a zone it is UTC.

    Args:
        since: a date, a time, either as text (`2026-11-26`, `2026-11-26T09:00`), or how long ago:
            `90m`, `12h`, `7d`, `4w`.

    Raises:
        ConfigurationError: the text is none of these.
    """
    if isinstance(since, str):
        try:
            if ago := _AGO.fullmatch(since.strip().lower()):
                back = datetime.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
                return datetime.datetime.now(datetime.UTC) - back
            since = datetime.datetime.fromisoformat(since.strip())
        except (ValueError, OverflowError):
            raise ConfigurationError(
                f"`{since}` is not a time",
                hint="Write it like 2026-11-26 or 2026-11-26T09:00, or how long ago: 12h, 7d.",
            ) from None
    if not isinstance(since, datetime.datetime):
        since = datetime.datetime.combine(since, datetime.time())
    return since if since.tzinfo else since.replace(tzinfo=datetime.UTC)
