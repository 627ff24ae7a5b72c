"""Who reads whose tables: the places in one workflow's files that name another's.

SQL is found where it is written down: in models and tests, in source queries and pages, and in the
strings and magics of notebooks and modules. SQL that is put together while it runs is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dataflow.base.sql import blank, raw_schema, schemas_of, without_comments
from dataflow.dashboard.pages import read_pages
from dataflow.dbt.names import read_names
from dataflow.dbt.project import PARSED
from dataflow.errors import ConfigurationError, Problem
from dataflow.project import Project
from dataflow.stages.notebook import read_notebook
from dataflow.validation.sql import COMMENT, REF, SOURCE
from dataflow.workflows.ids import slug_of
from dataflow.workflows.load import stage_notebooks
from dataflow.workflows.registry import workflow_folders
from dataflow.workflows.yaml_file import read_yaml

# A file of Python code, a notebook's cell in it by its number from 1, and the code.
Code = tuple[Path, int | None, str]

# A string, or a comment, which is passed over: an apostrophe in it begins no string.
LITERAL = re.compile(
    r"""\#[^\n]*|(?P<quote>\"\"\"|'''|"|')(?P<body>(?:\\.|(?!(?P=quote)).)*)(?P=quote)""",
    re.DOTALL,
)
BEFORE_TABLE = r"\b(?:from|join|into|update|table|using|describe|summarize)\s+"


class Tables:
    """Tables to look for in SQL.

    Args:
        schemas: all tables of these.
        single: further tables, as (schema, table).
    """

    def __init__(self, schemas: Iterable[str], single: Iterable[tuple[str, str]] = ()) -> None:
        self.schemas = set(schemas)
        self.single = set(single)
        named = "|".join(map(re.escape, sorted({*self.schemas, *(s for s, _ in self.single)})))
        self._in_sql = re.compile(
            rf"{BEFORE_TABLE}(?:dataflow\.)?\"?({named})\"?\s*\.\s*\"?(\w+)", re.IGNORECASE
        )
        self._alone = re.compile(rf"({named})\.(\w+)\Z")

    def __contains__(self, table: tuple[str, str]) -> bool:
        return table[0] in self.schemas or table in self.single

    def find(self, text: str) -> Iterator[tuple[int, str]]:
        """Each of the tables where `text` has it in the place of a table, with its offset."""
        alone = self._alone.match(text)
        for match in [alone] if alone else self._in_sql.finditer(text):
            if (match[1].lower(), match[2]) in self:
                yield match.start(1), f"{match[1]}.{match[2]}"


def raw_reads(project: Project, folder: Path, code: Iterable[Code]) -> list[Problem]:
    """The stages of a workflow, and modules beside them, that read another's raw schema.

    Args:
        project: the project.
        folder: the workflow's folder.
        code: what they hold.
    """
    code = list(code)
    problems = []
    for other in workflow_folders(project):
        schema = raw_schema(other.name)
        if other.name == folder.name or schema in schemas_of(folder.name):
            continue
        hint = (
            f"Read what {other.name} publishes, a table in the schema {other.name}, or its "
            "model: raw tables change while it runs, before its checks have passed."
        )
        for path, cell, line, table in _code_reads(code, Tables([schema])):
            text = f"reads {table}, a raw table of workflow {other.name}"
            problems.append(Problem(text, path, line, hint, cell=cell))
    return problems


def outside_reads(project: Project, workflow_id: str, tables: Tables) -> list[Problem]:
    """The places outside of a workflow's own files that read its tables or build on its models.

    Args:
        project: the project.
        workflow_id: the workflow.
        tables: its tables.
    """
    code = (
        part
        for folder in workflow_folders(project)
        if folder.name != workflow_id
        for part in code_of_files([*stage_notebooks(folder), *sorted(folder.glob("*.py"))])
    )
    found = [
        Problem(f"reads {table}", path, line, cell=cell)
        for path, cell, line, table in _code_reads(code, tables)
    ]
    found += _dbt_readers(project, workflow_id, tables)
    queries = (project.evidence / "sources").glob("*/*.sql")
    for path in sorted(path for path in queries if path.parent.name != workflow_id):
        found += _sql_reads(path, _text(path), 1, tables)
    slug = slug_of(workflow_id)
    for page in read_pages(project):
        if page.path.relative_to(project.evidence / "pages").parts[0].removesuffix(".md") != slug:
            for query in page.queries:
                found += _sql_reads(query.path, query.sql, query.line, tables)
    return list(dict.fromkeys(found))


