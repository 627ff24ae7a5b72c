"""What came of a run's data, as a section of its page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dataflow.base.words import shortened
from dataflow.project import Project
from dataflow.runs.data import DATA_FILE, read_data
from dataflow.runs.record import Run
from dataflow.warehouse.store import ColumnComparison, Profile

# A page of all columns of a very wide warehouse would be too big to open.
MOST_COLUMNS = 400
BAR_HEIGHT = 40
LONGEST = 60  # characters of a value in a column's profile


def data_section(project: Project, run: Run) -> Mapping[str, Any] | None:
    """What `data.html` gets of a run; None when its data was not compared."""
    data = read_data(run.folder)
    if data is None:
        return None
    shown, left = set(), MOST_COLUMNS
    # Tables that are different are shown in any case before those that are not.
    for table in sorted(data.tables, key=lambda table: not table.has_changed):
        left -= len(table.columns)
        if left >= 0:
            shown.add(table.table)
    return {
        "data": data,
        "shown": shown,
        "file": DATA_FILE,
        **PROFILE,
    }


def figure(text: str | None) -> str:
    """A value, with no more digits than one reads."""
    if text is None:
        return ""
    try:
        number = float(text)
    except ValueError:
        return shortened(text, LONGEST)
    if not math.isfinite(number) or ("." not in text and "e" not in text):
        return text
    return f"{number:.6g}"


def _figures(column: ColumnComparison) -> list[tuple[str, str, str]]:
    """What there is to say of a column: what it is, before, and now."""
    old, new = column.old, column.new
    both = [one for one in (old, new) if one is not None]
    about = "about " if any(one.estimated for one in both) else ""
    rows: list[tuple[str, str, str]] = [
        ("NULL", *_counts(old, new, "nulls")),
        (f"{about}different", *_counts(old, new, "distinct")),
    ]
    if any(one.infinite for one in both):
        rows.append(("infinite, NaN", *_counts(old, new, "infinite")))
    ends = [("smallest", "min"), ("largest", "max")]
    rows += [
        (words, figure(getattr(old, name, None)), figure(getattr(new, name, None)))
        for words, name in ends
        if any(getattr(one, name) is not None for one in both)
    ]
    for words, at in (("5 %", 0), ("25 %", 1), ("median", 2), ("75 %", 3), ("95 %", 4)):
        before, now = (
            figure(one.quantiles[at]) if one and one.quantiles else "" for one in (old, new)
        )
        if before or now:
            rows.insert(-1, (words, before, now))
    return rows


def _counts(old: Profile | None, new: Profile | None, name: str) -> tuple[str, str]:
    before, now = (f"{getattr(one, name):,}" if one else "" for one in (old, new))
    return before, now


def _bars(profile: Profile | None, column: ColumnComparison) -> str:
    """The bars of a histogram as one SVG path; the highest one of both sides is `BAR_HEIGHT`."""
    if profile is None or not profile.bins:
        return ""
    highest = max(
        max(one.bins) / max(sum(one.bins), 1)
        for one in (column.old, column.new)
        if one and one.bins
    )
    total = max(sum(profile.bins), 1) * (highest or 1)
    width = 100 / len(profile.bins)
    # A single value is to be seen, too.
    heights = [count and max(1.0, count / total * BAR_HEIGHT) for count in profile.bins]
    return "".join(
        f"M{number * width:g} {BAR_HEIGHT}v-{height:.1f}h{width - 0.6:g}v{height:.1f}z"
        for number, height in enumerate(heights)
        if height
    )


def _words(column: ColumnComparison) -> list[tuple[str, int | None, int | None, float]]:
    """The most frequent values of both: value, how often before and now, and its bar in percent."""
    old = dict(column.old.top) if column.old else {}
    new = dict(column.new.top) if column.new else {}
    most = max([*old.values(), *new.values()], default=1)
    values = sorted(old | new, key=lambda value: (-new.get(value, 0), -old.get(value, 0), value))
    return [
        (
            shortened(value, LONGEST),
            old.get(value),
            new.get(value),
            round(100 * new.get(value, 0) / most, 1),
        )
        for value in values
    ]


# What `profile.html` calls.
PROFILE: Mapping[str, Any] = {
    "figure": figure,
    "figures": _figures,
    "bars": _bars,
    "words_of": _words,
    "height": BAR_HEIGHT,
}
