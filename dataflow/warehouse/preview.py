"""A look at some tables: their first rows, and what their columns hold.

Somebody who looks must not keep a run waiting, nor wait for one. So the lock of a database is taken
only if it is free within a moment, and given back after another: under it no more is read than the
first rows and a sample, the rest is computed from these. What was published needs no lock, and is
read where it is the same, or where the working warehouse is in use.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dataflow.base.sql import TableName, filled, quote
from dataflow.base.words import shortened
from dataflow.errors import WarehouseError, WarehouseLocked
from dataflow.project import Project
from dataflow.warehouse import lock, versions
from dataflow.warehouse.comparison import ColumnComparison
from dataflow.warehouse.connect import Database
from dataflow.warehouse.development import WHAT
from dataflow.warehouse.failures import explain, first_line
from dataflow.warehouse.layout import CATALOG, Layout
from dataflow.warehouse.profile import EXACT_ROWS, Side, profiles, text_of
from dataflow.warehouse.provenance import Origin, provenance
from dataflow.warehouse.scratch import OutOfTime, Work, work_apart
from dataflow.warehouse.snapshot import relations

FIRST_ROWS = 20
CHARACTERS = 200  # of a value
MOST_TABLES = 20
MOST_PROFILED = 200  # columns of all tables together, and at least 20 of each
SAMPLE_VALUES = 1_000_000  # of a table, in all columns
WAIT_SECONDS = 0.5  # for the lock of a database
HOLD_SECONDS = 1.0  # of the lock
READ_SECONDS = 3.0  # of what is published, which nobody waits for
PROFILE_SECONDS = 5.0
TOO_SLOW = "Not all of it could be read in the moment for which nobody is kept waiting."
TOO_BIG = "No profile: no sample could be read in the moment for which nobody is kept waiting."


@dataclass(frozen=True)
class Preview:
    """A table as it was found.

    Args:
        table: its name.
        database: where it was read; None where no database has it.
        rows: how many it has; None where they were not counted.
        columns: its columns with their types, in `new_type`, and what they hold, in `new`.
        first: its first rows, values as text (None for NULL).
        sampled: of how many rows the profile is; None where it is of all.
        origin: who wrote it last, where that is known.
        notes: what a reader should know.
    """

    table: TableName
    database: Database | None = None
    rows: int | None = None
    columns: tuple[ColumnComparison, ...] = ()
    first: tuple[tuple[str | None, ...], ...] = ()
    sampled: int | None = None
    origin: Origin | None = None
    notes: tuple[str, ...] = ()


def preview(
    project: Project, tables: Sequence[TableName], clean: Callable[[str], str]
) -> tuple[list[Preview], list[str]]:
    """Look at tables where they were written last: by a run, or by hand in the user's own copy.

    Args:
        project: whose warehouse.
        tables: the tables; of more than `MOST_TABLES` only the first are read.
        clean: takes secrets out of text.

    Returns:
        A preview of each table, and why something may be missing.
    """
    with work_apart(None, project.timezone) as connection:
        connection.execute("SET preserve_insertion_order = true")
        look = _Look(project, Work(connection, 0.0), clean)
        found = look.at(list(tables)[:MOST_TABLES])
        return [found.get(table, Preview(table)) for table in tables], look.notes


@dataclass(frozen=True)
class _Copy:
    """What was copied of a table: temporary tables with its first rows and, if any, a sample."""

    columns: dict[str, Any]  # with DuckDB's types
    first: str
    sample: str


@dataclass
class _Look:
    """What is read from the databases, and what is made of it."""

    project: Project
    work: Work
    clean: Callable[[str], str]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._layout = Layout.of(self.project)
        self._found: dict[TableName, Preview] = {}
        self._copies: dict[TableName, _Copy] = {}
        self._most_columns = MOST_PROFILED

    def at(self, tables: list[TableName]) -> dict[TableName, Preview]:
        """The previews of these tables, without those that are nowhere."""
        self._most_columns = max(20, MOST_PROFILED // max(1, len(tables)))
        layout, published = self._layout, versions.read_current(self._layout)
        with published or contextlib.nullcontext():
            known: dict[TableName, Origin] = {}

            def from_working() -> None:
                origins = self._origins()
                same = {table for table, origin in known.items() if origins.get(table) == origin}
                self._take("working", [one for one in tables if one.folded not in same])

            if published is not None:
                path = published.version.path
                self._read("published", path, lambda: known.update(self._origins()))
            if layout.working.exists():
                self._read_locked("working", layout.working, "the warehouse", from_working)
            if published is not None:
                left = [one for one in tables if one not in self._found]
                self._read("published", path, lambda: self._take("published", left))
        if layout.development.exists():
            self._read_locked(
                "development", layout.development, WHAT, lambda: self._by_hand(tables)
            )
        self.work.end = time.monotonic() + PROFILE_SECONDS
        for table in self._copies:
            self._describe(table)
        return self._found

    def _by_hand(self, tables: list[TableName]) -> None:
        """Take the tables that were written by hand after what was found of them."""
        origins = self._origins()

        def is_newer(table: TableName) -> bool:
            own, found = origins.get(table.folded), self._found.get(table)
            if own is None or own.run is not None:
                return False
            return found is None or found.origin is None or found.origin.at < own.at

        self._take("development", list(filter(is_newer, tables)))

    def _read_locked(
        self, database: Database, path: Path, what: str, job: Callable[[], None]
    ) -> None:
        """Read a database under its lock; where that is not free, say who has it."""
        try:
            held = lock.acquire(path, what, holder="a look at tables", timeout=WAIT_SECONDS)
        except WarehouseLocked:
            holder = lock.read_holder(path) or "another program"
            self.notes.append(f"{what[:1].upper()}{what[1:]} is in use by {holder}")
        except WarehouseError as error:
            self.notes.append(error.message)
        else:
            with held:
                self._read(database, path, job)

    def _read(self, database: Database, path: Path, job: Callable[[], None]) -> None:
        """Do something while a database is attached."""
        import duckdb

        limit = READ_SECONDS if database == "published" else HOLD_SECONDS
        self.work.end = time.monotonic() + limit
        try:
            self.work.attach(path)
            job()
        except duckdb.Error as error:
            known = explain(error, path)
            words = known.message if known else first_line(error)
            self.notes.append(f"The {database} database cannot be read: {self.clean(words)}")
        finally:
            self.work.detach()

    def _origins(self) -> dict[TableName, Origin]:
        """Who wrote the tables of the attached database, by their names in lower case."""
        found = provenance(self.work.attached)
        return {table.folded: origin for table, origin in found.items()}

    def _take(self, database: Database, tables: list[TableName]) -> None:
        """Copy the first rows of tables, then samples, those of small ones first."""
        connection = self.work.attached
        there = {table.folded: table for table in relations(connection, CATALOG)}
        of_catalog = filled("WHERE database_name = ?", CATALOG)
        computed = connection.execute(
            f"SELECT schema_name, view_name FROM duckdb_views() {of_catalog}"
        )
        views = {TableName(*row) for row in computed.fetchall()}
        origins = self._origins()
        known = [(table, there[table.folded]) for table in tables if table.folded in there]
        # A view that takes long must not cost a table its rows.
        for group in (
            [one for one in known if one[1] not in views], [one for one in known if one[1] in views]
        ):  # fmt: skip
            for table, actual in group:
                self._found[table] = self._begun(table, actual, database, origins)
            for table, actual in sorted(group, key=lambda one: self._found[one[0]].rows or 0):
                if self._found[table].rows:
                    self._sample(table, f"{CATALOG}.{actual.quoted}")

    def _begun(
        self,
        table: TableName,
        actual: TableName,
        database: Database,
        origins: Mapping[TableName, Origin],
    ) -> Preview:
        """A table with its columns and number of rows; its first rows are copied."""
        import duckdb

        made = Preview(table, database, origin=origins.get(actual.folded))
        name, number = f"{CATALOG}.{actual.quoted}", len(self._copies)
        try:
            relation = self.work.attached.sql(f"FROM {name} LIMIT 0")
            kinds = dict(zip(relation.columns, relation.types, strict=True))
            columns = (ColumnComparison(column, None, str(kind)) for column, kind in kinds.items())
            made = replace(made, columns=tuple(columns))
            copy = _Copy(kinds, f"temp.main.first_of_{database}_{number}", "")
            self.work.rows(f"CREATE TEMP TABLE {copy.first} AS FROM {name} LIMIT {FIRST_ROWS}")
            self._copies[table] = copy
            ((rows,),) = self.work.rows(f"SELECT count(*) FROM {name}")
        except OutOfTime:
            return replace(made, notes=(TOO_SLOW,))
        except duckdb.Error as error:
            return replace(made, notes=(f"It cannot be read: {self._text(first_line(error))}",))
        return replace(made, rows=rows)

    def _sample(self, table: TableName, name: str) -> None:
        """Copy a sample of a table, or all of a small one."""
        import duckdb

        made, copy = self._found[table], self._copies[table]
        rows = made.rows or 0
        columns = list(copy.columns)[: self._most_columns]
        most = max(1_000, min(EXACT_ROWS, SAMPLE_VALUES // len(columns)))
        of = ""
        if rows > most:
            # By blocks of 2,048 rows, where there are enough of them: the others are not read.
            how = "system" if rows > 1_000 * 2_048 else "bernoulli"
            of = f" USING SAMPLE {100 * most / rows} PERCENT ({how}, 42)"
        sample = copy.first.replace("first_of", "sample_of")
        end, now = self.work.end, time.monotonic()
        self.work.end = now + (end - now) / 2  # the next one wants some of it, too
        try:
            listed = ", ".join(map(quote, columns))
            self.work.rows(f"CREATE TEMP TABLE {sample} AS SELECT {listed} FROM {name}{of}")
            ((copied,),) = self.work.rows(f"SELECT count(*) FROM {sample}")
        except OutOfTime:
            self._found[table] = replace(made, notes=(*made.notes, TOO_BIG))
        except duckdb.Error as error:
            note = f"No profile: {self._text(first_line(error))}"
            self._found[table] = replace(made, notes=(*made.notes, note))
        else:
            self._copies[table] = replace(copy, sample=sample)
            self._found[table] = replace(made, sampled=copied if of else None)
        finally:
            self.work.end = end

    def _describe(self, table: TableName) -> None:
        """Add first rows and profile to a preview."""
        import duckdb

        made, copy = self._found[table], self._copies[table]
        known: Mapping[str, Any] = {}
        notes = made.notes
        try:
            texts = ", ".join(text_of(quote(name), kind) for name, kind in copy.columns.items())
            rows = self.work.rows(f"SELECT {texts} FROM {copy.first}")
            first = [tuple(v and self._text(v) for v in row) for row in rows]
            made = replace(made, first=tuple(first))
            if copy.sample:
                count = made.rows if made.sampled is None else made.sampled
                side = Side(
                    copy.sample, dict(list(copy.columns.items())[: self._most_columns]), count or 0
                )
                known = profiles(self.work.rows, [side], self._text)[0] or {}
        except OutOfTime:
            notes = (*notes, f"No profile: computing it took longer than {PROFILE_SECONDS:g} s.")
        except duckdb.Error as error:
            notes = (*notes, f"No profile: {self._text(first_line(error))}")
        columns = (replace(one, new=known.get(one.name.lower())) for one in made.columns)
        self._found[table] = replace(made, columns=tuple(columns), notes=notes)

    def _text(self, text: str) -> str:
        return shortened(self.clean(text), CHARACTERS)
