"""Find what readers of the dashboards would stumble over: queries that fail, tables too big.

Evidence's build does not run the queries of its pages.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.base.sql import filled, literal, quote
from dataflow.dashboard.components import column_problems
from dataflow.dashboard.export import exported_files
from dataflow.dashboard.pages import (
    PLACEHOLDER,
    Filled,
    Page,
    PageQuery,
    SelfReference,
    fill,
    is_usable_name,
    read_pages,
)
from dataflow.dashboard.source_query import explain, without_semicolon
from dataflow.errors import Problem
from dataflow.project import Project

if TYPE_CHECKING:
    import duckdb

MOST_BYTES = 20_000_000
MOST_ROWS = 1_000_000
# What is wrong with a query whatever the types of its columns are.
_WHATEVER_TYPES = re.compile(
    r"Parser Error|not found in FROM clause|does not have a column named|Table with name"
)
_MISSING_TABLE = re.compile(r"Table with name (\S+) does not exist")


def check_pages(
    project: Project,
    workflow_ids: Iterable[str] | None = None,
    tables: Mapping[str, Mapping[str, Path]] | None = None,
    columns: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
) -> list[Problem]:
    """Run the queries of the pages against the exported tables.

    Args:
        workflow_ids: only the pages of these workflows; all pages when None.
        tables: the Parquet files by source and table; those that are shown when None.
        columns: the columns of tables, by source and table, as the next export is going to make
            them, where that is known; of queries on a table whose columns change only those
            that name a column it will not have are problems.

    Inputs have their defaults. A query that only lacks a table that a source is going to
    export is not a problem: its workflow has not been published yet.

    Returns:
        One problem per failing query, with page, line and hint.
    """
    import duckdb

    if tables is None:
        tables = exported_files(project)
    shown = {f"{source}.{table}" for source, files in tables.items() for table in files}
    changing = _changing(tables, columns or {})
    shown |= changing.keys()
    queries = (project.evidence / "sources").glob("*/*.sql")
    # They have a query and no data yet.
    coming = {f"{path.parent.name}.{path.stem}" for path in queries} - shown
    problems = []
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        _show_tables(connection, tables, changing)
        for page in read_pages(project, workflow_ids):
            results: dict[str, list[str]] = {}
            for query in page.queries:
                problem = _check(connection, page, query, shown, coming, changing, results)
                if problem:
                    problems.append(problem)
            problems += column_problems(page, results)
    return problems


def _changing(
    tables: Mapping[str, Mapping[str, Path]], columns: Mapping[str, Mapping[str, Sequence[str]]]
) -> dict[str, Sequence[str]]:
    """The tables whose columns are going to be others than in their files, with those."""
    changing = {}
    for source, coming in columns.items():
        for table, names in coming.items():
            path = tables.get(source, {}).get(table)
            now = _columns(path) if path and path.is_file() else None
            if now is None or sorted(map(str.lower, now)) != sorted(map(str.lower, names)):
                changing[f"{source}.{table}"] = names
    return changing


def _columns(path: Path) -> list[str]:
    import duckdb

    return duckdb.sql(f"FROM read_parquet({literal(str(path))}) LIMIT 0").columns


def _show_tables(
    connection: duckdb.DuckDBPyConnection,
    tables: Mapping[str, Mapping[str, Path]],
    changing: Mapping[str, Sequence[str]],
) -> None:
    """Make the exported files the tables that pages see; `changing` ones are empty."""
    selects = {
        (source, table): f"SELECT * FROM read_parquet({literal(str(path))})"
        for source, files in tables.items()
        for table, path in files.items()
        if path.is_file()
    }
    for name, names in changing.items():
        source, _, table = name.partition(".")
        columns = ", ".join(f"NULL AS {quote(column)}" for column in names)
        selects[source, table] = f"SELECT {columns} WHERE false"
    sources = list(dict.fromkeys([*tables, *(source for source, _ in selects)]))
    for source in sources:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(source)}")
    for (source, table), select in selects.items():
        connection.execute(f"CREATE VIEW {quote(source)}.{quote(table)} AS {select}")
    if sources:
        connection.execute(f"SET search_path = {literal(','.join(sources))}")
    connection.execute("SET TimeZone = 'UTC'")
    # As lenient as the older DuckDB in the page.
    connection.execute("SET old_implicit_casting = true")
    connection.execute("SET ieee_floating_point_ops = false")


def _check(
    connection: duckdb.DuckDBPyConnection,
    page: Page,
    query: PageQuery,
    shown: set[str],
    coming: set[str],
    changing: Collection[str],
    results: dict[str, list[str]],
) -> Problem | None:
    """What is wrong with a query; `shown` are the tables, `coming` those without data yet.

    The columns of its result go into `results`, by its name.
    """
    import duckdb

    if not is_usable_name(query.name):
        return Problem(
            f"Evidence ignores a query called '{query.name}'",
            query.path,
            query.line - 1,
            "Use letters, digits and '_', a letter first, and no programming language's name.",
        )
    try:
        filled = fill(query, page)
    except SelfReference:
        return Problem(
            f"query {query.name} refers to itself",
            query.path,
            query.line,
            "Break the circle of ${…} references.",
        )
    select = without_semicolon(filled.sql)
    if not select.strip():
        return Problem(f"query {query.name} is empty", query.path, query.line, "Write a SELECT.")
    try:
        # Asked first because its errors name the line.
        described = connection.execute(f"DESCRIBE {select}").fetchall()
        results[query.name] = [str(row[0]) for row in described]
        # Some errors appear only when rows are computed, which are not wanted here.
        connection.execute(f"EXPLAIN ANALYZE {select}")
    except duckdb.Error as error:
        if _uses(filled.sql, changing) and not _WHATEVER_TYPES.search(str(error)):
            return None  # the types of their columns are not known yet
        return _problem(error, query, filled, shown, coming)
    return None


def _uses(sql: str, tables: Collection[str]) -> bool:
    """Whether a query names one of `tables`."""
    names = (re.escape(table.rpartition(".")[2]) for table in tables)
    return any(re.search(rf"\b{name}\b", sql, re.IGNORECASE) for name in names)


def _problem(
    error: Exception, query: PageQuery, filled: Filled, shown: set[str], coming: set[str]
) -> Problem | None:
    message, line, hint = explain(error)
    missing = _missing_table(str(error), filled.sql)
    if missing:
        if missing in coming or any(name.endswith(f".{missing}") for name in coming):
            return None
        return Problem(
            f"query {query.name}: there is no table {missing}",
            query.path,
            _line_of(query, missing),
            _nearest(missing, sorted(shown | coming)),
        )
    if filled.guessed:
        # With another value of the input the query may well be right.
        return None
    # Lines match the file only if no text of several lines was inserted above.
    exact = line is not None and not PLACEHOLDER.search(query.sql)
    return Problem(
        f"query {query.name}: {message}",
        query.path,
        query.line + (line - 1 if exact and line else 0),
        hint or "Fix the query; it is DuckDB's SQL on the exported tables.",
    )


def _missing_table(error: str, sql: str) -> str | None:
    """The table that is not there, as the query writes it."""
    match = _MISSING_TABLE.search(error)
    if match:
        name = match[1].strip("\"'")
        written = re.search(rf"([\w\"]+)\s*\.\s*\"?{re.escape(name)}\b", sql, re.IGNORECASE)
        return f"{written[1].strip(chr(34))}.{name}" if written else name
    return None


def _nearest(missing: str, known: list[str]) -> str:
    by_name = {name.split(".")[-1]: name for name in known}
    near = difflib.get_close_matches(missing, known, n=3, cutoff=0.5) or [
        by_name[name]
        for name in difflib.get_close_matches(missing.split(".")[-1], by_name, n=3, cutoff=0.5)
    ]
    if near:
        return f"Did you mean {' or '.join(near)}?"
    if not known:
        return "No table was exported yet: run a workflow."
    return (
        f"The tables are {', '.join(known)}; a new one is a file evidence/sources/SOURCE/TABLE.sql."
    )


def _line_of(query: PageQuery, table: str) -> int:
    """The line that names the table; the query's first when it comes from another query."""
    name = table.split(".")[-1].lower()
    for offset, text in enumerate(query.sql.splitlines()):
        if re.search(rf"\b{re.escape(name)}\b", text.lower()):
            return query.line + offset
    return query.line


