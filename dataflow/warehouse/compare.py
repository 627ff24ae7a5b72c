"""What came of the data: the tables of two database files compared, row by row and by column.

The files are published versions, or one that may become one. Both are called `dataflow`, and their
views name that catalog, so only one of them can have the name at a time: a view of the older file
is computed into a temporary table first, then that file is attached under another name.

Counts of rows and columns are always of everything. Of tables with more rows than `Limits.rows`,
rows are chosen by the hash of their key (of the whole row where there is none), so that both files
give the same ones. What a comparison may take in total is limited: when the time is over, the
tables that are left have their counts only.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dataflow.base.sql import TableName, filled, quote
from dataflow.base.words import counted, shortened
from dataflow.warehouse.comparison import (
    ColumnComparison,
    DataComparison,
    Limits,
    TableComparison,
)
from dataflow.warehouse.differences import (
    CHANGED,
    DIFFERENT,
    Common,
    NotUnique,
    RowComparison,
    common_columns,
    row_hash,
)
from dataflow.warehouse.failures import first_line
from dataflow.warehouse.layout import CATALOG, Layout
from dataflow.warehouse.profile import Side, profiles
from dataflow.warehouse.provenance import SCHEMA, known_keys
from dataflow.warehouse.scratch import OLD, OutOfTime, Work, work_apart
from dataflow.warehouse.snapshot import relations
from dataflow.warehouse.versions import Metadata

if TYPE_CHECKING:
    from dataflow.project import Project

COPIES = {"old": "_compared_old", "new": "_compared_new"}
WITHOUT_KEY = "Without a known key: a row with another value counts as removed and added."


def compare_tables(
    old: Path | None,
    new: Path,
    tables: Sequence[TableName],
    keys: Mapping[TableName, Sequence[str]] | None = None,
    *,
    schemas: Sequence[str] = (),
    limits: Limits | None = None,
    scratch: Path | None = None,
    zone: str = "UTC",
    clean: Callable[[str], str] = str,
) -> DataComparison:
    """Compare tables of two databases; neither may be removed meanwhile.

    Args:
        old: the earlier file; None when there is none, and every table is new.
        new: the later one.
        tables: the tables and views to compare, in the order of the result; one that neither
            file has is left out.
        keys: the columns that identify a row, where they are known. By default those that
            `write_table` was given, else the table's own primary or unique key.
        schemas: all tables of these are compared, too.
        limits: what it may take.
        scratch: the folder for what does not fit into memory; by default a temporary one.
        zone: the time zone in which views are computed and times shown.
        clean: takes secrets out of text.

    Raises:
        duckdb.Error, OSError: a file cannot be opened. A table that cannot be read is only noted
            in the result.
    """
    limits = limits or Limits()
    started, now = time.monotonic(), datetime.now(UTC)
    with work_apart(scratch, zone) as connection:
        work = Work(connection, started + limits.seconds)
        pairs = _pairs(work, old, new, tables, schemas)
        found = dict(_keys_in(work, new))
        found.update({table.folded: tuple(columns) for table, columns in (keys or {}).items()})
        made: dict[TableName, TableComparison] = {}
        # The small ones first: a big one must not take their time.
        for table, before, after in sorted(pairs, key=_cost):
            one = _OneTable(work, old, new, before, after, limits, clean)
            made[table] = one.compare(table, found.get(table.folded, ()))
    return DataComparison(
        tables=tuple(made[table] for table, _, _ in pairs),
        made_at=now.isoformat(timespec="milliseconds"),
        seconds=round(time.monotonic() - started, 3),
    )


def compare_files(
    project: Project,
    old: Path | None,
    new: Path,
    tables: Sequence[TableName],
    keys: Mapping[TableName, Sequence[str]],
    *,
    schemas: Sequence[str] = (),
    limits: Limits | None = None,
    clean: Callable[[str], str] = str,
) -> DataComparison:
    """Compare tables of two of a project's databases; see `compare_tables`."""
    return compare_tables(
        old,
        new,
        tables,
        keys,
        schemas=schemas,
        limits=limits,
        scratch=Layout.of(project).scratch,
        zone=project.timezone,
        clean=clean,
    )


