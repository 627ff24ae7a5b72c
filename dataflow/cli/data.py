"""`dataflow runs show RUN --data`: what came of a run's data, on the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dataflow.base.table import Table
from dataflow.base.words import shortened
from dataflow.cli.output import console, print_json, print_table
from dataflow.errors import ConfigurationError

if TYPE_CHECKING:
    from dataflow.api import Run
    from dataflow.warehouse.store import ColumnComparison, TableComparison

EXAMPLES = 3
LONGEST, LONGEST_LINE = 40, 160  # characters of a value, and of a row
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def print_data(run: Run, *, as_json: bool = False) -> None:
    """Print what came of a run's data.

    Args:
        run: the run.
        as_json: print all of it, for programs.

    Raises:
        ConfigurationError: it was not compared.
    """
    from rich.markup import escape

    data = run.data_comparison
    if data is None:
        published = run.steps.get("publish", {}).get("status") == "succeeded"
        raise ConfigurationError(
            f"the data of run {run.run_id[:8]} was not compared with what was published before",
            hint="`dataflow runs show` says why, and data_review_seconds must not be 0."
            if published
            else "That is done when a run publishes, and this one did not.",
        )
    if as_json:
        print_json(data.as_json())
        return
    out = console()
    before = f" beside {data.old}, published before" if data.old else ", the first published"
    out.print(f"[bold]{run.workflow_id}[/] {run.run_id}: {data.new}{before}")
    print_table(data.table, wrapped="")
    for table in data.changed:
        out.print(f"[bold]{escape(table.table)}[/]  {escape(table.summary)}")
        columns = [_row(column) for column in table.columns if _is_different(column)]
        head = ("Column", "Type", "Changed", "NULL", "Different", "Smallest", "Median", "Largest")
        if columns and table.in_old and table.in_new:
            print_table(Table(head, columns, right=("Changed",)))
        for line in _examples(table):
            out.print(f"  {escape(shortened(line, LONGEST_LINE))}")
    if data.changed:
        out.print("[dim]before → now; all of it: --json, and the run's page[/]")


def _is_different(column: ColumnComparison) -> bool:
    return bool(column.changed or column.schema_change or column.old != column.new)


def _row(column: ColumnComparison) -> list[str]:
    old, new = column.old, column.new

    def both(name: str) -> str:
        return _arrow(*(_text(getattr(one, name)) if one else None for one in (old, new)))

    medians = (one.quantiles[2] if one and one.quantiles else None for one in (old, new))
    return [
        _text(column.name) or "",
        _arrow(column.old_type, column.new_type),
        f"{column.changed:,}" if column.changed else "",
        both("nulls"),
        both("distinct"),
        both("min"),
        _arrow(*map(_text, medians)),
        both("max"),
    ]


def _arrow(old: str | None, new: str | None) -> str:
    if old == new or old is None or new is None:
        return new or old or ""
    return f"{old} → {new}"


def _examples(table: TableComparison) -> Iterator[str]:
    for row in table.changed_rows[:EXAMPLES]:
        key = ", ".join(_text(value) or "NULL" for value in row.key)
        changes = "; ".join(
            f"{_text(name)} {_text(old) or 'NULL'} → {_text(new) or 'NULL'}"
            for name, old, new in row.changes
        )
        yield f"~ {key}: {changes}"
    for sign, rows in (("+", table.added_rows), ("-", table.removed_rows)):
        for row in rows[:EXAMPLES] if table.in_old and table.in_new else ():
            yield f"{sign} {', '.join(_text(value) or 'NULL' for value in row.values)}"


def _text(value: str | int | None) -> str | None:
    """A value for a terminal, which must not take parts of it as commands."""
    if value is None:
        return None
    text = _CONTROL.sub("·", f"{value:,}" if isinstance(value, int) else value)
    return shortened(text, LONGEST)
