"""An SQL prompt over one of the warehouse's databases."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dataflow.base.sql import literal
from dataflow.errors import DataflowError
from dataflow.warehouse.connect import Connection, Database
from dataflow.warehouse.provenance import SCHEMA

if TYPE_CHECKING:
    from dataflow.project import Project

HELP = """\
End a statement with ;
.tables          the tables and views
.schema NAME     the columns of one
.help            this
.quit            leave (or Ctrl-D)"""


def run_shell(project: Project, database: Database) -> None:
    """Read statements from the terminal (or standard input) and show their rows.

    The published version stays open while the prompt does. The working warehouse and the
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
        """Run one statement or command; a mistake is told, not raised."""
        import duckdb

        if statement == ".help":
            print(HELP)
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
