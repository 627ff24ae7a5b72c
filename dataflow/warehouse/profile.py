"""What the columns of two relations hold, side by side: computed by DuckDB in a few statements.

Values are text, as DuckDB writes them, so that every type and every number (NaN, a decimal of 38
digits) can be kept; numbers and times also have quantiles and a histogram whose bins both sides
share, text and truth values how often the most frequent ones occur.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dataflow.base.sql import quote

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 20
TOP = 10
AT_A_TIME = 30  # columns
# Up to here different values are counted and quantiles exact; above, DuckDB estimates them.
EXACT_ROWS = 100_000
# How much of a value is read: enough to find a secret in it before it is cut to be shown.
READ_CHARACTERS = 1_000

FLOATS = {"float", "double"}
_INTEGERS = {
    f"{sign}{kind}"
    for sign in ("", "u")
    for kind in ("tinyint", "smallint", "integer", "bigint", "hugeint")
}
_NUMBERS = FLOATS | _INTEGERS | {"decimal"}
_MOMENTS = {
    "date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"
}  # fmt: skip
_WORDS = {"varchar", "enum", "boolean"}
# Types without an order that means anything to a reader.
_WITHOUT_ORDER = {"blob", "list", "array", "struct", "map", "union", "bit", "variant", "geometry"}

Rows = Callable[[str], list[tuple[Any, ...]]]
Clean = Callable[[str], str]


@dataclass(frozen=True)
class Profile:
    """What a column holds.

    Args:
        nulls: how many of its values are NULL.
        distinct: how many different values it has.
        estimated: whether `distinct` and `quantiles` are estimates, in large tables.
        min, max: the smallest and the largest value; None where the type has no order.
        quantiles: the values at `QUANTILES`, of numbers and times that are finite.
        infinite: how many numbers or times are infinite or NaN.
        low, high: the ends of the histogram, which are those of the column on the other side.
        bins: how many values are in each of up to `BINS` equal parts between them; empty without
            any.
        top: the most frequent values of text and truth values, with how often they occur.
    """

    nulls: int
    distinct: int
    estimated: bool = False
    min: str | None = None
    max: str | None = None
    quantiles: tuple[str, ...] = ()
    infinite: int = 0
    low: str | None = None
    high: str | None = None
    bins: tuple[int, ...] = ()
    top: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Side:
    """A relation to profile.

    Args:
        relation: what stands after FROM.
        columns: its columns with DuckDB's types.
        rows: how many rows it has.
    """

    relation: str
    columns: Mapping[str, Any]
    rows: int

    def with_columns(self, names: Collection[str]) -> Side:
        """The same with these columns only, in lower case."""
        chosen = {name: kind for name, kind in self.columns.items() if name.lower() in names}
        return replace(self, columns=chosen)


@dataclass(frozen=True)
class _Range:
    """The finite values of a column as numbers, and as text; `unit` where there are only whole ones."""

    low: float
    high: float
    low_text: str
    high_text: str
    is_time: bool
    unit: float | None = None

    @property
    def parts(self) -> int:
        """How many bins there are: of a few whole numbers or days one each."""
        units = (self.high - self.low) / self.unit + 1 if self.unit else BINS
        return min(BINS, round(units))

    @property
    def half(self) -> float:
        """Half of the width of all bins: the distance of the largest two doubles is no double."""
        if self.unit and self.parts < BINS:
            return self.parts * self.unit / 2
        return self.high / 2 - self.low / 2 or 1.0


def profiles(
    rows: Rows, sides: Sequence[Side | None], clean: Clean
) -> list[dict[str, Profile] | None]:
    """The profile of each column of each side, by the column's name in lower case.

    Some columns at a time: DuckDB plans a statement with the square of what it asks for.

    Args:
        rows: executes a statement and returns its rows.
        sides: the relations; a column of the same name has the same histogram's bins in all.
        clean: takes secrets out of a value's text, and cuts it.
    """
    names = list(dict.fromkeys(name.lower() for side in sides if side for name in side.columns))
    made: list[dict[str, Profile] | None] = [None if side is None else {} for side in sides]
    for at in range(0, len(names), AT_A_TIME):
        some = names[at : at + AT_A_TIME]
        parts = [side and side.with_columns(some) for side in sides]
        for of_side, part in zip(made, _some_profiles(rows, parts, clean), strict=True):
            if of_side is not None and part is not None:
                of_side |= part
    return made


def _some_profiles(
    rows: Rows, sides: Sequence[Side | None], clean: Clean
) -> list[dict[str, Profile] | None]:
    found = [_figures(rows, side, clean) if side and side.columns else None for side in sides]
    ranges: dict[str, _Range] = {}
    for one in found:
        for name, (_, own) in (one or {}).items():
            if own is not None:
                before = ranges.get(name)
                # A number and a time have no scale in common: then the newer one has its own.
                is_like = before is not None and before.is_time == own.is_time
                ranges[name] = _joined(before, own) if before and is_like else own
    made: list[dict[str, Profile] | None] = []
    for side, figures in zip(sides, found, strict=True):
        if side is None or figures is None:
            made.append(None)
            continue
        shared = {
            name: ranges[name]
            for name, (_, own) in figures.items()
            if own is not None and own.is_time == ranges[name].is_time
        }
        bins = _bins(rows, side, shared)
        top = _top(rows, side, figures, clean)
        made.append(
            {
                name: replace(
                    profile,
                    low=clean(ranges[name].low_text) if name in bins else None,
                    high=clean(ranges[name].high_text) if name in bins else None,
                    bins=bins.get(name, ()),
                    top=top.get(name, ()),
                )
                for name, (profile, _) in figures.items()
            }
        )
    return made


def text_of(column: str, kind: Any) -> str:
    """SQL for a value as text, of which no more is read than can be shown.

    Args:
        column: SQL for the value.
        kind: its DuckDB type.
    """
    if kind.id == "blob":
        return (
            f"concat(octet_length({column}), ' bytes, md5 ', left(md5({column}), 8)) "
            f"|| CASE WHEN {column} IS NOT NULL THEN '' END"
        )
    return f"left(CAST({column} AS VARCHAR), {READ_CHARACTERS})"


def _figures(rows: Rows, side: Side, clean: Clean) -> dict[str, tuple[Profile, _Range | None]]:
    """Each column's figures and, where it has one, the range of its histogram."""
    exact = side.rows <= EXACT_ROWS
    distinct = "count(DISTINCT {0})" if exact else "least(approx_count_distinct({0}), count({0}))"
    quantile = "quantile_disc" if exact else "approx_quantile"
    wanted = ["count(*)"]
    for name, kind in side.columns.items():
        column = quote(name)
        ordered = kind.id not in _WITHOUT_ORDER
        wanted += [
            f"count({column})",
            distinct.format(column),
            text_of(f"min({column})", kind) if ordered else "NULL",
            text_of(f"max({column})", kind) if ordered else "NULL",
        ]
        if kind.id not in _NUMBERS and kind.id not in _MOMENTS:
            wanted += ["NULL"] * 6
            continue
        finite = _is_finite(column, kind)
        where = f" FILTER ({finite})" if finite else ""
        ends = [f"{end}({column}){where}" for end in ("min", "max")]
        wanted += [
            f"CAST({quantile}({column}, {list(QUANTILES)}){where} AS VARCHAR[])",
            f"count(*) FILTER (NOT {finite})" if finite else "0",
            *(_as_number(end, kind) for end in ends),
            *(f"CAST({end} AS VARCHAR)" for end in ends),
        ]
    (values,) = rows(f"SELECT {', '.join(wanted)} FROM {side.relation}")
    total = values[0]
    figures: dict[str, tuple[Profile, _Range | None]] = {}
    for at, name in zip(range(1, len(values), 10), side.columns, strict=True):
        there, different, least, most, quantiles, infinite = values[at : at + 6]
        low, high, low_text, high_text = values[at + 6 : at + 10]
        kind = side.columns[name].id
        unit = 86_400.0 if kind == "date" else 1.0 if kind in _INTEGERS else None
        own = None
        if low is not None:
            own = _Range(low, high, low_text, high_text, kind in _MOMENTS, unit)
        profile = Profile(
            nulls=total - there,
            distinct=different,
            estimated=not exact,
            min=None if least is None else clean(least),
            max=None if most is None else clean(most),
            quantiles=tuple(map(clean, quantiles or ())),
            infinite=infinite or 0,
        )
        figures[name.lower()] = (profile, own)
    return figures


