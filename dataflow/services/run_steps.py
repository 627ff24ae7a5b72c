"""A run's steps as its page shows them: their graph, their times, and what is unusual in them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataflow.base.words import seconds_text
from dataflow.runs.record import FAILED, GOING_ON, UNDER_WAY, Run, moment_of, seconds_so_far
from dataflow.runs.usual import Comparison, Usual, UsualStep
from dataflow.services.drawing import GraphRow, graph

NARROWEST = 0.6  # percent of the width, for a step that took no time


@dataclass(frozen=True)
class StepRow:
    """A step of a run.

    Args:
        name: the step.
        status: how it stands.
        page: the address of its executed notebook; None when it has none.
        tries: the same of its earlier tries, by number.
        graph: its row in the graph of the steps.
        after: the steps it waits for.
        left: where its bar begins, in percent of the run's time; None when it did not begin.
        width: of its bar.
        began: how long after the run's start it began.
        seconds: how long it took, or has been at work.
        usual: itself beside the last good runs.
        rows: the rows it wrote, by table.
        checks: its checks.
        data: what else its record has.
    """

    name: str
    status: str
    page: str | None
    tries: Mapping[int, str]
    graph: GraphRow
    after: Sequence[str]
    left: float | None
    width: float
    began: float
    seconds: float | None
    usual: UsualStep
    rows: Mapping[str, Any]
    checks: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]

    @property
    def passed(self) -> int:
        """How many of its checks passed."""
        return sum(bool(check.get("passed")) for check in self.checks)

    @property
    def failed(self) -> bool:
        """Whether it is why the run did not succeed."""
        return self.status in (*FAILED, "killed")

    @property
    def at_work(self) -> bool:
        """Whether it runs now."""
        return self.status in UNDER_WAY and self.seconds is not None

    @property
    def cell(self) -> bool:
        """Whether a cell of its notebook failed."""
        return "cell" in (self.data.get("error") or {}) and self.page is not None


def rows_of(run: Run, compared: Comparison) -> list[StepRow]:
    """The steps of `run`, in order.

    Raises:
        TypeError, ValueError, AttributeError: its record holds something else.
    """
    steps = run.steps
    drawn = graph({name: step.get("after") for name, step in steps.items()})
    begin, span = _span(run)
    pages = _pages(run)
    rows = []
    for name, step in steps.items():
        seconds, left, width, began = seconds_so_far(step), None, 0.0, 0.0
        if step.get("started_at"):
            began = (moment_of(step["started_at"]) - begin).total_seconds()
            left = min(100 - NARROWEST, max(0.0, 100 * began / span))
            width = min(100 - left, max(NARROWEST, 100 * (seconds or 0) / span))
        tries = pages.get(name, {})
        last = max(tries, default=None)
        rows.append(
            StepRow(
                name=name,
                status=str(step.get("status", "")),
                page=None if last is None else tries[last],
                tries={number: page for number, page in tries.items() if number != last},
                graph=drawn[name],
                after=[other for other in step.get("after") or () if other in steps],
                left=None if left is None else round(left, 2),
                width=round(width, 2),
                began=began,
                seconds=seconds,
                usual=compared.steps.get(name, UsualStep()),
                rows=step.get("rows") or {},
                checks=step.get("checks") or [],
                data=step,
            )
        )
    return rows


def unusual(rows: Sequence[StepRow], compared: Comparison) -> list[str]:
    """What is unusual in a run, a phrase each."""
    return list(_unusual(rows, compared))


def _unusual(rows: Sequence[StepRow], compared: Comparison) -> Iterator[str]:
    times: list[tuple[str, Usual | None]] = [("the run", compared.seconds)]
    times += [(row.name, row.usual.seconds) for row in rows if not row.at_work]
    for name, time in times:
        if time is not None and time.direction:
            yield f"{name} took {seconds_text(time.value)}, usually {seconds_text(time.median)}"
    for row in rows:
        copied = row.data.get("kind") == "dashboard"  # what is unusual in them is so before
        for table, count in row.usual.rows.items():
            if count.direction and not copied:
                yield f"{table} has {number(count.value)} rows, usually {number(count.median)}"
        checks = row.usual.checks
        if checks is not None and checks.direction:
            yield f"{row.name} has {number(checks.value)} checks, usually {number(checks.median)}"
        for part in row.usual.gone:
            yield f"{row.name} usually has the {part}"


def number(value: Any) -> str:
    """A number as people read it; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def _pages(run: Run) -> dict[str, dict[int, str]]:
    """The pages of executed notebooks, by stage and try."""
    pages: dict[str, dict[int, str]] = {}
    for path in run.notebooks:
        stage, _, attempt = path.stem.partition(".try")
        pages.setdefault(stage, {})[int(attempt) if attempt.isdigit() else 1] = f"{path.stem}.html"
    return pages


def _span(run: Run) -> tuple[datetime.datetime, float]:
    """When the first step may have begun, and the seconds until the last ended."""
    times = [
        moment_of(step[key])
        for step in run.steps.values()
        for key in ("started_at", "ended_at")
        if step.get(key)
    ]
    if run.data.get("ended_at"):
        times.append(moment_of(run.data["ended_at"]))
    elif run.status in GOING_ON:
        times.append(_now())
    span = (max([run.started_at, *times]) - run.started_at).total_seconds()
    return run.started_at, max(span, 0.001)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
