"""Who makes a table, and who reads it: models, dashboards, pages, notebooks that name it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dataflow.base.sql import blank, without_comments
from dataflow.dbt.names import DbtNames, read_names, table_of, yaml_files
from dataflow.project import Project
from dataflow.workflows.registry import read_workflows
from dataflow.workflows.yaml_file import read_yaml

# What breaks when a column goes; a notebook of the workflow changes together with its tables.
DEPEND = ("model", "test", "source query", "page")
_HIDDEN = re.compile(r"<!--.*?-->", re.DOTALL)  # on a page
# Of a page: its queries, components and expressions; what is between them is text.
_PROSE = re.compile(r"(?P<code>```.*?```|<[^>]*>|\{[^}]*\})|[^`<{]+|.", re.DOTALL)
_STAR = re.compile(r"(?:\bselect|\bdistinct|,|\.)\s*\*|\bcolumns\s*\(|\A\s*from\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reader:
    """A file that reads a table.

    Args:
        path: the file.
        kind: model, test, source query, page, notebook or module.
        direct: whether it names the table itself, not a model that is built on it.
        text: what stands in it.
    """

    path: Path
    kind: str
    direct: bool
    text: str

    def line_of(self, column: str) -> int | None:
        """The first line that names the column; None when the file does not.

        Comments do not count, nor does what a page says beside its queries and components.
        """
        code = self.text
        if self.kind == "page":
            code = _HIDDEN.sub(blank, code)
            code = _PROSE.sub(lambda match: match["code"] or blank(match), code)
        if self.path.suffix in (".sql", ".md"):
            code = without_comments(code)
        found = re.search(rf"(?<!\w){re.escape(column)}(?!\w)", code, re.IGNORECASE)
        return code.count("\n", 0, found.start()) + 1 if found else None

    def passes_on(self, column: str) -> bool:
        """Whether the column may be in what it makes: it names it, or takes all columns."""
        takes_all = self.path.suffix == ".py" or _STAR.search(without_comments(self.text))
        return bool(takes_all) or self.line_of(column) is not None


@dataclass(frozen=True)
class Texts:
    """What may read tables, read once for questions about many.

    Args:
        names: what the dbt project defines.
        files: every file with its kind and text.
    """

    names: DbtNames
    files: tuple[tuple[Path, str, str], ...]

    @classmethod
    def of(cls, project: Project) -> Texts:
        """Those of a project as they are now."""
        return cls(read_names(project), tuple(_files(project)))


def readers_of(
    project: Project,
    schema: str,
    table: str,
    passes: Callable[[Reader], bool] = lambda reader: True,
    texts: Texts | None = None,
) -> list[Reader]:
    """The files that read a table, directly or through models, in the order of the data's way.

    Found in the files' text: a name that is put together when the code runs is not.

    Args:
        project: the project.
        schema: the table's schema.
        table: its name.
        passes: whether to go on to the readers of what a reader makes.
        texts: the project's files; read now when None.
    """
    texts = texts or Texts.of(project)
    schemas = texts.names.schemas
    sources = [name for name, within in schemas.items() if within.lower() == schema.lower()]
    found: dict[Path, Reader] = {}
    calls: list[tuple[str, ...]] = [("source", name, table) for name in sources]
    calls += [("ref", path.stem) for path in _models_of(project, schema, table)]
    waiting = [_pattern(schema, table, calls)]
    direct = True
    while waiting:
        pattern = waiting.pop(0)
        for path, kind, text in texts.files:
            if path in found or not pattern.search(text):
                continue
            found[path] = Reader(path, kind, direct, text)
            if not passes(found[path]):
                continue
            if kind == "model":
                made = table_of(project, path)
                waiting.append(_pattern(*made, [("ref", path.stem)]))
            elif kind == "source query":
                waiting.append(_pattern(path.parent.name, path.stem))
        direct = False
    return list(found.values())


def makers_of(project: Project, schema: str, table: str) -> list[Path]:
    """The notebooks whose stages list a table under `writes`, and the model that makes it.

    Args:
        project: the project.
        schema: the table's schema.
        table: its name.
    """
    wanted = (schema.lower(), table.lower())
    stages = [
        stage.notebook
        for entry in read_workflows(project)
        for stage in (entry.workflow.stages if entry.workflow else ())
        if wanted in (tuple(part.lower() for part in written) for written in stage.writes)
    ]
    return stages + _models_of(project, schema, table)


def columns_used(
    project: Project, table: tuple[str, str], columns: Sequence[str]
) -> dict[str, str]:
    """The columns of a table that models, dbt's tests or dashboards name, and where.

    Args:
        project: the project.
        table: schema and name.
        columns: those to look for.

    Returns:
        For each column that is used the places, each as `file:line`, and the pages that show
        what is made of it, in words.
    """
    used = {}
    texts = Texts.of(project)
    for column in columns:
        readers = readers_of(project, *table, partial(Reader.passes_on, column=column), texts)
        places = _tests_of(project, table, column)
        users = []
        for reader in readers:
            if reader.kind in DEPEND and (line := reader.line_of(column)) is not None:
                places.append(f"{project.relative(reader.path)}:{line}")
                users.append(reader)
        if places:
            pages = {
                project.relative(reader.path)
                for model in users
                if model.kind == "model"
                for reader in readers_of(project, *table_of(project, model.path), texts=texts)
                if reader.kind == "page" and reader not in users
            }
            behind = f"; what is made of it is shown in {', '.join(sorted(pages))}" if pages else ""
            used[column] = ", ".join(places) + behind
    return used


def _tests_of(project: Project, table: tuple[str, str], column: str) -> list[str]:
    """The places where a source has tests of a column of its table, as `file:line`."""
    wanted = (table[0].lower(), table[1].lower(), column.lower())
    return [
        f"{project.relative(path)}:{file.line(('sources', s, 'tables', t, 'columns', c))}"
        for path in yaml_files(project.dbt / "models")
        for file in [read_yaml(path)]
        for s, source in _dicts(file.data, "sources")
        for t, one in _dicts(source, "tables")
        for c, declared in _dicts(one, "columns")
        if wanted
        == tuple(
            str(name).lower()
            for name in (
                source.get("schema", source.get("name")), one.get("name"), declared.get("name")
            )
        )
        and (declared.get("tests") or declared.get("data_tests"))
    ]  # fmt: skip


def _dicts(data: object, key: str) -> list[tuple[int, dict[str, object]]]:
    """The mappings listed below `key` with their places in the list."""
    found = data.get(key) if isinstance(data, dict) else None
    listed = found if isinstance(found, list) else []
    return [(number, item) for number, item in enumerate(listed) if isinstance(item, dict)]


def _models_of(project: Project, schema: str, table: str) -> list[Path]:
    """The files of the models and seeds that make a table."""
    wanted = (schema.lower(), table.lower())
    return [
        path
        for folder, suffixes in (("models", {".sql", ".py"}), ("seeds", {".csv"}))
        for path in sorted((project.dbt / folder).rglob("*"))
        if path.suffix in suffixes
        and tuple(part.lower() for part in table_of(project, path)) == wanted
    ]


def _pattern(
    schema: str, table: str, calls: list[tuple[str, ...]] | None = None
) -> re.Pattern[str]:
    """What a text has that reads a table: its name, or one of dbt's `calls`."""
    quoted = [rf'\\?"?{re.escape(part)}\\?"?' for part in (schema, table)]
    ways = [rf"(?<![\w.]){quoted[0]}\s*\.\s*{quoted[1]}(?!\w)"]
    for name, *arguments in calls or []:
        inside = r"\s*,\s*".join(rf"""['"]{re.escape(one)}['"]""" for one in arguments)
        ways.append(rf"\b{name}\(\s*{inside}\s*[,)]")
    return re.compile("|".join(ways), re.IGNORECASE)


def _files(project: Project) -> Iterator[tuple[Path, str, str]]:
    """Every file that may read a table, with its kind and text."""
    for kind, folder, pattern in (
        ("model", project.dbt / "models", "**/*.sql"),
        ("model", project.dbt / "models", "**/*.py"),
        ("test", project.dbt / "tests", "**/*.sql"),
        ("source query", project.evidence / "sources", "*/*.sql"),
        ("page", project.evidence / "pages", "**/*.md"),
        ("notebook", project.notebooks, "*/*.ipynb"),
        ("module", project.notebooks, "*/*.py"),
    ):
        for path in sorted(folder.glob(pattern)):
            try:
                text = path.read_text("utf-8", errors="replace")
            except OSError:  # a folder, or somebody else's
                continue
            yield path, kind, text
