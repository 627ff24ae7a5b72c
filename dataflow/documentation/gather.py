"""Read the documentation out of a project's files and its published tables; nothing is run."""

from __future__ import annotations

import ast
import base64
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataflow.base.sql import TableName, schemas_of, without_comments
from dataflow.dashboard.pages import Page, read_pages
from dataflow.dbt.names import table_of
from dataflow.documentation.dbt_files import DbtTexts, Described, read_texts
from dataflow.documentation.model import (
    Cell,
    ColumnDoc,
    Documentation,
    PageDoc,
    ParameterDoc,
    StageDoc,
    TableDoc,
    WorkflowDoc,
)
from dataflow.engine.secrets import Scrubber
from dataflow.errors import DataflowError
from dataflow.project import Project
from dataflow.stages.notebook import Stage, read_notebook
from dataflow.stages.parameters import INJECTED_TAG, Parameter, read_declaration
from dataflow.validation.reads import Tables, strings
from dataflow.validation.sql import REF, SOURCE
from dataflow.variables import secrets_of
from dataflow.warehouse.store import Connection, PublishedTable, published_path, published_tables
from dataflow.workflows.ids import slug_of
from dataflow.workflows.load import stage_notebooks
from dataflow.workflows.python_workflow import JOB_FILE
from dataflow.workflows.registry import Registered, read_workflows, table_conflicts
from dataflow.workflows.yaml_file import read_yaml

LONGEST = 20_000  # characters of a cell or model
_TITLE = re.compile(r"\A---\s*\n.*?^title:[ \t]*(?P<front>.+?)[ \t]*$.*?^---|^#[ \t]+(?P<head>.+?)[ \t]*$",
                    re.DOTALL | re.MULTILINE)  # fmt: skip
_KINDS = (("model", "models", {".sql", ".py"}), ("seed", "seeds", {".csv"}),
          ("snapshot", "snapshots", {".sql"}))  # fmt: skip
_PICTURES = {"image/png", "image/jpeg", "image/gif", "image/webp"}


@dataclass(frozen=True)
class _Model:
    """A file of dbt that makes a table."""

    name: str
    table: TableName
    kind: str
    workflow_id: str
    path: Path
    text: str


def gather(project: Project) -> Documentation:
    """The documentation of a project as its files are now; what is broken is in it with the reason."""
    project.load_environment()
    scrub = Scrubber(secrets_of(project.notebooks / "any"))
    entries = read_workflows(project)
    problems: list[str] = []
    models = _models(project, problems)
    published, rows = _published(project, problems)
    declared = {table for entry in entries if entry.workflow for table in entry.workflow.writes}
    known = {*declared, *(model.table for model in models), *published}
    texts = read_texts(project)
    reader = _Reader(known, models, texts.schemas)
    pages = _pages(project, reader, known, problems)
    tables = _tables(project, reader, models, declared, published, rows, texts, scrub)
    owners = {table: _owner(table, entries, models) for table in tables}
    workflows = {
        entry.id: _workflow(
            project,
            entry,
            reader,
            tuple(doc for table, doc in tables.items() if owners[table] == entry.id),
            tuple(pages.pop(slug_of(entry.id), [])),
            scrub,
        )
        for entry in entries
    }
    return Documentation(
        workflows,
        tuple(doc for table, doc in tables.items() if owners[table] not in workflows),
        tuple(page for listed in pages.values() for page in listed),
        tuple(problems),
    )


def sources(project: Project) -> dict[str, tuple[int, int]]:
    """The files that `gather` reads, with their times and sizes: whether it has to read again."""
    files: list[Path] = []
    for folder, patterns in (
        (project.notebooks, ("*/config.yaml", "*/*.ipynb", "*/*.py")),
        (project.dbt, tuple(f"{part}/**/*.*" for part in ("models", "seeds", "snapshots"))),
        (project.evidence, ("pages/**/*.md", "sources/*/*.sql", "queries/**/*.sql")),
    ):
        files += [path for pattern in patterns for path in folder.glob(pattern)]
    if version := published_path(project):
        files.append(version)
    found = {}
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            continue
        found[str(path)] = (stat.st_mtime_ns, stat.st_size)
    return found


