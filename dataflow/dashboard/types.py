"""Which of DuckDB's types the page engine understands, and what the others become.

The page runs DuckDB 0.9 in the browser and hands rows to JavaScript: numbers are doubles
there, times have no zone, and there are no JSON functions.
"""

from __future__ import annotations

from typing import Any

_NUMBERS = frozenset(
    {
        *("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger"),
        *("float", "double"),
    }
)
# What JavaScript has no exact number for either way; a BIGINT stays, joins of keys need it.
_TO_DOUBLE = frozenset({"ubigint", "hugeint", "uhugeint", "bignum", "decimal"})
_TIMES = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})
_NESTED = frozenset({"list", "array", "struct", "map", "union"})


def exported(name: str, kind: Any) -> tuple[str, str]:
    """How a column goes into the exported Parquet file.

    Args:
        name: the column's name.
        kind: its type, a `duckdb.DuckDBPyType`.

    Returns:
        The SQL expression (without alias), and Evidence's name for what comes out of it:
        `number`, `string`, `boolean` or `date`.
    """
    column = quoted(name)
    type_id = kind.id
    if type_id == "boolean":
        return column, "boolean"
    if type_id in _NUMBERS:
        return column, "number"
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


def quoted(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a quoted SQL string."""
    return "'" + text.replace("'", "''") + "'"