@dataclass(frozen=True)
class _There:
    """A table as one of the files has it.

    Args:
        table: its name there.
        is_view: whether it is computed; a big table's view of its data file is not.
        columns: its columns with DuckDB's types.
        rows: how many rows it has; None while they are not counted.
        error: why it cannot be read.
    """

    table: TableName
    is_view: bool
    columns: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    error: Exception | None = None


_Pair = tuple[TableName, _There | None, _There | None]


def _pairs(
    work: Work,
    old: Path | None,
    new: Path,
    tables: Sequence[TableName],
    schemas: Sequence[str] = (),
) -> list[_Pair]:
    """Each table as both files have it, without those that neither has."""
    named = [table.folded for table in tables]
    whole = {schema.lower() for schema in schemas}

    def is_wanted(table: TableName) -> bool:
        return table in named or (table.schema in whole and table.schema != SCHEMA)

    before = _outline(work, old, is_wanted) if old is not None else {}
    after = _outline(work, new, is_wanted)
    pairs: dict[TableName, _Pair] = {}
    for name in [*named, *sorted(before | after)]:
        if there := after.get(name) or before.get(name):
            pairs[name] = (there.table, before.get(name), after.get(name))
    return list(pairs.values())


def _outline(
    work: Work, path: Path, is_wanted: Callable[[TableName], bool]
) -> dict[TableName, _There]:
    """The tables of a file, by their names in lower case."""
    import duckdb

    connection = work.attach(path)
    of_file = filled("WHERE database_name = ?", CATALOG)
    views = connection.execute(f"SELECT schema_name, view_name FROM duckdb_views() {of_file}")
    computed = {TableName(*row) for row in views.fetchall()}
    metadata = Metadata.read(path.parent)
    computed -= {TableName(*name.split(".", 1)) for name in (metadata.files if metadata else ())}
    found = {}
    for table in filter(lambda table: is_wanted(table.folded), relations(connection, CATALOG)):
        there = _There(table, table in computed)
        name = f"{CATALOG}.{table.quoted}"
        try:
            relation = connection.sql(f"FROM {name} LIMIT 0")
            there = replace(there, columns=dict(zip(relation.columns, relation.types, strict=True)))
            if not there.is_view:
                there = _counted(work, path, there)
        except duckdb.Error as error:
            there = replace(there, error=error)
        found[table.folded] = there
    return found


def _counted(work: Work, path: Path | None, there: _There | None) -> Any:
    """The same with its number of rows, which takes computing a view; None for None."""
    import duckdb

    if there is None or path is None or there.rows is not None or there.error is not None:
        return there
    work.attach(path)
    try:
        ((rows,),) = work.rows(f"SELECT count(*) FROM {CATALOG}.{there.table.quoted}")
    except OutOfTime:
        return there
    except duckdb.Error as error:
        return replace(there, error=error)
    return replace(there, rows=rows)


def _keys_in(work: Work, path: Path) -> Iterator[tuple[TableName, tuple[str, ...]]]:
    """The keys that a file itself knows of: its tables' own, then those given to `write_table`."""
    connection = work.attach(path)
    own = connection.execute(
        filled(
            "SELECT schema_name, table_name, constraint_column_names FROM duckdb_constraints() "
            "WHERE database_name = ? AND constraint_type IN ('PRIMARY KEY', 'UNIQUE') "
            "ORDER BY constraint_type = 'PRIMARY KEY', constraint_index DESC",  # the last counts
            CATALOG,
        )
    ).fetchall()
    for schema, table, columns in own:
        yield TableName(schema, table).folded, tuple(columns)
    for name, given in known_keys(connection).items():
        yield name.folded, given


