"""Tables and columns that the SQL in a stage's code reads, and that there are not going to be.

SQL is found where `reads` finds it: in strings and magics. Nothing is said where it cannot be told:
about SQL and names that are put together while the code runs, and what some other code may make.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from dataflow.base.sql import TableName, quote, schemas_of, without_comments
from dataflow.base.words import meant, nearest
from dataflow.dashboard.source_query import explain, without_semicolon
from dataflow.dbt.names import read_names, table_of
from dataflow.errors import DataflowError, Fix, Problem
from dataflow.project import Project
from dataflow.stages.parameters import parse
from dataflow.validation.columns import MISSING, Models
from dataflow.validation.reads import Code, code_of_files, strings
from dataflow.warehouse.store import published_path, published_tables
from dataflow.workflows.load import stage_notebooks
from dataflow.workflows.python_workflow import JOB_FILE
from dataflow.workflows.registry import read_workflow, workflow_folders

MOST = 100  # names, and statements, that are looked at: more would take seconds
LONGEST = 20_000  # characters of a statement
_KINDS = (("models", "*.sql"), ("models", "*.py"), ("seeds", "*.csv"), ("snapshots", "*.sql"))
_COLUMN = re.compile(r'[Cc]olumn (?:named )?"([^"]+)"')
# What makes a table of a name that only running the code tells.
_MADE_DYNAMICALLY = re.compile(r"\b(?:table|view|into|exists)\s+[\w.\"]*\{", re.IGNORECASE)


@dataclass(frozen=True)
class _Read:
    """A place where SQL reads a table of one of the project's workflows."""

    path: Path
    cell: int | None
    line: int
    text: str  # the line
    table: TableName


@dataclass
class _Owner:
    """A workflow whose tables are read.

    Args:
        project: the project.
        declared: the tables that its stages declare.
        code: all its code.
        reading: what reads its tables.
    """

    project: Project
    declared: set[TableName]
    code: list[Code]
    reading: re.Pattern[str]

    def makes(self, table: TableName) -> bool:
        """Whether a stage declares a table, or dbt has it."""
        return table in self.declared or table in self.in_dbt

    @cached_property
    def in_dbt(self) -> set[TableName]:
        """The tables of all models, seeds, snapshots and sources."""
        dbt, names = self.project.dbt, read_names(self.project)
        found = {
            TableName(source_schema, table)
            for source, source_schema in names.schemas.items()
            for table in names.sources[source]
        }
        for folder, pattern in _KINDS:
            for path in (dbt / folder).rglob(pattern):
                with contextlib.suppress(OSError):
                    found.add(TableName(*table_of(self.project, path)))
        return {table.folded for table in found}

    @cached_property
    def strings(self) -> list[str]:
        """The texts in its code, without what reads tables."""
        return [
            self.reading.sub(" ", without_comments(text))
            for *_, source in self.code
            for _, text in strings(source)
        ]

    def may_make(self, name: str) -> bool:
        """Whether its code mentions a table where it does not read it, or could form its name."""
        for *_, source in self.code:
            if any(_MADE_DYNAMICALLY.search(text) for _, text in strings(source)):
                return True
            if _writes_by_variable(source):
                return True
        for text in self.strings:
            if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE):
                return True
            for part in re.split(r"\{[^{}]*\}", text) if "{" in text else [text]:
                near = part.strip('"').rpartition(".")[2]
                if len(near) >= 3 and near != name and (
                    ("{" in text and name.startswith(near)) or (near[0] == "_" and name.endswith(near))
                ):  # fmt: skip
                    return True
        return False


def unknown_tables(project: Project, code: Iterable[Code]) -> list[Problem]:
    """What code reads of the project's workflows: tables that nothing makes, and unknown columns.

    Args:
        project: the project.
        code: notebooks and modules of one workflow, as they are or are going to be saved.
    """
    code = list(code)
    folders = {
        schema: folder for folder in workflow_folders(project) for schema in schemas_of(folder.name)
    }
    reading = _reading(folders)
    reads = list(_reads(code, reading))
    owners: dict[Path, _Owner | None] = {}
    missing: dict[TableName, bool] = {}
    problems = []
    for read in reads:
        folder = folders[read.table.schema]
        if folder not in owners:
            owners[folder] = _owner(project, folder, code, reading)
        owner = owners[folder]
        if owner is None or owner.makes(read.table):
            continue
        if read.table not in missing and len(missing) < MOST:
            missing[read.table] = not owner.may_make(read.table.name) and not _published_columns(
                published_path(project), project, read.table
            )
        if not missing.get(read.table):
            continue
        known = owner.declared | owner.in_dbt
        names = [table.name for table in known if table.schema == read.table.schema]
        hint = nearest(read.table.name, names) or "Name it in `writes:` of the stage that makes it."
        fix = Fix.replacing(read.table.name, meant(read.table.name, names), read.text)
        text = f"reads {read.table}, which no stage, model or seed of {folder.name} makes"
        problems.append(Problem(text, read.path, read.line, hint, read.cell, fix=fix))
    if reads:
        told = {folder: owner for folder, owner in owners.items() if owner}
        problems += _unknown_columns(project, code, reading, folders, told)
    return list(dict.fromkeys(problems))