def warnings_of(project: Project, source: str, files: Mapping[str, Path]) -> list[Problem]:
    """Warn of exported tables that are too big for a browser, or that it cannot show exactly.

    A page's queries run in the reader's browser, which fetches what they need of the table, mostly
    all of it, and has little memory: a table of 10 million rows makes it give up. Its numbers have
    about 16 digits, and its times an end.

    Args:
        source: the source the tables belong to.
        files: their Parquet files by name.
    """
    import duckdb

    warnings = []
    for table, path in files.items():
        if not path.is_file():
            continue
        query = project.evidence / "sources" / source / f"{table}.sql"
        for column in _inexact_columns(path):
            name = column["name"]
            what, instead = (
                ("infinite times, which pages show as some date", f"nullif({name}, 'infinity')")
                if column["evidenceType"] == "date"
                else ("numbers of more than 15 digits, which pages round", f"{name}::varchar")
            )
            warnings.append(
                Problem(
                    f"{source}.{table} has {what}: column {name}",
                    query,
                    hint=f"Where it matters, select {instead} here, for example.",
                )
            )
        size = path.stat().st_size
        found = duckdb.execute(filled("SELECT num_rows FROM parquet_file_metadata(?)", str(path)))
        rows = int((found.fetchone() or (0,))[0])
        if size > MOST_BYTES or rows > MOST_ROWS:
            warnings.append(
                Problem(
                    f"{source}.{table} has {rows:,} rows and {size / 1e6:.1f} MB, which every "
                    "reader's browser has to load, and may not have the memory for",
                    query,
                    hint="Aggregate it in a model, or select fewer rows or columns here: "
                    "docs/extending.md, A dashboard.",
                )
            )
    return warnings


def _inexact_columns(path: Path) -> list[dict[str, str]]:
    """The columns with values that a page cannot show exactly, as noted by the export."""
    try:
        columns = json.loads(path.with_suffix(".schema.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [column for column in columns if column["typeFidelity"] == "inferred"]