def _cost(pair: _Pair) -> tuple[bool, int]:
    """What comparing a table takes, to sort by."""
    there = [one for one in pair[1:] if one is not None]
    return any(one.is_view for one in there), sum(one.rows or 0 for one in there)


def _count(there: _There | None) -> int | None:
    return there.rows if there else None


def _columns(old: _There | None, new: _There | None) -> list[ColumnComparison]:
    """The columns of both: the new ones in their order, then those that are gone."""
    before = {name.lower(): (name, kind) for name, kind in (old.columns if old else {}).items()}
    found = []
    for name, kind in (new.columns if new else {}).items():
        _, old_kind = before.pop(name.lower(), (name, None))
        found.append(ColumnComparison(name, old_kind and str(old_kind), str(kind)))
    return found + [ColumnComparison(name, str(kind), None) for name, kind in before.values()]


@dataclass
class _OneTable:
    """The comparison of one table; each result is kept in `made` as soon as it is there."""

    work: Work
    old_file: Path | None
    new_file: Path
    old: _There | None
    new: _There | None
    limits: Limits
    clean: Callable[[str], str]

    def compare(self, table: TableName, key: Sequence[str]) -> TableComparison:
        """Compare it.

        Args:
            table: its name.
            key: the columns that identify its rows; none when they are not known.
        """
        import duckdb

        self.old = _counted(self.work, self.old_file, self.old)
        self.new = _counted(self.work, self.new_file, self.new)
        sides = [one for one in (self.old, self.new) if one is not None]
        self.made = TableComparison(
            *table,
            kind="view" if sides[-1].is_view else "table",
            old_rows=_count(self.old),
            new_rows=_count(self.new),
            in_old=self.old is not None,
            in_new=self.new is not None,
            columns=tuple(_columns(self.old, self.new)),
        )
        for one in sides:
            if one.error is not None:
                which = "new" if one is self.new else "earlier"
                self._note(f"The {which} one cannot be read: {first_line(one.error)}")
        if self.made.notes:
            return self.made
        try:
            if any(one.rows is None for one in sides):
                raise OutOfTime
            self.work.prepare_for(max(one.rows or 0 for one in sides))
            self._compare(key)
        except OutOfTime:
            missing = "Not compared" if self.made.added is None else "No profile"
            self._note(f"{missing}: the time for that ({self.limits.seconds:g} s) was over.")
        except duckdb.Error as error:
            self._note(f"Not everything could be compared: {first_line(error)}")
        finally:
            self._drop()
        return self.made

    def _compare(self, key: Sequence[str]) -> None:
        one_side = self.new or self.old
        assert one_side is not None
        before, after = (self.old or one_side).columns, (self.new or one_side).columns
        common = common_columns(self.work.rows, before, after)
        matched = self._matched(common, key)
        old = self._side("old", self.old, common, matched)
        new = self._side("new", self.new, common, matched)
        self.work.attach(self.new_file, self.old_file)
        self.made = replace(
            self.made,
            old_compared=old.rows if old else None,
            new_compared=new.rows if new else None,
        )
        if old and new:
            self._both(old, new, common, matched)
        elif side := new or old:
            compared = RowComparison(
                self.work.rows, side, side, common, self.limits.examples, self._text
            )
            order = f" ORDER BY {', '.join(one.column('new') for one in matched)}"
            source = f"{side.relation} AS this{order if matched else ''}"
            rows = compared.first_rows(side, source, "this")
            self.made = replace(
                self.made,
                added=one_side.rows if new else 0,
                removed=0 if new else one_side.rows,
                added_rows=rows if new else (),
                removed_rows=() if new else rows,
            )
        self._profile(old, new)

    def _matched(self, common: list[Common], key: Sequence[str]) -> list[Common]:
        """The columns of the key; none where both do not have them all."""
        names = {one.name.lower(): one for one in common}
        if all(column.lower() in names for column in key):
            return [names[column.lower()] for column in key]
        self._note(f"Compared without its key ({', '.join(key)}): not all of it is in both.")
        return []

    def _side(
        self,
        which: Literal["old", "new"],
        there: _There | None,
        common: list[Common],
        key: list[Common],
    ) -> Side | None:
        """The rows to look at: of a view or a big table a copy, else the table itself."""
        if there is None:
            return None
        most = max(_count(self.old) or 0, _count(self.new) or 0)
        where = ""
        if most > self.limits.rows:
            bound = self.limits.rows * 2**64 // most
            value = f"hash({', '.join(one.sql(which) for one in key)})" if key else ""
            where = f" WHERE {value or row_hash(common, which)} < {bound}::UBIGINT"
        if which == "old" and there.is_view and self.old_file is not None:
            self.work.attach(self.old_file)
            relation = f"{CATALOG}.{there.table.quoted}"
        else:
            self.work.attach(self.new_file, self.old_file)
            relation = f"{OLD if which == 'old' else CATALOG}.{there.table.quoted}"
        order = {column.name.lower(): at for at, column in enumerate(self.made.columns)}
        columns = dict(sorted(there.columns.items(), key=lambda one: order[one[0].lower()]))
        if not where and not there.is_view:
            return Side(relation, columns, there.rows or 0)
        copy = COPIES[which]
        self.work.rows(f"CREATE TEMP TABLE {copy} AS FROM {relation}{where}")
        ((rows,),) = self.work.rows(f"SELECT count(*) FROM temp.main.{copy}")
        return Side(f"temp.main.{copy}", columns, rows)

    def _both(self, old: Side, new: Side, common: list[Common], key: list[Common]) -> None:
        if not common:
            self._note("No column is in both, so their rows cannot be compared.")
            return
        compared = RowComparison(self.work.rows, old, new, common, self.limits.examples, self._text)
        found = None
        if key:
            try:
                found = compared.by_key(key)
                self.made = replace(self.made, key=tuple(one.name for one in key))
            except NotUnique as error:
                (number,) = error.args
                occur = counted(number, "value occurs", "values occur")
                self._note(
                    f"Compared without its key ({', '.join(one.name for one in key)}), which is "
                    f"not unique: {occur} more than once."
                )
        elif not self.made.notes:
            self._note(WITHOUT_KEY)
        found = found or compared.as_multisets()
        self.made = replace(
            self.made,
            added=found.added,
            removed=found.removed,
            changed=found.changed,
            added_rows=found.added_rows,
            removed_rows=found.removed_rows,
            changed_rows=found.changed_rows,
            columns=tuple(
                replace(one, changed=found.by_column.get(one.name)) for one in self.made.columns
            ),
        )

    def _profile(self, old: Side | None, new: Side | None) -> None:
        # Equal rows have equal profiles.
        is_same = old is not None and new is not None and not self.made.has_changed
        sides = [None if is_same else old, new]
        before, after = profiles(self.work.rows, sides, self._text)
        before = after if is_same else before
        self.made = replace(
            self.made,
            columns=tuple(
                replace(
                    one,
                    old=(before or {}).get(one.name.lower()),
                    new=(after or {}).get(one.name.lower()),
                )
                for one in self.made.columns
            ),
        )

    def _note(self, text: str) -> None:
        self.made = replace(self.made, notes=(*self.made.notes, self._text(text)))

    def _text(self, text: str) -> str:
        return shortened(self.clean(text), self.limits.characters)

    def _drop(self) -> None:
        import duckdb

        with contextlib.suppress(duckdb.Error):
            connection = self.work.attach(self.new_file, self.old_file)
            for name in (*COPIES.values(), DIFFERENT, CHANGED):
                connection.execute(f"DROP TABLE IF EXISTS temp.main.{quote(name)}")
