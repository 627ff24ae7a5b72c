"""What a run wrote, by step and cell, and who uses it: from a notebook's cell to the dashboards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dataflow.base.sql import TableName
from dataflow.base.table import Row, Table
from dataflow.base.words import cells_text, counted
from dataflow.dbt.readers import Texts, readers_of
from dataflow.project import Project
from dataflow.runs.record import Run, mapping


@dataclass(frozen=True)
class WrittenTable:
    """A table that a step of a run wrote.

    Args:
        name: the table.
        step: the step.
        notebook: the step's executed notebook; None for an op.
        cells: the numbers of the cells that wrote it, where they are known.
        rows: how many it had, where the step recorded it.
        columns: its columns with their types; empty when the step dropped it.
        models: the models and dbt's tests that read it, directly or through others.
        pages: the pages that show what is made of it, also by way of later stages.
        others: notebooks and modules that read it.
    """

    name: TableName
    step: str
    notebook: str | None
    cells: tuple[int, ...]
    rows: int | None
    columns: dict[str, str]
    models: tuple[Path, ...]
    pages: tuple[Path, ...]
    others: tuple[Path, ...]

    @property
    def place(self) -> str:
        """The step and the cells, in words."""
        return ", ".join([self.step, *([cells_text(self.cells)] if self.cells else [])])


def written_tables(project: Project, run: Run) -> list[WrittenTable]:
    """The tables that a run's own steps wrote, in the order of the steps.

    Who reads them is told by the project's files as they are now.

    Args:
        project: the project.
        run: the run; one of an earlier version has noted none.
    """
    found = [
        (TableName(*table.split(".", 1)), name, step, mapping(facts))
        for name, step in run.steps.items()
        for table, facts in mapping(step.get("writes")).items()
        if "." in table
    ]
    texts = Texts.of(project) if found else None
    tables = []
    for table, name, step, facts in found:
        readers = readers_of(project, *table, texts=texts)
        rows = mapping(step.get("rows"))
        own = project.notebooks / run.workflow_id / f"{name}.ipynb"
        tables.append(
            WrittenTable(
                table,
                name,
                step.get("notebook"),
                tuple(facts.get("cells") or ()),
                next((rows[key] for key in (str(table), table.name) if key in rows), None),
                mapping(facts.get("columns")),
                tuple(one.path for one in readers if one.kind in ("model", "test")),
                tuple(one.path for one in readers if one.kind == "page"),
                tuple(
                    one.path
                    for one in readers
                    if one.kind in ("notebook", "module") and one.direct and one.path != own
                ),
            )
        )
    return [replace(one, pages=_pages_behind(project, one, tables, run)) for one in tables]


def _pages_behind(
    project: Project, table: WrittenTable, tables: list[WrittenTable], run: Run
) -> tuple[Path, ...]:
    """The pages that show what is made of a table, by way of the run's stages that read it, too."""
    home = project.notebooks / run.workflow_id
    by_notebook: dict[Path, list[WrittenTable]] = {}
    for one in tables:
        by_notebook.setdefault(home / f"{one.step}.ipynb", []).append(one)
    waiting, seen = [table], {id(table)}
    pages: dict[Path, None] = {}
    while waiting:
        one = waiting.pop(0)
        pages |= dict.fromkeys(one.pages)
        for made in (made for path in one.others for made in by_notebook.get(path, ())):
            if id(made) not in seen:
                seen.add(id(made))
                waiting.append(made)
    return tuple(pages)


def tables_table(project: Project, written: list[WrittenTable]) -> Table:
    """The tables as a table: who wrote each, and where it ends up."""
    rows: list[Row] = [
        [
            str(one.name),
            one.place,
            ", ".join(
                counted(len(paths), word)
                for paths, word in ((one.models, "model"), (one.others, "other file"))
                if paths
            ),
            ", ".join(map(project.relative, one.pages)),
        ]
        for one in written
    ]
    return Table(("Table", "Written by", "Read by", "Shown on"), rows)
