"""What a comparison of two databases found: by table and column, in words and as JSON.

Counts of rows and columns are always of everything. Where a table was compared by a sample, the
numbers of rows added, removed and changed are those of the sample.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from dataflow.base.table import Shown, Table
from dataflow.base.words import counted
from dataflow.warehouse.profile import Profile

FORMAT = 1


@dataclass(frozen=True)
class Limits:
    """What a comparison may take, and how much it tells.

    Args:
        seconds: for all tables together.
        rows: tables with more rows are compared and profiled by a sample of about this many.
        examples: rows that are shown of those added, removed and changed.
        characters: of a value that is shown.
    """

    seconds: float = 20.0
    rows: int = 1_000_000
    examples: int = 20
    characters: int = 200


@dataclass(frozen=True)
class ColumnComparison:
    """A column of a table, before and after.

    Args:
        name: its name.
        old_type, new_type: its types; None where there is no such column.
        changed: in how many of the rows that both have its value is another; None without a key.
        old, new: what it holds.
    """

    name: str
    old_type: str | None
    new_type: str | None
    changed: int | None = None
    old: Profile | None = None
    new: Profile | None = None

    @property
    def schema_change(self) -> Literal["added", "removed", "retyped"] | None:
        """How the column itself changed."""
        if self.old_type is None:
            return "added"
        if self.new_type is None:
            return "removed"
        return "retyped" if self.old_type != self.new_type else None


@dataclass(frozen=True)
class ExampleRow:
    """A row, or how it changed; values as text, None for NULL.

    Args:
        key: the key's values.
        values: of a row that was added or removed: in the order of `TableComparison.columns`, of
            those that its table had then.
        changes: of a changed one (column, old value, new value).
    """

    key: tuple[str | None, ...] = ()
    values: tuple[str | None, ...] = ()
    changes: tuple[tuple[str, str | None, str | None], ...] = ()


@dataclass(frozen=True)
class TableComparison:
    """A table or view, before and after.

    Args:
        schema, name: its name.
        kind: whether it is a table or a view (of the newer file where it is in both).
        old_rows, new_rows: how many rows it has; None where it is not there, or was not counted.
        in_old, in_new: whether it is there.
        key: the columns that rows were matched by; empty without a usable one.
        columns: its columns, the new ones in their order, then those that are gone.
        added, removed: how many rows, of those compared; None when they were not.
        changed: how many, by key; None without one.
        old_compared, new_compared: how many rows were compared; fewer than there are in a sample.
        added_rows, removed_rows, changed_rows: some of them.
        notes: what a reader should know: why there is no key, why something is missing.
    """

    schema: str
    name: str
    kind: Literal["table", "view"] = "table"
    old_rows: int | None = None
    new_rows: int | None = None
    in_old: bool = False
    in_new: bool = False
    key: tuple[str, ...] = ()
    columns: tuple[ColumnComparison, ...] = ()
    added: int | None = None
    removed: int | None = None
    changed: int | None = None
    old_compared: int | None = None
    new_compared: int | None = None
    added_rows: tuple[ExampleRow, ...] = ()
    removed_rows: tuple[ExampleRow, ...] = ()
    changed_rows: tuple[ExampleRow, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """Its name as people write it."""
        return f"{self.schema}.{self.name}"

    @property
    def schema_changes(self) -> tuple[ColumnComparison, ...]:
        """The columns that were added, removed or got another type."""
        if not (self.in_old and self.in_new):
            return ()
        return tuple(column for column in self.columns if column.schema_change)

    @property
    def is_sample(self) -> bool:
        """Whether only a part of the rows was compared."""
        return self.new_compared != self.new_rows or self.old_compared != self.old_rows

    @property
    def has_changed(self) -> bool:
        """Whether rows or columns are known to be different."""
        return (
            self.in_old != self.in_new
            or self.old_rows != self.new_rows
            or bool(self.added or self.removed or self.changed or self.schema_changes)
        )

    @property
    def summary(self) -> str:
        """What came of it, in one line."""
        if not self.in_old:
            return f"new: {_rows(self.new_rows)}"
        if not self.in_new:
            return f"gone: had {_rows(self.old_rows)}"
        count = (
            _rows(self.new_rows)
            if self.old_rows == self.new_rows
            else f"{_number(self.old_rows)} → {_rows(self.new_rows)}"
        )
        parts = self._parts()
        if self.added is None:
            return f"{count}: not compared" + "".join(f", {part}" for part in parts)
        if sample := self.sample:
            count += f" ({sample})"
        return f"{count}: {', '.join(parts) or 'unchanged'}"

    def _parts(self) -> list[str]:
        words = ("added", self.added), ("removed", self.removed), ("changed", self.changed)
        parts = [f"{number:,} {word}" for word, number in words if number]
        if changes := len(self.schema_changes):
            parts.append(f"{counted(changes, 'column')} different")
        return parts

    @property
    def sample(self) -> str:
        """What part of the rows was compared, in words; empty when it was all."""
        if self.added is None or not self.is_sample:
            return ""
        compared = max(self.old_compared or 0, self.new_compared or 0)
        there = max(self.old_rows or 0, self.new_rows or 0)
        return f"sample of {compared:,} of {there:,} rows"


@dataclass(frozen=True)
class DataComparison(Shown):
    """The tables of two databases compared.

    Args:
        tables: each table.
        old, new: what was compared, in words, such as `version 7`; None where there was nothing.
        made_at: when it was compared (ISO 8601, UTC).
        seconds: how long that took.
        format: of this as JSON.
    """

    tables: tuple[TableComparison, ...]
    old: str | None = None
    new: str | None = None
    made_at: str = ""
    seconds: float = 0.0
    format: int = FORMAT

    def as_json(self) -> dict[str, Any]:
        """This as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> DataComparison:
        """What `as_json` gave; keys that a later version adds are ignored.

        Raises:
            ValueError: it is something else.
        """
        from pydantic import TypeAdapter

        made = TypeAdapter(cls).validate_python(data)
        if made.format != FORMAT:
            raise ValueError(f"format {made.format} of a comparison is not known")
        return made

    @property
    def changed(self) -> tuple[TableComparison, ...]:
        """The tables that are different."""
        return tuple(table for table in self.tables if table.has_changed)

    @property
    def table(self) -> Table:
        """Each table in one line."""
        rows = [
            [
                one.table,
                _number(one.old_rows) if one.in_old else "",
                _number(one.new_rows) if one.in_new else "",
                *("" if n is None else f"{n:,}" for n in (one.added, one.removed, one.changed)),
                ", ".join(f"{c.name} {c.schema_change}" for c in one.schema_changes),
                "\n".join([one.sample, *one.notes]).strip(),
            ]
            for one in self.tables
        ]
        head = ("Table", "Before", "Now", "Added", "Removed", "Changed", "Columns", "")
        return Table(head, rows, right=head[1:6])


def _rows(number: int | None) -> str:
    return "rows not counted" if number is None else counted(number, "row")


def _number(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"