def _joined(one: _Range, other: _Range) -> _Range:
    low, high = min(one, other, key=lambda r: r.low), max(one, other, key=lambda r: r.high)
    unit = one.unit if one.unit == other.unit else None
    return _Range(low.low, high.high, low.low_text, high.high_text, one.is_time, unit)


def _bins(rows: Rows, side: Side, ranges: Mapping[str, _Range]) -> dict[str, tuple[int, ...]]:
    """How many values are in each part of each column's range."""
    columns = [name for name in side.columns if name.lower() in ranges]
    wanted = []
    for name in columns:
        kind, between = side.columns[name], ranges[name.lower()]
        column, finite = quote(name), _is_finite(quote(name), kind)
        number = _as_number(column, kind)
        part = f"({number} / 2 - {between.low / 2!r}) / {between.half!r} * {between.parts}"
        part = f"greatest(0, least({between.parts - 1}, floor({part})))::UTINYINT"
        # An infinite time has no second, wherever it is filtered; `least` takes no notice of NULL.
        part = f"CASE WHEN {finite or f'{column} IS NOT NULL'} THEN {part} END"
        wanted.append(f"histogram({part})")
    if not wanted:
        return {}
    (values,) = rows(f"SELECT {', '.join(wanted)} FROM {side.relation}")
    return {
        name.lower(): tuple(
            (counts or {}).get(part, 0) for part in range(ranges[name.lower()].parts)
        )
        for name, counts in zip(columns, values, strict=True)
    }


