"""How a table's columns differ from what they were, and who uses those that go."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dataflow.base.sql import TableName
from dataflow.errors import WarehouseError

# Given a table and columns of it: those that others use, each with the places, in words.
Readers = Callable[[TableName, Sequence[str]], Mapping[str, str]]

# Types that readers use alike; of nested ones only the outermost counts.
_KINDS = {
    "number": re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)"),
    "text": re.compile(r"VARCHAR|JSON|ENUM\(.*\)", re.DOTALL),
    "time": re.compile(r"TIMESTAMP(_S|_MS|_NS)?"),
    "list": re.compile(r".*\[\d*\]", re.DOTALL),
    "struct": re.compile(r"STRUCT\(.*\)", re.DOTALL),
    "map": re.compile(r"MAP\(.*\)", re.DOTALL),
}


@dataclass
class Difference:
    """What is different between a table's columns before and now, or as the data has them.

    Args:
        added: columns only the data has, with their types.
        missing: columns only the table has, with their types.
        changed: columns of another type: (column, the table's type, the data's type).
    """

    added: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    changed: list[tuple[str, str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.missing or self.changed)

    def lines(self, old: str = "table", new: str = "data") -> list[str]:
        """One line per column, with words for where the old and the new ones are."""
        return [
            *(f"+ {name} {kind}  (only in the {new})" for name, kind in self.added.items()),
            *(f"- {name} {kind}  (only in the {old})" for name, kind in self.missing.items()),
            *(f"~ {name} {was} → {now}  ({old} → {new})" for name, was, now in self.changed),
        ]


def refuse_used(
    table: TableName,
    difference: Difference,
    readers: Readers,
    what: str,
    hint: str,
    words: tuple[str, str] = ("table", "data"),
) -> None:
    """Refuse columns that go, or get other types, where others use those.

    Args:
        table: the table.
        difference: how its columns change.
        readers: says who uses them.
        what: what is wrong, with `{}` for the table.
        hint: what to do about it.
        words: where the old and the new columns are.

    Raises:
        WarehouseError: names each such column and the files that use it.
    """
    going = [*difference.missing, *(name for name, _, _ in difference.changed)]
    if going and (used := readers(table, going)):
        listed = "".join(f"\n  {line}" for line in difference.lines(*words))
        users = "".join(f"\n  {name} is used in {used[name]}" for name in used)
        raise WarehouseError(f"{what.format(table)}:{listed}{users}", hint=hint)


def lost(before: Mapping[str, str], now: Mapping[str, str]) -> Difference:
    """The columns that a table no longer has, and those whose values are of another kind.

    A number stays a number, and text is text: the types that DuckDB gives the columns of a file
    may change from day to day between BIGINT and DOUBLE, those of a frame's categories always.

    Args:
        before: its columns with their types, as they were.
        now: as they are.
    """
    types = {name.lower(): kind for name, kind in now.items()}
    difference = Difference()
    for name, old in before.items():
        new = types.get(name.lower())
        if new is None:
            difference.missing[name] = old
        elif _kind(new) != _kind(old):
            difference.changed.append((name, old, new))
    return difference


def _kind(type_: str) -> str:
    return next((name for name, types in _KINDS.items() if types.fullmatch(type_)), type_)
