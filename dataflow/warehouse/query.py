"""Run SQL statements for a person or a program: one and its rows, or those of a prompt."""

from __future__ import annotations

import base64
import contextlib
import csv
import datetime
import decimal
import itertools
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dataflow.base.lock import DEFAULT_TIMEOUT
from dataflow.base.sql import literal
from dataflow.errors import ConfigurationError, DataflowError
from dataflow.project import Project
from dataflow.warehouse import failures
from dataflow.warehouse.connect import Connection, Database
from dataflow.warehouse.provenance import SCHEMA
from dataflow.warehouse.statements import Statement, parse

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ON_A_TERMINAL = {"max_rows": 40}
_WHOLE = {"max_rows": 10**9, "max_width": 10**6, "max_col_width": 10**6}
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


@dataclass(frozen=True)
class Access:
    """The database that a person's statements run on, and what they may do there.

    Args:
        project: whose warehouse.
        database: which of its databases.
        write: whether they may change something.
        confirm: asks a person before data is destroyed; raises where the answer is no.

    Raises:
        ConfigurationError: published data is to be changed.
    """

    project: Project
    database: Database
    write: bool
    confirm: Callable[[str], None]

    def __post_init__(self) -> None:
        if self.write and self.database == "published":
            raise ConfigurationError(
                "published data cannot be changed",
                hint="Add --database development for your own copy, or --database working; what "
                "readers see comes from runs, and from dataflow db publish.",
            )

    def connect(self, timeout: float = DEFAULT_TIMEOUT) -> Connection:
        """A connection with these permissions only; it opens when first used."""
        return Connection(self.project, self.database, read_only=not self.write, timeout=timeout)

    def check(self, statement: Statement) -> None:
        """Whether a statement may run; asks before it destroys something.

        Raises:
            ConfigurationError: it would change something, and may not.
            DataflowError: the answer was no.
        """
        if statement.only_reads:
            return
        if not self.write:
            raise ConfigurationError(
                f"{statement.verb} is refused: without --write only queries run",
                hint="Write rows to a file with: dataflow db query --csv SQL > FILE."
                if statement.verb == "COPY" and self.database == "published"
                else _HOW_TO_WRITE,
            )
        if statement.destroys or (statement.replaces and self._has(statement.replaces)):
            short = textwrap.shorten(statement.text or statement.verb, 100, placeholder=" …")
            self.confirm(f"{_IN_WORDS[self.database]}: {short}")

    def _has(self, table: str) -> bool:
        import duckdb

        # Closed again before the question, which must not hold the lock.
        with contextlib.closing(Connection(self.project, self.database, read_only=True)) as conn:
            try:
                conn.execute(f"DESCRIBE {table}")
            except duckdb.Error:
                return False
            return True


_HOW_TO_WRITE = (
    "Change your own copy with --write --database development, or what runs write with "
    "--write --database working."
)
_IN_WORDS = {
    "published": "published version",
    "working": "working warehouse",
    "development": "your development copy",
}


@contextlib.contextmanager
def running(access: Access, sql: str, *, timeout: float = 60) -> Iterator[Result]:
    """Run one statement as a transaction of its own, and read its rows in the block.

    Args:
        access: on which database, and what it may do there.
        sql: the statement.
        timeout: seconds to wait for other writers.

    Raises:
        ConfigurationError: the statement has a mistake, or changes something and may not.
        WarehouseError: the database cannot be opened or written.
    """
    statements = _parsed(sql)
    if len(statements) != 1:
        raise ConfigurationError(
            f"expected one statement, found {len(statements)}",
            hint="Run them one by one, or use dataflow db shell.",
        )
    access.check(statements[0])
    with access.connect(timeout) as conn:
        yield _execute(conn, statements[0])


def _parsed(sql: str) -> list[Statement]:
    import duckdb

    try:
        return parse(sql)
    except duckdb.Error as error:
        raise ConfigurationError(_text(error), hint="Correct the SQL.") from error