def _owner(table: TableName, entries: list[Registered], models: list[_Model]) -> str:
    """The id of the workflow that a table belongs to; empty when it is none's."""
    for model in models:
        if model.table == table:
            return model.workflow_id
    for entry in entries:
        if entry.workflow is not None and table in entry.workflow.writes:
            return entry.id
    return next((entry.id for entry in entries if table.schema in schemas_of(entry.id)), "")


def _models(project: Project, problems: list[str]) -> list[_Model]:
    found = []
    for kind, folder, suffixes in _KINDS:
        for path in sorted((project.dbt / folder).rglob("*")):
            if path.suffix not in suffixes or not path.is_file():
                continue
            parts = path.relative_to(project.dbt / folder).parts
            owner = parts[0] if len(parts) > 1 else ""
            try:
                text = "" if kind == "seed" else path.read_text("utf-8", errors="replace")
                table = TableName(*table_of(project, path))
            except OSError as error:
                problems.append(f"{project.relative(path)} cannot be read: {error.strerror}")
                continue
            found.append(_Model(path.stem, table, kind, owner, path, text))
    return found


def _published(
    project: Project, problems: list[str]
) -> tuple[Mapping[TableName, PublishedTable], dict[TableName, int]]:
    """The tables that readers see, and about how many rows each has."""
    if published_path(project) is None:
        return {}, {}
    try:
        with Connection(project, "published") as conn:
            names = conn.execute(
                "SELECT table_schema, table_name FROM information_schema.tables "
                "WHERE table_catalog = current_catalog() ORDER BY ALL"
            ).fetchall()
            sizes = conn.execute(
                "SELECT schema_name, table_name, estimated_size FROM duckdb_tables() "
                "WHERE database_name = current_catalog()"
            ).fetchall()
        return (
            published_tables(project, [TableName(*name) for name in names if name[0][0] != "_"]),
            {TableName(schema, name): int(size) for schema, name, size in sizes},
        )
    except DataflowError as error:
        problems.append(f"The published tables cannot be read: {error.message}")
        return {}, {}


class _Reader:
    """Finds the tables that code and SQL name."""

    def __init__(
        self, known: Iterable[TableName], models: list[_Model], schemas: Mapping[str, str]
    ) -> None:
        self._known = {str(table).lower(): table for table in known}
        self._tables = Tables([], [(t.schema.lower(), t.name) for t in self._known.values()])
        self._models = {model.name: model.table for model in models}
        self._schemas = schemas  # of sources

    def in_sql(self, sql: str) -> list[TableName]:
        """Those that SQL names, in order."""
        return self._found(without_comments(sql))

    def in_code(self, source: str) -> list[TableName]:
        """Those that the SQL in a cell's strings and magics names."""
        return [table for _, text in strings(source) for table in self._found(text)]

    def in_model(self, text: str) -> list[TableName]:
        """Those that a model is built on, by `ref`, `source` or their names."""
        sql = without_comments(text)
        found = [self._models[match[1]] for match in REF.finditer(sql) if match[1] in self._models]
        for match in SOURCE.finditer(sql):
            found.append(TableName(self._schemas.get(match[1], match[1]), match[2]))
        return _once([*found, *self._found(sql)])

    def _found(self, text: str) -> list[TableName]:
        names = (found.lower() for _, found in self._tables.find(text))
        return _once(self._known[name] for name in names if name in self._known)


def _once(tables: Iterable[TableName]) -> list[TableName]:
    return list(dict.fromkeys(tables))


