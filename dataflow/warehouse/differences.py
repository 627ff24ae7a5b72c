"""The rows in which two relations differ: by key, or as multisets where there is none.

Rows are grouped by their key with a hash of the rest, so that a table is read once, narrowly, and
only the rows that differ are joined. DuckDB spills all of it to disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataflow.base.sql import quote
from dataflow.warehouse.comparison import ExampleRow
from dataflow.warehouse.profile import Clean, Rows, Side, text_of

# A sum of many numbers differs in its last digits when it is added up in another order.
SIGNIFICANT_DIGITS = {"double": 12, "float": 6}
# Temporary tables: of the rows that differ, and of those that changed.
DIFFERENT = "_compared_different"
CHANGED = "_compared_changed"


@dataclass(frozen=True)
class Common:
    """A column that both relations have.

    Args:
        old_name, name: its name in each; the case may differ.
        old_kind, kind: its DuckDB types.
        target: the type as which values are compared, in SQL; None without a conversion.
        digits: how many digits of a floating point number count.
    """

    old_name: str
    name: str
    old_kind: Any
    kind: Any
    target: str | None
    digits: int | None

    def sql(self, which: str, alias: str = "") -> str:
        """A value that can be compared with that of the other side.

        Args:
            which: old or new.
            alias: the relation that has it.
        """
        column = self.column(which, alias)
        return f"CAST({column} AS {self.target})" if self.target else column

    def column(self, which: str, alias: str = "") -> str:
        """The column itself."""
        name = quote(self.old_name if which == "old" else self.name)
        return f"{alias}.{name}" if alias else name

    def hashed(self, which: str) -> str:
        """The value for a hash: floating point numbers have as many digits as count."""
        value = self.sql(which)
        if self.digits is None:
            return value
        rounded = f"round({value}, ({self.digits} - ceil(log10(abs({value}))))::INTEGER)"
        return f"CASE WHEN isfinite({value}) AND {value} <> 0 THEN {rounded} ELSE {value} END"

    def differs(self) -> str:
        """Whether the values of the rows `_old` and `_new` are different."""
        old, new = self.sql("old", "_old"), self.sql("new", "_new")
        differs = f"{old} IS DISTINCT FROM {new}"
        if self.digits is None:
            return f"({differs})"
        nearly = (
            f"isfinite({old}) AND isfinite({new}) AND "
            f"abs({old} - {new}) <= {10.0**-self.digits!r} * greatest(abs({old}), abs({new}))"
        )
        return f"({differs} AND NOT coalesce({nearly}, false))"


def common_columns(rows: Rows, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Common]:
    """The columns of both, by name regardless of case.

    Values of a column whose type changed are compared as the wider one, or as text.

    Args:
        rows: executes a statement and returns its rows.
        old, new: each side's columns with DuckDB's types.
    """
    before = {name.lower(): (name, kind) for name, kind in old.items()}
    found = []
    for name, kind in new.items():
        if name.lower() not in before:
            continue
        old_name, old_kind = before[name.lower()]
        as_one: Any = kind
        target = None
        if str(old_kind) != str(kind):
            ((wider, narrower),) = rows(
                f"SELECT can_cast_implicitly(NULL::{old_kind}, NULL::{kind}), "
                f"can_cast_implicitly(NULL::{kind}, NULL::{old_kind})"
            )
            as_one = kind if wider else old_kind if narrower else None
            target = "VARCHAR" if as_one is None else str(as_one)
        digits = None if as_one is None else SIGNIFICANT_DIGITS.get(as_one.id)
        found.append(Common(old_name, name, old_kind, kind, target, digits))
    return found


def row_hash(columns: Sequence[Common], which: str) -> str:
    """SQL: a hash of a row's values."""
    return f"hash({', '.join(one.hashed(which) for one in columns) or '0'})"


class NotUnique(Exception):
    """A key occurs more than once, in as many values as `args` has."""


