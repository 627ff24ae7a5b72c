"""A table for people: commands print it, and a notebook shows it."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dataflow.base.words import counted

MOST = 100  # rows in a notebook

# How a run or a step may stand: its sign, and what kind of news that is.
STATUSES = {
    "succeeded": ("✓", "good"),
    "skipped": ("↷", "doubtful"),
    "failed": ("✗", "bad"),
    "cancelled": ("■", "doubtful"),
    "killed": ("✗", "bad"),
    "running": ("●", "busy"),
    "retrying": ("↻", "doubtful"),
    "waiting": ("…", "busy"),
    "incomplete": ("…", "doubtful"),
    "awaiting review": ("◆", "doubtful"),
    "rejected": ("✗", "bad"),
    "superseded": ("·", "idle"),
    "pending": ("·", "idle"),
    "not run": ("·", "idle"),
    "left out": ("·", "idle"),
    "valid": ("✓", "good"),
    "not valid": ("✗", "bad"),
    "error": ("✗", "bad"),
    "warning": ("!", "doubtful"),
}
# JupyterLab's colours, which go with its theme; elsewhere ones that can be read on any.
_COLOURS = {
    "good": "color: var(--jp-success-color1, #388e3c)",
    "bad": "color: var(--jp-error-color1, #d32f2f)",
    "doubtful": "color: var(--jp-warn-color1, #b26a00)",
    "busy": "color: var(--jp-info-color1, #0288d1)",
    "idle": "opacity: 0.6",
}


@dataclass(frozen=True)
class Status:
    """A cell that says how something stands.

    Args:
        name: one of `STATUSES`.
        more: text after it.
    """

    name: str
    more: str = ""

    @property
    def kind(self) -> str:
        """What kind of news it is: good, bad, doubtful, busy or idle."""
        return STATUSES.get(self.name, ("?", "idle"))[1]

    @property
    def text(self) -> str:
        """The status with its sign, without what comes after it."""
        return f"{STATUSES.get(self.name, ('?', 'idle'))[0]} {self.name}"


Row = Sequence[str | Status]


@dataclass(frozen=True)
class Table:
    """What there is to show.

    Args:
        columns: their titles.
        rows: a cell for each column; a row may end early.
        right: the columns that are aligned to the right.
    """

    columns: Sequence[str]
    rows: Sequence[Row]
    right: Collection[str] = ()

    def html(self) -> str:
        """The table for a notebook, with its first rows where there are very many."""
        head = "".join(
            f"<th style='text-align: {self._align(number)}'>{html.escape(column)}</th>"
            for number, column in enumerate(self.columns)
        )
        body = "".join(
            "<tr>"
            + "".join(
                f"<td style='text-align: {self._align(number)}; white-space: pre-line'>"
                f"{_cell(cell)}</td>"
                for number, cell in enumerate(row)
            )
            + "</tr>"
            for row in self.rows[:MOST]
        )
        more = len(self.rows) - MOST
        rest = f"<p>… and {counted(more, 'more row')}</p>" if more > 0 else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"

    def _align(self, number: int) -> str:
        return "right" if self.columns[number] in self.right else "left"


class Shown:
    """Shows itself in a notebook as its table."""

    @property
    def table(self) -> Table:
        """What there is to show."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return self.table.html()


def _cell(cell: str | Status) -> str:
    if isinstance(cell, str):
        return html.escape(cell)
    return f"<span style='{_COLOURS[cell.kind]}'>{cell.text}</span> {html.escape(cell.more)}"