def _pages(
    project: Project, reader: _Reader, known: set[TableName], problems: list[str]
) -> dict[str, list[PageDoc]]:
    """The dashboards by the first part of their addresses."""
    behind: dict[TableName, list[TableName]] = {}  # what a page's table is made of
    for path in sorted((project.evidence / "sources").glob("*/*.sql")):
        try:
            sql = path.read_text("utf-8", errors="replace")
        except OSError as error:
            problems.append(f"{project.relative(path)} cannot be read: {error.strerror}")
            continue
        behind[TableName(path.parent.name, path.stem)] = reader.in_sql(sql)
    shown = Tables([], [(t.schema.lower(), t.name) for t in behind])
    by_name = {str(table).lower(): tables for table, tables in behind.items()}
    found: dict[str, list[PageDoc]] = defaultdict(list)
    try:
        pages: list[Page] = list(read_pages(project))
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"The dashboards' pages cannot be read: {error}")
        return found
    for page in pages:
        parts = page.path.relative_to(project.evidence / "pages").with_suffix("").parts
        reads: list[TableName] = []
        for query in page.queries:
            for _, name in shown.find(without_comments(query.sql)):
                reads += by_name.get(name.lower(), [])
        title = _TITLE.search(page.text)
        name = (title["front"] or title["head"]).strip("\"' ") if title else ""
        address = "/" + "/".join(part for part in parts if part != "index")
        found[parts[0]].append(
            PageDoc(
                name or address,
                project.relative(page.path),
                address,
                tuple(table for table in _once(reads) if table in known),
                page.text[:LONGEST],
            )
        )
    return found


def _tables(
    project: Project,
    reader: _Reader,
    models: list[_Model],
    declared: set[TableName],
    published: Mapping[TableName, PublishedTable],
    rows: Mapping[TableName, int],
    texts: DbtTexts,
    scrub: Scrubber,
) -> dict[TableName, TableDoc]:
    """Every table: those that stages write, then models, each in the order of names."""
    by_table = {model.table: model for model in models}
    found = {}
    for table in sorted({*declared, *by_table, *published}, key=lambda t: (t in by_table, t)):
        model, made = by_table.get(table), published.get(table)
        said = texts.models.get(model.name) if model else texts.sources.get(table)
        said = said or Described()
        found[table] = TableDoc(
            table,
            model.kind if model else "table",
            scrub.text(said.description),
            _columns(made.columns if made else {}, said, scrub),
            said.tests,
            made is not None,
            rows.get(table),
            project.relative(model.path) if model else "",
            scrub.text(model.text[:LONGEST]) if model else "",
            tuple(t for t in reader.in_model(model.text) if t != table) if model else (),
            (made.step or "") if made and not model and table not in declared else "",
        )
    return found


def _columns(
    published: Mapping[str, str], said: Described, scrub: Scrubber
) -> tuple[ColumnDoc, ...]:
    described = {name.lower(): (name, *about) for name, about in said.columns.items()}
    columns = []
    for name, kind in published.items():
        _, text, tests = described.pop(name.lower(), (name, "", ()))
        columns.append(ColumnDoc(name, kind, scrub.text(text), tests))
    for name, text, tests in described.values():
        columns.append(ColumnDoc(name, "", scrub.text(text), tests))
    return tuple(columns)