def _execute(connection: Connection, statement: Statement) -> Result:
    """Run one statement on an open connection.

    Raises:
        ConfigurationError: the statement has a mistake.
    """
    import duckdb

    cursor = connection.raw
    try:
        for part in statement.parts:
            cursor = cursor.execute(part)
    except duckdb.Error as error:
        raise _explained(error, connection.path) from error
    description = cursor.description or []
    return Result(
        tuple(column[0] for column in description),
        tuple(str(column[1]) for column in description),
        _rows(cursor, connection.path) if description else iter(()),
    )


def _rows(cursor: DuckDBPyConnection, path: Path) -> Iterator[tuple[Any, ...]]:
    """The rows one after another, since a result may not fit in memory."""
    import duckdb

    try:
        while some := cursor.fetchmany(1_000):
            yield from some
    except duckdb.Error as error:
        raise _explained(error, path) from error


def _explained(error: Exception, path: Path) -> DataflowError:
    if "read-only mode" in str(error):
        # A statement that only looks like a query, such as `SELECT nextval('numbers')`.
        return ConfigurationError(
            "this statement changes something: without --write only queries run",
            hint=_HOW_TO_WRITE,
        )
    return failures.explain(error, path) or ConfigurationError(
        _text(error), hint="Correct the SQL."
    )


def _text(error: Exception) -> str:
    # An error after the first rows is wrapped in another one.
    return str(error).rpartition("\nError: ")[2].strip()


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


def run_shell(access: Access) -> None:
    """Read statements from the terminal (or standard input) and show their rows.

    The published version stays open as long as the prompt. The working warehouse and the
    development copy are opened for each statement, so that an idle prompt blocks nobody.
    At a prompt a mistake is printed and the next statement read; in a pipe it ends the shell.

    Args:
        access: on which database, and what the statements may do there.

    Raises:
        ConfigurationError: a statement from a pipe has a mistake, or changes something and may not.
        WarehouseError: the database cannot be opened.
    """
    shell = _Shell(access)
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() editing and history
        print(f"{shell.connection!r}\nType .help for help.", file=sys.stderr)
    try:
        for line, statement in _statements(is_terminal):
            if statement in (".quit", ".exit"):
                break
            try:
                shell.run(statement)
            except DataflowError as error:
                if not is_terminal:
                    place = f"standard input, line {line} (statement {shell.number})"
                    error.where = f"{place}: {error.where}" if error.where else place
                    raise
                print(error, file=sys.stderr)
    finally:
        shell.connection.close()


class _Shell:
    def __init__(self, access: Access) -> None:
        self.connection = access.connect()
        self._access = access
        self._stays_open = access.database == "published"
        self.number = 0  # of the statement that is checked or run
        if self._stays_open:
            _ = self.connection.raw  # fails now rather than at the first statement

    def run(self, text: str) -> None:
        """Run what was entered: a command, or statements.

        Raises:
            ConfigurationError: a statement has a mistake, or changes something and may not.
            DataflowError: it was not confirmed, or failed.
        """
        import duckdb

        if text == ".help":
            print(_HELP)
            return
        first = self.number + 1
        self.number = first
        statements = _parsed(_as_sql(text))
        self.number = first - 1  # what holds nothing but a comment is no statement
        for self.number, statement in enumerate(statements, start=first):
            self._access.check(statement)
        relation = None
        try:
            for self.number, statement in enumerate(statements, start=first):
                for part in statement.parts:
                    relation = self.connection.sql(part)
                if relation is not None:
                    relation.show(**_ON_A_TERMINAL if sys.stdout.isatty() else _WHOLE)
        except duckdb.Error as error:
            raise _explained(error, self.connection.path) from error
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


def _statements(is_terminal: bool) -> Iterator[tuple[int, str]]:
    """The statements typed, each as soon as it is complete, with its first line's number."""
    waiting: list[str] = []
    for number in itertools.count(1):
        try:
            prompt = ("   ... " if waiting else "dataflow> ") if is_terminal else ""
            line = input(prompt)
        except EOFError:
            if waiting:
                yield number - len(waiting), "\n".join(waiting)
            return
        except KeyboardInterrupt:
            waiting = []
            print()
            continue
        if not waiting and (not line.strip() or line.lstrip().startswith(".")):
            if line.strip():
                yield number, line.strip()
            continue
        waiting.append(line)
        if line.rstrip().endswith(";"):
            yield number + 1 - len(waiting), "\n".join(waiting)
            waiting = []