def _reading(schemas: Iterable[str]) -> re.Pattern[str]:
    """What reads a table of these schemas whose name is written down."""
    named = "|".join(map(re.escape, sorted(schemas)))
    return re.compile(
        rf"\b(?:from|join|using|describe|summarize)\s+(?:dataflow\.)?\"?({named})\"?\s*\.\s*"
        r"\"?(\w+)\"?(?![\w{%(.])",
        re.IGNORECASE,
    )


def _reads(code: Iterable[Code], reading: re.Pattern[str]) -> Iterator[_Read]:
    for path, cell, source in code:
        lines = source.split("\n")
        for offset, text in strings(source):
            plain = without_comments(text)
            for match in reading.finditer(plain):
                line = source.count("\n", 0, offset) + plain.count("\n", 0, match.start(2)) + 1
                table = TableName(match[1], match[2]).folded
                yield _Read(path, cell, line, lines[line - 1], table)


def _owner(
    project: Project, folder: Path, code: list[Code], reading: re.Pattern[str]
) -> _Owner | None:
    """What makes a workflow's tables; None where only running it tells."""
    workflow = read_workflow(folder).workflow
    if workflow is None or (folder / JOB_FILE).is_file():
        return None
    checked = {path for path, *_ in code}
    files = [*stage_notebooks(folder), *sorted(folder.glob("*.py"))]
    own = [part for part in code if part[0].parent == folder]
    own += code_of_files(path for path in files if path not in checked)
    return _Owner(project, {table.folded for table in workflow.writes}, own, reading)


def _writes_by_variable(source: str) -> bool:
    """Whether `write_table` gets a table's name that is not written down."""
    if "write_table" not in source:
        return False
    try:
        tree = parse(source)
    except SyntaxError:
        return True
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("write_table"):
            given = [*node.args[2:3], *(one.value for one in node.keywords if one.arg == "table")]
            if not given or not all(isinstance(one, ast.Constant | ast.JoinedStr) for one in given):
                return True
    return False


def _unknown_columns(
    project: Project,
    code: list[Code],
    reading: re.Pattern[str],
    folders: Mapping[str, Path],
    owners: Mapping[Path, _Owner],
) -> Iterator[Problem]:
    import duckdb

    models = Models(project)
    # Only names are looked up: files, addresses and variables of ours are not read.
    with duckdb.connect(
        config={"enable_external_access": False, "python_enable_replacements": False}
    ) as connection:
        laid_out: dict[TableName, list[str] | None] = {}
        seen: set[str] = set()
        for path, cell, source in code:
            lines = source.split("\n")
            for offset, text in strings(source):
                tables = {
                    TableName(m[1], m[2]).folded for m in reading.finditer(without_comments(text))
                }
                if not tables or "{" in text or len(seen) == MOST or len(text) > LONGEST:
                    continue
                if text in seen:
                    continue
                seen.add(text)
                for table in tables - laid_out.keys():
                    laid_out[table] = _lay_out(project, models, connection, table)
                try:
                    connection.execute(f"DESCRIBE {without_semicolon(text.strip())}")
                    continue
                except (duckdb.Error, ValueError) as error:
                    if not MISSING.search(str(error)):
                        continue  # other tables and parameters are missing here, and types unknown
                    message, line, hint = explain(error)
                column = _COLUMN.search(message)
                rest = [t for f in {folders[one.schema] for one in tables} if f in owners
                        for t in owners[f].code]  # fmt: skip
                if column is None or _is_said_elsewhere(column[1], text, rest):
                    continue
                # DuckDB counts from the text's first line that is not empty.
                before = offset + len(text) - len(text.lstrip())
                line = source.count("\n", 0, before) + (line or 1)
                right = meant(column[1], {c for one in tables for c in laid_out[one] or ()})
                fix = Fix.replacing(column[1], right, lines[line - 1])
                hint = hint or "Name a column that the table has."
                yield Problem(message, path, line, hint, cell, fix=fix)


def _lay_out(
    project: Project, models: Models, connection: object, table: TableName
) -> list[str] | None:
    """Make an empty view of a table whose columns are known: by a model's SQL, or as published."""
    import duckdb

    columns = models.columns_of_table(table)
    if columns is None and table not in models:
        columns = list(_published_columns(published_path(project), project, table))
    if columns:
        empty = ", ".join(f"NULL AS {quote(column)}" for column in columns)
        with contextlib.suppress(duckdb.Error):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(table.schema)}")  # type: ignore[attr-defined]
            connection.execute(f"CREATE VIEW {table.quoted} AS SELECT {empty} WHERE false")  # type: ignore[attr-defined]
    return columns or None


@lru_cache(maxsize=200)
def _published_columns(version: Path | None, project: Project, table: TableName) -> tuple[str, ...]:
    """The columns of a table as published; a version never changes."""
    try:
        found = published_tables(project, [table]) if version else {}
    except DataflowError:
        return ()
    return tuple(found[table].columns) if table in found else ()


def _is_said_elsewhere(column: str, sql: str, code: Iterable[Code]) -> bool:
    """Whether code mentions a column outside of this SQL: it may be about to come."""
    word = re.compile(rf"(?<!\w){re.escape(column)}(?!\w)", re.IGNORECASE)
    return any(word.search(source.replace(sql, " ")) for *_, source in code)
