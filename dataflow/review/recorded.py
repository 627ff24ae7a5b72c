"""The tables that a run made, as its folder has them: their columns, and the rows of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataflow.runs.data import read_data
from dataflow.runs.record import Run


@dataclass(frozen=True)
class SchemaDiff:
    """A column that came, went or has another type.

    Args:
        table: the table; of a table that is new or gone, the only entry.
        column: the column; "" for the table itself.
        before: its type before; None where it was not there.
        after: its type after; None where it is gone.
        step: the step that wrote it; "" where it is compared as it was published.
    """

    table: str
    column: str
    before: str | None
    after: str | None
    step: str = ""


@dataclass(frozen=True)
class Recorded:
    """A table as a run recorded it."""

    columns: Mapping[str, str]
    rows: int | None = None


def written_tables(step: Mapping[str, Any]) -> dict[str, Recorded]:
    """The tables that a step wrote, with their columns."""
    writes = step.get("writes")
    found = {}
    for table, facts in writes.items() if isinstance(writes, dict) else ():
        columns = facts.get("columns") if isinstance(facts, dict) else None
        if isinstance(columns, dict) and columns:
            found[str(table)] = Recorded({str(name): str(kind) for name, kind in columns.items()})
    return found


def reviewed_tables(run: Run) -> dict[str, Recorded] | None:
    """All of a workflow's tables as the run left them; None where nobody looked at them."""
    data = read_data(run.folder)
    if data is None:
        return None
    return {
        table.table: Recorded(
            {one.name: one.new_type for one in table.columns if one.new_type is not None},
            table.new_rows,
        )
        for table in data.tables
        if table.in_new
    }


def compare_schemas(
    before: Mapping[str, Recorded], after: Mapping[str, Recorded], step: str = ""
) -> list[SchemaDiff]:
    """The columns that differ between the tables of two runs, which this step wrote."""
    found = []
    for table in dict.fromkeys([*after, *before]):
        old, new = before.get(table), after.get(table)
        if old is None or new is None:
            here, gone = (None, "table") if old is None else ("table", None)
            found.append(SchemaDiff(table, "", here, gone, step))
            continue
        for column in dict.fromkeys([*new.columns, *old.columns]):
            kinds = old.columns.get(column), new.columns.get(column)
            if kinds[0] != kinds[1]:
                found.append(SchemaDiff(table, column, *kinds, step))
    return found