def _workflow(
    project: Project,
    entry: Registered,
    reader: _Reader,
    tables: tuple[TableDoc, ...],
    pages: tuple[PageDoc, ...],
    scrub: Scrubber,
) -> WorkflowDoc:
    path = entry.folder / "config.yaml"
    try:
        config = scrub.text(path.read_text("utf-8", errors="replace")[:LONGEST])
    except OSError:
        config = ""
    workflow = entry.workflow
    if workflow is None:
        notebooks = [Stage(entry.id, path.stem, path) for path in stage_notebooks(entry.folder)]
        stages = tuple(_stage(project, stage, reader, scrub) for stage in notebooks)
        data = read_yaml(path).data
        section = data.get("workflow") if isinstance(data, dict) else None
        said = section if isinstance(section, dict) else {}
        return WorkflowDoc(
            entry.id,
            str(said.get("name") or entry.id),
            scrub.text(str(said.get("description") or "")),
            config=config,
            stages=stages,
            tables=tables,
            pages=pages,
            problems=tuple(entry.problems),
            is_valid=False,
        )
    about = workflow.config.workflow
    stages = tuple(_stage(project, stage, reader, scrub) for stage in workflow.stages)
    return WorkflowDoc(
        entry.id,
        workflow.name,
        scrub.text(about.description),
        about.owner or "",
        about.schedule_in_words or "",
        tuple(about.tags),
        config,
        stages or tuple(_ops(project, entry.folder, workflow.step_names)),
        tables,
        pages,
        (*entry.problems, *table_conflicts(project, workflow)),
    )


def _stage(project: Project, stage: Stage, reader: _Reader, scrub: Scrubber) -> StageDoc:
    facts: dict[str, Any] = {
        "writes": stage.writes,
        "after": stage.after,
        "timeout": stage.timeout,
        "retries": stage.retries,
    }
    path = project.relative(stage.notebook)
    try:
        nodes = [
            cell
            for cell in read_notebook(stage.notebook).cells
            if INJECTED_TAG not in cell.get("metadata", {}).get("tags", [])
        ]
    except DataflowError as error:
        return StageDoc(stage.name, "stage", path, problems=(error.message,), **facts)
    declaration = read_declaration(stage.notebook, nodes)
    cells = []
    reads: list[TableName] = []
    for node in nodes:
        if node.cell_type == "code":
            reads += reader.in_code(node.source)
        if node.cell_type in ("code", "markdown") and node.source.strip():
            text = scrub.text(node.source[:LONGEST])
            cells.append(Cell(node.cell_type, text, _images(node.get("attachments"))))
    return StageDoc(
        stage.name,
        "stage",
        path,
        tuple(
            _parameter(parameter, stage.parameters, scrub)
            for parameter in declaration.parameters.values()
        ),
        tuple(cells),
        reads=tuple(table for table in _once(reads) if table not in stage.writes),
        # A stage without parameters needs no cell for them.
        problems=tuple(
            f"{problem.where(project.root)}: {problem.message}"
            for problem in declaration.problems
            if declaration.cell is not None
        ),
        **facts,
    )


def _parameter(
    parameter: Parameter, configured: Mapping[str, Any], scrub: Scrubber
) -> ParameterDoc:
    def shown(value: Any) -> str:
        return "…" if parameter.secret and value is not None else scrub.text(repr(value))[:500]

    return ParameterDoc(
        parameter.name,
        parameter.annotation or getattr(parameter.type, "__name__", ""),
        "" if parameter.required else shown(parameter.default),
        shown(configured[parameter.name]) if parameter.name in configured else "",
        parameter.help,
    )


def _images(attachments: Any) -> dict[str, str]:
    """The pictures attached to a cell, as addresses that need no request."""
    found = {}
    for name, bundle in attachments.items() if isinstance(attachments, dict) else []:
        for kind, data in bundle.items() if isinstance(bundle, dict) else []:
            text = "".join(data) if isinstance(data, list) else str(data)
            try:
                base64.b64decode(text, validate=False)
            except ValueError:
                continue
            if kind in _PICTURES:
                found[str(name)] = f"data:{kind};base64,{''.join(text.split())}"
    return found


def _ops(project: Project, folder: Path, names: list[str]) -> Iterable[StageDoc]:
    """The ops of a workflow that is written in Python, each with its docstring."""
    path = folder / JOB_FILE
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        tree = ast.Module([], [])
    functions = {
        node.name: node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    for name in names:
        text = ast.get_docstring(functions[name]) if name in functions else None
        cells = (Cell("markdown", text),) if text else ()
        yield StageDoc(name, "op", project.relative(path), cells=cells)