def own_models(project: Project, workflow_id: str) -> set[str]:
    """The names of a workflow's models, seeds and snapshots."""
    kinds = (("models", ("*.sql", "*.py")), ("seeds", ("*.csv",)), ("snapshots", ("*.sql",)))
    return {
        path.stem
        for folder, patterns in kinds
        for pattern in patterns
        for path in (project.dbt / folder / workflow_id).rglob(pattern)
    }


def strings(source: str) -> Iterator[tuple[int, str]]:
    """What may hold SQL in Python's code, each text with its offset: strings and magics."""
    if source.startswith("%%"):
        yield 0, source
        return
    for match in LITERAL.finditer(source):
        if match["quote"]:
            yield match.start("body"), match["body"]
    for match in re.finditer(r"^[ \t]*%\w+ .*$", source, re.MULTILINE):
        yield match.start(), match[0]


def code_of_files(files: Iterable[Path]) -> Iterator[Code]:
    """The code of modules and notebooks."""
    for path in files:
        if path.suffix == ".py":
            yield path, None, _text(path)
            continue
        try:
            yield from code_of_cells(path, read_notebook(path).cells)
        except ConfigurationError:  # which the check of notebooks tells
            continue


def code_of_cells(path: Path, cells: Iterable[Any]) -> Iterator[Code]:
    """The code of a notebook's cells."""
    for number, cell in enumerate(cells, start=1):
        if cell.cell_type == "code":
            yield path, number, cell.source


def _code_reads(
    code: Iterable[Code], tables: Tables
) -> Iterator[tuple[Path, int | None, int, str]]:
    """Path, cell, line, and table of each read."""
    for path, number, source in code:
        for offset, text in strings(source):
            for at, table in tables.find(text):
                yield path, number, source.count("\n", 0, offset + at) + 1, table


def _dbt_readers(project: Project, workflow_id: str, tables: Tables) -> Iterator[Problem]:
    models = own_models(project, workflow_id)
    schemas = read_names(project).schemas
    own = {project.dbt / part / workflow_id for part in PARSED}
    files = (path for part in PARSED for path in (project.dbt / part).rglob("*"))
    for path in sorted(path for path in files if not own.intersection(path.parents)):
        if path.suffix in (".yml", ".yaml"):
            file = read_yaml(path)
            listed = file.data.get("sources") if isinstance(file.data, dict) else None
            for index, source in enumerate(listed if isinstance(listed, list) else []):
                if not isinstance(source, dict):
                    continue
                schema = str(source.get("schema", source.get("name")))
                if schema in tables.schemas:
                    text = f"its source `{source.get('name')}` reads the schema {schema}"
                    yield file.problem(text, ("sources", index))
        elif path.suffix == ".sql":
            text = COMMENT.sub(blank, _text(path))
            for match in REF.finditer(text):
                if match[1] in models:
                    line = text.count("\n", 0, match.start()) + 1
                    yield Problem(f"builds on the model `{match[1]}`", path, line)
            for match in SOURCE.finditer(text):
                if (schemas.get(match[1], match[1]), match[2]) in tables:
                    line = text.count("\n", 0, match.start()) + 1
                    yield Problem(f"reads the source `{match[1]}`, table {match[2]}", path, line)
            yield from _sql_reads(path, text, 1, tables)


def _sql_reads(path: Path, sql: str, first: int, tables: Tables) -> Iterator[Problem]:
    sql = without_comments(sql)
    for at, table in tables.find(sql):
        yield Problem(f"reads {table}", path, first + sql.count("\n", 0, at))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