def _top(
    rows: Rows, side: Side, figures: Mapping[str, tuple[Profile, _Range | None]], clean: Clean
) -> dict[str, tuple[tuple[str, int], ...]]:
    """The most frequent values of each column of words, unless nearly every value is unique."""
    parts = []
    names = list(_worth_counting(side, figures))
    for number, name in enumerate(names):
        column = quote(name)
        # Cut after they are counted: long texts may differ at their end.
        parts.append(
            f"SELECT {number}, {text_of('_value', side.columns[name])}, _n FROM (SELECT {column} AS "
            f"_value, count(*) AS _n FROM {side.relation} WHERE {column} IS NOT NULL "
            f"GROUP BY {column} ORDER BY _n DESC, _value LIMIT {TOP})"
        )
    found: dict[str, list[tuple[str, int]]] = {}
    for number, value, count in rows(" UNION ALL ".join(parts)) if parts else []:
        found.setdefault(names[number].lower(), []).append((clean(value), count))
    return {
        name: tuple(sorted(top, key=lambda one: (-one[1], one[0]))) for name, top in found.items()
    }


def _worth_counting(
    side: Side, figures: Mapping[str, tuple[Profile, _Range | None]]
) -> Iterator[str]:
    for name, kind in side.columns.items():
        profile = figures[name.lower()][0]
        if kind.id in _WORDS and 2 * profile.distinct <= max(side.rows - profile.nulls, 2 * TOP):
            yield name


def _as_number(value: str, kind: Any) -> str:
    """SQL for a finite number or time as a DOUBLE."""
    return f"epoch({_moment(value, kind)})" if kind.id in _MOMENTS else f"CAST({value} AS DOUBLE)"


def _is_finite(column: str, kind: Any) -> str:
    """SQL: whether a value is a number or time like others; empty for types where all are."""
    if kind.id in FLOATS:
        return f"isfinite({column})"
    return f"isfinite({_moment(column, kind)})" if kind.id in _MOMENTS else ""


def _moment(value: str, kind: Any) -> str:
    is_plain = kind.id in ("date", "timestamp", "timestamp with time zone")
    return value if is_plain else f"CAST({value} AS TIMESTAMP)"