@dataclass(frozen=True)
class Differences:
    """The rows that differ.

    Args:
        added, removed: how many there are on one side only.
        changed: how many have other values; None without a key.
        by_column: in how many of those each column's value is another, by its name.
        added_rows, removed_rows, changed_rows: some of them.
    """

    added: int
    removed: int
    changed: int | None = None
    by_column: dict[str, int] = field(default_factory=dict)
    added_rows: tuple[ExampleRow, ...] = ()
    removed_rows: tuple[ExampleRow, ...] = ()
    changed_rows: tuple[ExampleRow, ...] = ()


@dataclass(frozen=True)
class RowComparison:
    """Compares the rows of two relations.

    Args:
        rows: executes a statement and returns its rows.
        old, new: the relations.
        common: their common columns.
        examples: how many rows to show.
        clean: takes secrets out of a value's text, and cuts it.
    """

    rows: Rows
    old: Side
    new: Side
    common: Sequence[Common]
    examples: int
    clean: Clean

    def as_multisets(self) -> Differences:
        """Count the rows that one side has more often than the other."""
        hashes = {which: row_hash(self.common, which) for which in ("old", "new")}
        self.rows(
            f"CREATE OR REPLACE TEMP TABLE {DIFFERENT} AS SELECT _h, "
            "count(*) FILTER (_side = 0) AS _o, count(*) FILTER (_side = 1) AS _n FROM "
            f"(SELECT {hashes['old']} AS _h, 0 AS _side FROM {self.old.relation} "
            f"UNION ALL SELECT {hashes['new']}, 1 FROM {self.new.relation}) "
            "GROUP BY _h HAVING _o <> _n"
        )
        ((added, removed),) = self.rows(
            "SELECT coalesce(sum(greatest(_n - _o, 0)), 0)::BIGINT, "
            f"coalesce(sum(greatest(_o - _n, 0)), 0)::BIGINT FROM {DIFFERENT}"
        )

        def some(side: Side, which: str, more: str) -> tuple[ExampleRow, ...]:
            chosen = f"SELECT _h FROM {DIFFERENT} WHERE {more} ORDER BY _h LIMIT {self.examples}"
            where = f" WHERE {hashes[which]} IN ({chosen}) ORDER BY {hashes[which]}"
            return self.first_rows(side, f"{side.relation} AS _{which}{where}", f"_{which}")

        return Differences(
            added,
            removed,
            added_rows=some(self.new, "new", "_n > _o") if added else (),
            removed_rows=some(self.old, "old", "_o > _n") if removed else (),
        )

    def by_key(self, key: Sequence[Common]) -> Differences:
        """Compare the rows that have the same key.

        Raises:
            NotUnique: a key occurs more than once on one side.
        """
        names = [f"_k{number}" for number in range(len(key))]
        listed = ", ".join(names)
        others = [one for one in self.common if one not in key]
        parts = []
        for number, (which, side) in enumerate((("old", self.old), ("new", self.new))):
            keys = (f"{one.sql(which)} AS {name}" for one, name in zip(key, names, strict=True))
            parts.append(
                f"SELECT {', '.join(keys)}, {row_hash(others, which)} AS _h, {number} AS _side "
                f"FROM {side.relation}"
            )
        self.rows(
            f"CREATE OR REPLACE TEMP TABLE {DIFFERENT} AS SELECT {listed}, "
            "count(*) FILTER (_side = 0) AS _o, count(*) FILTER (_side = 1) AS _n "
            f"FROM ({' UNION ALL '.join(parts)}) GROUP BY {listed} "
            "HAVING _o <> 1 OR _n <> 1 OR min(_h) <> max(_h)"
        )
        ((added, removed, changed, double),) = self.rows(
            "SELECT count(*) FILTER (_o = 0), count(*) FILTER (_n = 0), "
            "count(*) FILTER (_o = 1 AND _n = 1), count(*) FILTER (_o > 1 OR _n > 1) "
            f"FROM {DIFFERENT}"
        )
        if double:
            raise NotUnique(double)

        def some(side: Side, which: str, where: str) -> tuple[ExampleRow, ...]:
            source = (
                f"(FROM {DIFFERENT} WHERE {where} ORDER BY {listed} LIMIT {self.examples}) AS _keys "
                f"JOIN {side.relation} AS _{which} ON {_same(key, names, which)} ORDER BY {_of_keys(names)}"
            )
            return self.first_rows(side, source, f"_{which}")

        by_column = dict.fromkeys((one.name for one in self.common), 0)
        examples: tuple[ExampleRow, ...] = ()
        if changed and others:
            changed, counts, examples = self._changed(key, names, others)
            by_column |= counts
        return Differences(
            added,
            removed,
            changed,
            by_column,
            some(self.new, "new", "_o = 0") if added else (),
            some(self.old, "old", "_n = 0") if removed else (),
            examples,
        )

    def _changed(
        self, key: Sequence[Common], names: list[str], others: list[Common]
    ) -> tuple[int, dict[str, int], tuple[ExampleRow, ...]]:
        """How many rows changed, in which columns, and some of them."""
        listed = ", ".join(names)
        flags = [f"_c{number}" for number in range(len(others))]
        differ = (f"{one.differs()} AS {flag}" for one, flag in zip(others, flags, strict=True))
        joined = (
            f"JOIN {self.old.relation} AS _old ON {_same(key, names, 'old')} "
            f"JOIN {self.new.relation} AS _new ON {_same(key, names, 'new')}"
        )
        self.rows(
            f"CREATE OR REPLACE TEMP TABLE {CHANGED} AS FROM (SELECT {_of_keys(names)}, {', '.join(differ)} "
            f"FROM (FROM {DIFFERENT} WHERE _o = 1 AND _n = 1) AS _keys {joined}) "
            f"WHERE {' OR '.join(flags)}"
        )
        counts = ", ".join(f"count(*) FILTER ({flag})" for flag in flags)
        ((number, *each),) = self.rows(f"SELECT count(*), {counts} FROM {CHANGED}")
        wanted = [text_of(one.column("new", "_new"), one.kind) for one in key]
        for flag, one in zip(flags, others, strict=True):
            before = text_of(one.column("old", "_old"), one.old_kind)
            wanted += [f"_keys.{flag}", before, text_of(one.column("new", "_new"), one.kind)]
        found = self.rows(
            f"SELECT {', '.join(wanted)} FROM (FROM {CHANGED} ORDER BY {listed} "
            f"LIMIT {self.examples}) AS _keys {joined} ORDER BY {_of_keys(names)}"
        )
        examples = []
        for row in found:
            parts = zip(others, *(row[len(key) + part :: 3] for part in range(3)), strict=True)
            changes = tuple(
                (one.name, self._text(before), self._text(after))
                for one, is_other, before, after in parts
                if is_other
            )
            examples.append(ExampleRow(tuple(map(self._text, row[: len(key)])), changes=changes))
        by_column = {one.name: count for one, count in zip(others, each, strict=True)}
        return number, by_column, tuple(examples)

    def first_rows(self, side: Side, source: str, alias: str) -> tuple[ExampleRow, ...]:
        """The first rows of a side.

        Args:
            side: whose columns.
            source: what stands after FROM, with its order.
            alias: the side's name in it.
        """
        values = (text_of(f"{alias}.{quote(name)}", kind) for name, kind in side.columns.items())
        found = self.rows(f"SELECT {', '.join(values)} FROM {source} LIMIT {self.examples}")
        return tuple(ExampleRow(values=tuple(map(self._text, row))) for row in found)

    def _text(self, value: str | None) -> str | None:
        return None if value is None else self.clean(value)


def _same(key: Sequence[Common], names: list[str], which: str) -> str:
    """SQL: whether the relation `which` has the row whose key the relation `_keys` has."""
    return " AND ".join(
        f"{one.sql(which, f'_{which}')} IS NOT DISTINCT FROM _keys.{name}"
        for one, name in zip(key, names, strict=True)
    )


def _of_keys(names: list[str]) -> str:
    return ", ".join(f"_keys.{name}" for name in names)
