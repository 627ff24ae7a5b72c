"""Which of DuckDB's types the page engine understands, and what the others become.

The page runs DuckDB 0.9 in the browser, which reckons with decimals exactly, and hands rows to
JavaScript: numbers are doubles there, times have no zone, and there are no JSON functions.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

_NUMBERS = frozenset(
    {
        *("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger"),
        *("float", "double"),
    }
)
# What Parquet, or the browser's DuckDB, has no other exact type for.
_TO_DECIMAL = {"ubigint": "DECIMAL(20, 0)", "hugeint": "DECIMAL(38, 0)"}
_TO_DOUBLE = frozenset({"uhugeint", "bignum"})
_TIMES = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})
_NESTED = frozenset({"list", "array", "struct", "map", "union"})


# Up to here JavaScript has every whole number.
_MOST = 2**53


def exported(name: str, kind: Any, *, huge: str = "DECIMAL(38, 0)") -> tuple[str, str]:
    """How a column goes into the exported Parquet file.

    Args:
        name: the column's name.
        kind: its type, a `duckdb.DuckDBPyType`.
        huge: what a HUGEINT becomes; `DOUBLE` where a value has more than 38 digits.

    Returns:
        The SQL expression (without alias), and Evidence's name for what comes out of it:
        `number`, `string`, `boolean` or `date`.
    """
    column = quoted(name)
    type_id = kind.id
    if type_id == "boolean":
        return column, "boolean"
    if type_id in _NUMBERS or type_id == "decimal":
        return column, "number"
    if type_id in _TO_DECIMAL:
        return (
            f"CAST({column} AS {huge if type_id == 'hugeint' else _TO_DECIMAL[type_id]})",
            "number",
        )
    if type_id in _TO_DOUBLE:
        return f"CAST({column} AS DOUBLE)", "number"
    if type_id == "date":
        return column, "date"
    if type_id in _TIMES or type_id == "timestamp with time zone":
        # One with a zone becomes the time in the connection's.
        return f"CAST({column} AS TIMESTAMP)", "date"
    if type_id in _NESTED or str(kind) == "JSON":
        return f"CAST(to_json({column}) AS VARCHAR)", "string"
    if type_id == "blob":
        return f"base64({column})", "string"
    return f"CAST({column} AS VARCHAR)", "string"


def inexact(name: str, kind: Any) -> str | None:
    """Whether a page shows some value of an exported column as another, as an aggregate in SQL.

    Args:
        name: the column's name.
        kind: its type in the exported file.

    Returns:
        None where a page has all values of the type.
    """
    column, type_id = quoted(name), kind.id
    if type_id in _TIMES or type_id == "date":
        return f"bool_or(isinf({column}))"
    scale = dict(kind.children)["scale"] if type_id == "decimal" else 0
    if type_id in ("bigint", "decimal"):
        most = f"{Decimal(_MOST).scaleb(-scale):f}"
        return f"max({column}) > {most} OR min({column}) < -{most}"
    return None


def quoted(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a quoted SQL string."""
    return "'" + text.replace("'", "''") + "'"
