"""Who makes a table, and who reads it: models, dashboards, pages, notebooks that name it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataflow.dbt.names import read_names, table_of
from dataflow.project import Project
from dataflow.workflows.registry import read_workflows

# What breaks when a column goes; a notebook of the workflow changes together with its tables.
DEPEND = ("model", "test", "source query", "page")


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

    def names_column(self, column: str) -> bool:
        """Whether the column's name stands in the file."""
        return bool(re.search(rf"(?<!\w){re.escape(column)}(?!\w)", self.text, re.IGNORECASE))


def readers_of(project: Project, schema: str, table: str) -> list[Reader]:
    """The files that read a table, directly or through models, in the order of the data's way.

    Found in the files' text: a name that is put together when the code runs is not.

    Args:
        project: the project.
        schema: the table's schema.
        table: its name.
    """
    names = read_names(project)
    sources = [name for name, within in names.schemas.items() if within.lower() == schema.lower()]
    files = list(_files(project))
    found: dict[Path, Reader] = {}
    calls: list[tuple[str, ...]] = [("source", name, table) for name in sources]
    calls += [("ref", path.stem) for path in _models_of(project, schema, table)]
    waiting = [_pattern(schema, table, calls)]
    direct = True
    while waiting:
        pattern = waiting.pop(0)
        for path, kind, text in files:
            if path in found or not pattern.search(text):
                continue
            found[path] = Reader(path, kind, direct, text)
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
) -> dict[str, list[str]]:
    """The columns of a table that models, dbt's tests or dashboards name, and the files that do.

    Args:
        project: the project.
        table: schema and name.
        columns: those to look for.
    """
    readers = [one for one in readers_of(project, *table) if one.kind in DEPEND]
    return {
        column: files
        for column in columns
        if (files := [project.relative(r.path) for r in readers if r.names_column(column)])
    }


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
            if path.is_file():
                yield path, kind, path.read_text("utf-8", errors="replace")
