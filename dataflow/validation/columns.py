"""The columns that models and a dashboard's tables are going to have, worked out from SQL alone.

A source query selects from models, and models from models: where each names its columns, the
page's tables are known before anything ran. sqlglot reads the SQL and expands stars; where the
data alone can tell, nothing is said.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow.base.sql import quote
from dataflow.dashboard.source_query import explain, without_semicolon
from dataflow.dbt.names import table_of
from dataflow.errors import Problem
from dataflow.project import Project
from dataflow.validation.sql import without_jinja

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MISSING = re.compile(r"not found in FROM clause|does not have a column named")
REF = re.compile(r"ref\(\s*['\"](\w+)['\"]\s*\)")


def columns_to_come(project: Project, workflow_id: str) -> dict[str, list[str]]:
    """The columns of the tables that the workflow's source queries make.

    Args:
        project: the project.
        workflow_id: the workflow.

    Returns:
        Names of columns by table; without the tables whose columns only the data can tell.
    """
    models = Models(project)
    found = {}
    for path in _sql_files(project.evidence / "sources" / workflow_id):
        text = _read(path)
        columns = None if text is None else models.columns_of(text)
        if columns is not None:
            found[path.stem] = columns
    return found


def column_problems(
    project: Project, workflow_id: str, *, models: bool, sources: bool
) -> Iterator[Problem]:
    """Columns that a model or a source query takes from a model that does not have them.

    Args:
        project: the project.
        workflow_id: the workflow.
        models: look at the workflow's models.
        sources: look at the queries that fill its dashboard.
    """
    import duckdb

    known = Models(project)
    folders = [project.dbt / "models" / workflow_id] if models else []
    queries = [(path, known.plain(path)) for folder in folders for path in _sql_files(folder)]
    if sources:
        folder = project.evidence / "sources" / workflow_id
        queries += [(path, _read(path)) for path in _sql_files(folder)]
    with duckdb.connect() as connection:
        known.lay_out(connection)
        for path, query in queries:
            try:
                connection.execute(f"DESCRIBE {without_semicolon(query or 'SELECT 1')}")
            except duckdb.Error as error:
                # Tables without columns are missing here, and types are not known.
                if MISSING.search(str(error)):
                    message, line, hint = explain(error)
                    yield Problem(message, path, line, hint or "Name a column the model has.")


class Models:
    """The project's models by the table that each makes; their columns are worked out once."""

    def __init__(self, project: Project) -> None:
        files = list(_sql_files(project.dbt / "models"))
        self._tables = {path.stem: _lower(table_of(project, path)) for path in files}
        self._paths = {self._tables[path.stem]: path for path in files}
        self._known: dict[tuple[str, str], list[str] | None] = {}

    def plain(self, path: Path) -> str | None:
        """A model's SQL with the tables of other models; None where it cannot be told."""
        text = _read(path)
        return None if text is None else without_jinja(text, self._relation)

    def lay_out(self, connection: DuckDBPyConnection) -> None:
        """Make an empty view of each table whose columns are known, and that there can be."""
        import duckdb

        for schema, table in self._paths:
            columns = self.columns_of_table((schema, table))
            if columns:
                empty = ", ".join(f"NULL AS {quote(column)}" for column in columns)
                view = f"{quote(schema)}.{quote(table)}"
                # A folder may be called like what is DuckDB's own, `system` say.
                with contextlib.suppress(duckdb.Error):
                    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
                    connection.execute(f"CREATE VIEW {view} AS SELECT {empty} WHERE false")

    def columns_of(self, sql: str) -> list[str] | None:
        """The names of the columns of a SELECT; None where that cannot be told."""
        import sqlglot
        from sqlglot import exp
        from sqlglot.errors import SqlglotError
        from sqlglot.optimizer.qualify import qualify

        logging.getLogger("sqlglot").setLevel(logging.ERROR)
        try:
            tree = sqlglot.parse_one(sql, dialect="duckdb")
            schema: dict[str, Any] = {}
            for table in tree.find_all(exp.Table):
                columns = self.columns_of_table(_lower((table.db, table.name)))
                if table.db and columns:
                    types = dict.fromkeys(columns, "unknown")
                    schema.setdefault(table.db.lower(), {})[table.name.lower()] = types
            qualified = qualify(
                tree, dialect="duckdb", schema=schema, validate_qualify_columns=False
            )
        except (SqlglotError, RecursionError, ValueError, KeyError, AttributeError, TypeError):
            return None  # SQL that sqlglot does not know
        if not isinstance(qualified, exp.Query):
            return None
        named = exp.Alias, exp.Column
        selects = qualified.selects
        if not selects or not all(isinstance(one, named) and not one.is_star for one in selects):
            return None
        names = [one.output_name for one in selects]
        # Named by sqlglot, or by DuckDB when it runs: an expression, COLUMNS(…), a struct.
        return None if any(name.startswith("_col_") for name in names) else names

    def __contains__(self, table: tuple[str, str]) -> bool:
        return table in self._paths

    def columns_of_table(self, table: tuple[str, str]) -> list[str] | None:
        """The names of the columns of a model's table; None where they cannot be told."""
        if table not in self._known:
            self._known[table] = None  # what refers to itself has no end
            path = self._paths.get(table)
            plain = path and self.plain(path)
            self._known[table] = self.columns_of(plain) if plain else None
        return self._known[table]

    def _relation(self, expression: str) -> str:
        """What stands for `ref(…)` in a model: the table of that model, if it is known."""
        ref = REF.fullmatch(expression)
        table = self._tables.get(ref[1]) if ref else None
        return ".".join(table) if table else "stand_in"


def _sql_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.sql"))


def _lower(table: tuple[str, str]) -> tuple[str, str]:
    return table[0].lower(), table[1].lower()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None  # said elsewhere
