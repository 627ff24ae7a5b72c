"""Run SQL statements for a person or a program: one and its rows, or those of a prompt."""

from __future__ import annotations

import base64
import contextlib
import csv
import datetime
import decimal
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dataflow.base.sql import literal
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.warehouse import failures
from dataflow.warehouse.connect import Connection, Database
from dataflow.warehouse.provenance import SCHEMA

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from dataflow.project import Project

_HELP = """\
End a statement with ;
.tables          the tables and views
.schema NAME     the columns of one
.help            this help
.quit            leave (or Ctrl-D)"""


@dataclass(frozen=True)
class Result:
    """The rows of a statement.

    Args:
        columns: their names.
        types: their DuckDB types.
        rows: the rows, as an iterator; none for a statement without a result.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]

    @property
    def numeric(self) -> tuple[str, ...]:
        """The columns with numbers."""
        return tuple(
            column
            for column, kind in zip(self.columns, self.types, strict=True)
            if "INT" in kind or kind.startswith(("DECIMAL", "DOUBLE", "FLOAT"))
        )


@contextlib.contextmanager
def running(
    project: Project, sql: str, database: Database = "published", *, timeout: float = 60
) -> Iterator[Result]:
    """Run one statement as a transaction of its own, and read its rows in the block.

    Args:
        project: whose warehouse.
        sql: the statement.
        database: which of its databases.
        timeout: seconds to wait for other writers.

    Raises:
        ConfigurationError: the statement has a mistake.
        WarehouseError: the database cannot be opened or written.
    """
    with Connection(project, database, timeout=timeout) as conn:
        yield execute(conn.raw, sql)


def execute(connection: DuckDBPyConnection, sql: str) -> Result:
    """Run one statement on an open connection.

    Raises:
        ConfigurationError: the statement has a mistake, or there are several.
    """
    import duckdb

    try:
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise ConfigurationError(
                f"expected one statement, found {len(statements)}",
                hint="Run them one by one, or use dataflow db shell.",
            )
        cursor = connection.execute(statements[0])
    except duckdb.Error as error:
        raise _explained(error, connection) from error
    description = cursor.description or []
    return Result(
        tuple(column[0] for column in description),
        tuple(str(column[1]) for column in description),
        _rows(cursor) if description else iter(()),
    )


def _rows(cursor: DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    """The rows one after another, since a result may not fit in memory."""
    import duckdb

    try:
        while some := cursor.fetchmany(1_000):
            yield from some
    except duckdb.Error as error:
        raise _explained(error, cursor) from error


def _explained(error: Exception, connection: DuckDBPyConnection) -> DataflowError:
    if "attached in read-only mode" in str(error):
        return ConfigurationError(
            "published data cannot be changed",
            hint="To try something use --database development; published data comes from runs.",
        )
    # An error after the first rows is wrapped in another one.
    text = str(error).rpartition("\nError: ")[2].strip()
    return failures.explain(error, _path(connection)) or ConfigurationError(
        text, hint="Correct the SQL."
    )


def write_json(result: Result, file: TextIO) -> None:
    """Write the rows as a JSON list of objects, one row per line."""
    file.write("[")
    before = "\n"
    for row in result.rows:
        item = dict(zip(result.columns, row, strict=True))
        file.write(before + json.dumps(item, default=_plain))
        before = ",\n"
    file.write("]\n" if before == "\n" else "\n]\n")


def write_csv(result: Result, file: TextIO) -> None:
    """Write the rows as CSV with a header; lists and structs as JSON, NULL as nothing."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows:
        writer.writerow(
            json.dumps(cell, default=_plain)
            if isinstance(cell, (list, dict))
            else (_plain(cell) if isinstance(cell, (bytes, datetime.date)) else cell)
            for cell in row
        )


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _path(connection: DuckDBPyConnection) -> Path:
    row = connection.execute(
        "SELECT path FROM duckdb_databases() WHERE database_name = current_catalog()"
    ).fetchone()
    return Path(row[0]) if row and row[0] else Path("dataflow.duckdb")


def run_shell(project: Project, database: Database) -> None:
    """Read statements from the terminal (or standard input) and show their rows.

    The published version stays open as long as the prompt. The working warehouse and the
    development copy are opened for each statement, so that an idle prompt blocks nobody.

    Args:
        project: whose warehouse.
        database: which of its databases.

    Raises:
        WarehouseError: the database cannot be opened.
    """
    shell = _Shell(project, database)
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() editing and history
        print(f"{shell.connection!r}\nType .help for help.", file=sys.stderr)
    try:
        for statement in _statements(is_terminal):
            if statement in (".quit", ".exit"):
                break
            shell.run(statement)
    finally:
        shell.connection.close()


class _Shell:
    def __init__(self, project: Project, database: Database) -> None:
        self.connection = Connection(project, database)
        self._stays_open = database == "published"
        if self._stays_open:
            _ = self.connection.raw  # fails now rather than at the first statement

    def run(self, statement: str) -> None:
        """Run one statement or command; a mistake is printed, not raised."""
        import duckdb

        if statement == ".help":
            print(_HELP)
            return
        try:
            relation = self.connection.sql(_as_sql(statement))
            if relation is not None:
                relation.show(max_rows=40)
        except duckdb.Error as error:
            print(str(error).strip(), file=sys.stderr)
        except DataflowError as error:
            print(error, file=sys.stderr)
        finally:
            relation = None
            if not self._stays_open:
                self.connection.close()


def _as_sql(statement: str) -> str:
    if statement == ".tables":
        return (
            "SELECT table_schema AS schema, table_name AS name, table_type AS kind "
            "FROM information_schema.tables WHERE table_catalog = current_catalog() "
            f"AND table_schema <> {literal(SCHEMA)} ORDER BY ALL"
        )
    if statement.startswith(".schema "):
        return f"DESCRIBE {statement.removeprefix('.schema ')}"
    return statement


def _statements(is_terminal: bool) -> Iterator[str]:
    """The statements typed, each as soon as it is complete."""
    waiting: list[str] = []
    while True:
        try:
            prompt = ("   ... " if waiting else "dataflow> ") if is_terminal else ""
            line = input(prompt)
        except EOFError:
            if waiting:
                yield "\n".join(waiting)
            return
        except KeyboardInterrupt:
            waiting = []
            print()
            continue
        if not waiting and (not line.strip() or line.lstrip().startswith(".")):
            if line.strip():
                yield line.strip()
            continue
        waiting.append(line)
        if line.rstrip().endswith(";"):
            yield "\n".join(waiting)
            waiting = []
