"""What is usual for a workflow: the last good runs, and what in a run differs from them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflow.runs.record import Run, seconds_so_far, step_seconds

RUNS = 20  # good runs that are looked at
ENOUGH = 5  # of them, below which nothing is called unusual
DEVIATIONS = 3  # median absolute deviations
SHARE = 0.2  # of the median
SECONDS = 1.0  # that a time differs at least
RULE = (
    f"Unusual is what is more than {DEVIATIONS} median absolute deviations and {SHARE:.0%} away from "
    f"the median (times also {SECONDS:g} s), from {ENOUGH} good runs on."
)


@dataclass(frozen=True)
class Usual:
    """A number beside those of the last good runs.

    Args:
        value: the number.
        before: those of the good runs.
        least: how far away it is at least to be unusual.
    """

    value: float
    before: Sequence[float] = ()
    least: float = 0.0

    @property
    def median(self) -> float | None:
        """What is usual; None when no good run has it."""
        return statistics.median(self.before) if self.before else None

    @property
    def direction(self) -> int:
        """1 for unusually much, -1 for unusually little, 0 for neither."""
        if self.median is None or len(self.before) < ENOUGH:
            return 0
        away = self.value - self.median
        spread = statistics.median(abs(one - self.median) for one in self.before)
        far = max(DEVIATIONS * spread, SHARE * abs(self.median), self.least)
        return (away > far) - (away < -far)


@dataclass(frozen=True)
class UsualStep:
    """A step beside the same step of the last good runs.

    Args:
        seconds: how long it took, or has been at work; None when it did not run.
        rows: the rows it wrote, by table.
        checks: how many checks there were.
        figures: the numbers that its checks reported, by check and name.
        gone: checks and tables that most of the good runs had, and it has not.
    """

    seconds: Usual | None = None
    rows: Mapping[str, Usual] = field(default_factory=dict)
    checks: Usual | None = None
    figures: Mapping[tuple[str, str], Usual] = field(default_factory=dict)
    gone: Sequence[str] = ()


@dataclass(frozen=True)
class Comparison:
    """A run beside the last good runs of its workflow.

    Args:
        runs: how many good runs there are.
        same: whether these had the same parameters.
        seconds: how long the run took.
        steps: its steps by name.
    """

    runs: int
    same: bool
    seconds: Usual | None
    steps: Mapping[str, UsualStep]


def beside(run: Run, good: Iterable[Run]) -> Comparison:
    """`run` beside earlier runs that succeeded.

    Those with the same parameters count, if there are enough of them; else all.

    Args:
        run: the run.
        good: runs of the same workflow that succeeded before it.
    """
    found = list(good)
    alike = [other for other in found if _parameters(other) == _parameters(run)]
    same = len(alike) >= ENOUGH or len(alike) == len(found)
    if same:
        found = alike
    found = found[:RUNS]
    whole = [other for other in found if not other.data.get("selection")]
    steps = {
        name: _step(step, [s for other in found if (s := _good_step(other, name)) is not None])
        for name, step in run.steps.items()
        if isinstance(step, Mapping)
    }
    seconds = None
    if run.seconds is not None and run.status == "succeeded" and not run.data.get("selection"):
        before = [time for other in whole if (time := other.seconds) is not None]
        seconds = Usual(run.seconds, before, SECONDS)
    return Comparison(len(found), same, seconds, steps)


def _parameters(run: Run) -> Any:
    return run.data.get("parameters") or {}


def _good_step(run: Run, name: str) -> Mapping[str, Any] | None:
    step = run.steps.get(name)
    return step if isinstance(step, Mapping) and step.get("status") == "succeeded" else None


def _step(step: Mapping[str, Any], good: Sequence[Mapping[str, Any]]) -> UsualStep:
    took = seconds_so_far(step)
    seconds = None
    if took is not None:
        times = [time for one in good if (time := step_seconds(one)) is not None]
        seconds = Usual(took, times, SECONDS)
    if step.get("status") != "succeeded":
        return UsualStep(seconds)
    rows = {
        table: Usual(count, [rows[table] for rows in map(_rows, good) if table in rows])
        for table, count in _rows(step).items()
    }
    figures = _figures(step)
    before = [_figures(one) for one in good]
    return UsualStep(
        seconds,
        rows,
        Usual(len(_checks(step)), [len(_checks(one)) for one in good]),
        {
            key: Usual(value, [one[key] for one in before if key in one])
            for key, value in figures.items()
        },
        _gone(_parts(step), [_parts(one) for one in good]),
    )


def _gone(now: Sequence[str], before: Sequence[Sequence[str]]) -> list[str]:
    if len(before) < ENOUGH:
        return []
    ever = dict.fromkeys(part for one in before for part in one)
    often = [part for part in ever if sum(part in one for one in before) * 2 > len(before)]
    return [part for part in often if part not in now]


def _parts(step: Mapping[str, Any]) -> list[str]:
    checks = [f"check {check.get('name')}" for check in _checks(step)]
    return [f"table {table}" for table in _rows(step)] + checks


def _rows(step: Mapping[str, Any]) -> dict[str, float]:
    rows = step.get("rows")
    return {t: n for t, n in rows.items() if _number(n)} if isinstance(rows, Mapping) else {}


def _checks(step: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    checks = step.get("checks")
    return [check for check in checks if isinstance(check, Mapping)] if checks else []


def _figures(step: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    return {
        (str(check.get("name")), str(key)): value
        for check in _checks(step)
        for key, value in (check.get("metadata") or {}).items()
        if _number(value)
    }


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
