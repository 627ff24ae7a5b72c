"""One source query: check it, run it, and write its result as a Parquet file.

The page runs DuckDB 0.9 in the browser, which calculates exactly with decimals, and hands rows to
JavaScript: numbers are doubles there, times have no zone, and there are no JSON functions. Other
types are converted to ones that it has.
"""

from __future__ import annotations

import glob
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.sql import literal, quote
from dataflow.errors import DashboardError

if TYPE_CHECKING:
    import duckdb

_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBERS = frozenset(
    {
        *("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger"),
        *("float", "double"),
    }
)
# Types for which Parquet, or the browser's DuckDB, has no other exact type.
_TO_DECIMAL = {"ubigint": "DECIMAL(20, 0)", "hugeint": "DECIMAL(38, 0)"}
_TO_DOUBLE = frozenset({"uhugeint", "bignum"})
_TIMES = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})
_NESTED = frozenset({"list", "array", "struct", "map", "union"})
# Up to here JavaScript has an exact number for every integer.
_MOST = 2**53


def write_table_files(
    connection: duckdb.DuckDBPyConnection, query: Path, shown: str, folder: Path
) -> int:
    """Write `<table>.parquet` and `<table>.schema.json` into `folder`.

    Args:
        connection: reads the warehouse.
        query: a file `evidence/sources/<source>/<table>.sql`.
        shown: the file as people should read it in a message.
        folder: where the files go.

    Returns:
        The number of rows; none is fine.

    Raises:
        DashboardError: the file is not one SELECT, or DuckDB refuses it.
    """
    import duckdb

    text = query.read_text(encoding="utf-8")
    _check_form(connection, query, shown, text)
    target = folder / f"{query.stem}.parquet"

    def write(**types: str) -> tuple[int, list[tuple[str, str, str]]]:
        relation = connection.sql(select)
        columns = [
            (name, *exported(name, kind, **types))
            for name, kind in zip(relation.columns, relation.types, strict=True)
        ]
        chosen = ", ".join(f"{expression} AS {quote(name)}" for name, expression, _ in columns)
        # We choose the columns; rows and their order are the author's.
        written = connection.execute(
            f"COPY (SELECT {chosen} FROM (\n{select}\n)) TO {literal(str(target))} (FORMAT parquet)"
        ).fetchone()
        return int(written[0]) if written else 0, columns

    # DESCRIBE goes on the query's first line, so that the lines DuckDB names are the file's.
    select = without_semicolon(text)
    try:
        connection.execute(f"DESCRIBE {select}")
        try:
            rows, columns = write()
        except duckdb.ConversionException:  # a HUGEINT of more digits, or the author's own
            rows, columns = write(huge="DOUBLE")
    except duckdb.Error as error:
        raise _query_error(error, shown, "the source query failed") from error
    guessed = _inexact(connection, target)
    guessed.update(name for name, expression, _ in columns if expression.endswith(" AS DOUBLE)"))
    schema = [
        {
            "name": name,
            "evidenceType": kind,
            "typeFidelity": "inferred" if name in guessed else "precise",
        }
        for name, _, kind in columns
    ]
    (folder / f"{query.stem}.schema.json").write_text(json.dumps(schema), encoding="utf-8")
    return rows


def _inexact(connection: duckdb.DuckDBPyConnection, file: Path) -> set[str]:
    """The columns of an exported file with values that a page cannot show exactly."""
    relation = connection.sql(f"FROM read_parquet({literal(glob.escape(str(file)))})")
    tests = {
        name: test
        for name, kind in zip(relation.columns, relation.types, strict=True)
        if (test := inexact(name, kind))
    }
    if not tests:
        return set()
    found = relation.aggregate(", ".join(tests.values())).fetchone() or ()
    return {name for name, is_inexact in zip(tests, found, strict=True) if is_inexact}


def without_semicolon(sql: str) -> str:
    """One statement without its semicolon and what follows, so that it fits into another."""
    import duckdb

    # DuckDB's own tokens, by byte: a semicolon in a string or a comment does not count.
    code = sql.encode()
    for position, _ in duckdb.tokenize(sql):
        if code[position : position + 1] == b";":
            return code[:position].decode()
    return sql


def _query_error(error: Exception, file: str, fact: str) -> DashboardError:
    """DuckDB's error as ours: `fact` and one sentence, and the line of the file it means."""
    message, line, hint = explain(error)
    where = f"{file}:{line}" if line else file
    return DashboardError(f"{fact}: {message}", where=where, hint=hint)


def explain(error: Exception) -> tuple[str, int | None, str | None]:
    """DuckDB's error as one sentence, the line of the query it names, and a hint."""
    text = str(error)
    line = re.search(r"^LINE (\d+):", text, re.MULTILINE)
    head, *rest = text.split("\n\n")[0].splitlines()
    message = re.sub(r"^(\w+ )+Error: ", "", head).strip().rstrip("!.")
    guess = next((part for part in rest if part.startswith(("Did you mean", "Candidate"))), None)
    hint = None
    if guess:
        hint = guess.replace("Candidate bindings:", "Did you mean one of:")
    elif "syntax error" in message:
        hint = "Fix the SQL; it is DuckDB's."
    return message, int(line[1]) if line else None, hint


def _check_form(connection: duckdb.DuckDBPyConnection, query: Path, shown: str, text: str) -> None:
    import duckdb

    if not _TABLE_NAME.fullmatch(query.stem):
        raise DashboardError(
            f"'{query.stem}' cannot be a table's name in a page",
            where=shown,
            hint="Name the file with letters, digits and '_', a letter first.",
        )
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise _query_error(error, shown, "the source query is not valid SQL") from error
    kinds = [statement.type.name for statement in statements]
    if kinds != ["SELECT"]:
        raise DashboardError(
            "a source query is one SELECT, and this file holds "
            + (", ".join(kinds) if kinds else "none"),
            where=shown,
            hint="One file makes one table, named after the file.",
        )


def exported(name: str, kind: Any, *, huge: str = "DECIMAL(38, 0)") -> tuple[str, str]:
    """How a column is written to the exported Parquet file.

    Args:
        name: the column's name.
        kind: its type, a `duckdb.DuckDBPyType`.
        huge: what a HUGEINT becomes; `DOUBLE` where a value has more than 38 digits.

    Returns:
        The SQL expression (without alias), and Evidence's name for its type:
        `number`, `string`, `boolean` or `date`.
    """
    column = quote(name)
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
    """SQL of an aggregate that tells whether a page shows some value of a column as another.

    Args:
        name: the column's name.
        kind: its type in the exported file.

    Returns:
        None where a page has all values of the type.
    """
    column, type_id = quote(name), kind.id
    if type_id in _TIMES or type_id == "date":
        return f"bool_or(isinf({column}))"
    scale = dict(kind.children)["scale"] if type_id == "decimal" else 0
    if type_id in ("bigint", "decimal"):
        most = f"{Decimal(_MOST).scaleb(-scale):f}"
        return f"max({column}) > {most} OR min({column}) < -{most}"
    return None
