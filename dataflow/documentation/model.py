"""What the documentation knows of a project."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dataflow.base.sql import TableName
from dataflow.errors import Problem


@dataclass(frozen=True)
class Cell:
    """A cell of a stage's notebook.

    Args:
        kind: `markdown` or `code`.
        text: its source.
        images: the pictures attached to it, as `data:` addresses by name.
    """

    kind: str
    text: str
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterDoc:
    """A parameter of a stage.

    Args:
        name, type, help: as its notebook has them.
        default: its value without a run's, as Python; empty when it is required.
        configured: the value that config.yaml gives it, as Python; empty without one.
    """

    name: str
    type: str
    default: str
    configured: str
    help: str


@dataclass(frozen=True)
class StageDoc:
    """A stage of a workflow, or an op of one that is written in Python.

    Args:
        name: its name.
        kind: `stage` or `op`.
        path: its file, from the project's root.
        parameters: what a run may set.
        cells: its notebook's; an op has its docstring as the only one.
        writes, reads: the tables that it declares, and those that its code names.
        after: the stages it waits for.
        timeout: seconds; None for no limit.
        retries: how often it is tried again.
        problems: why it cannot be read.
    """

    name: str
    kind: str
    path: str
    parameters: tuple[ParameterDoc, ...] = ()
    cells: tuple[Cell, ...] = ()
    writes: tuple[TableName, ...] = ()
    reads: tuple[TableName, ...] = ()
    after: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0
    problems: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """Its place on the workflow's page."""
        return anchor_of("stage", self.name)


@dataclass(frozen=True)
class ColumnDoc:
    """A column of a table.

    Args:
        name: its name.
        type: its type where the table is published.
        description: Markdown.
        tests: dbt's tests of it, in words.
    """

    name: str
    type: str = ""
    description: str = ""
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableDoc:
    """A table or view.

    Args:
        name: schema and name.
        kind: `table` (a stage writes it), `model`, `seed` or `snapshot`.
        description: Markdown.
        columns: those that are published, and those that are only described.
        tests: dbt's tests of the whole table, in words.
        published: whether readers see it.
        rows: how many are published, about; None of a view.
        path: the model's file, from the project's root; empty of a stage's table.
        code: the model's SQL or Python.
        reads: the tables it is built on.
        made_by: the step that wrote it, where no stage declares it and no model makes it.
    """

    name: TableName
    kind: str
    description: str = ""
    columns: tuple[ColumnDoc, ...] = ()
    tests: tuple[str, ...] = ()
    published: bool = False
    rows: int | None = None
    path: str = ""
    code: str = ""
    reads: tuple[TableName, ...] = ()
    made_by: str = ""

    @property
    def anchor(self) -> str:
        """Its place on the workflow's page."""
        return anchor_of("table", str(self.name))


@dataclass(frozen=True)
class PageDoc:
    """A page of the dashboards.

    Args:
        title: its title.
        path: its file, from the project's root.
        address: its address on the dashboards' server.
        reads: the tables that its queries read.
        text: what stands in it, for the search.
    """

    title: str
    path: str
    address: str
    reads: tuple[TableName, ...] = ()
    text: str = ""

    @property
    def anchor(self) -> str:
        """Its place on the workflow's page."""
        return anchor_of("dashboard", self.address.strip("/") or "index")


@dataclass(frozen=True)
class WorkflowDoc:
    """A workflow, broken or not.

    Args:
        id: its folder's name.
        name, description, owner: as config.yaml has them.
        schedule: when it runs, in words; empty when it is run by hand.
        tags: words to filter by.
        config: the text of config.yaml; `${VAR}` stays a name.
        stages: in the order of a run.
        tables: stages' tables, then models.
        pages: its dashboards.
        problems: why it cannot run.
        is_valid: whether it can be read as a whole.
    """

    id: str
    name: str
    description: str = ""
    owner: str = ""
    schedule: str = ""
    tags: tuple[str, ...] = ()
    config: str = ""
    stages: tuple[StageDoc, ...] = ()
    tables: tuple[TableDoc, ...] = ()
    pages: tuple[PageDoc, ...] = ()
    problems: tuple[Problem, ...] = ()
    is_valid: bool = True


@dataclass(frozen=True)
class Documentation:
    """All that is known.

    Args:
        workflows: by id, in the order of names.
        tables: those that belong to no workflow.
        pages: the dashboards that belong to none.
        problems: what could not be read, and belongs to no workflow.
    """

    workflows: dict[str, WorkflowDoc]
    tables: tuple[TableDoc, ...] = ()
    pages: tuple[PageDoc, ...] = ()
    problems: tuple[str, ...] = ()

    def all_tables(self) -> Iterator[tuple[str, TableDoc]]:
        """Every table with its workflow's id, empty where it has none."""
        for workflow in self.workflows.values():
            for table in workflow.tables:
                yield workflow.id, table
        for table in self.tables:
            yield "", table


def anchor_of(kind: str, name: str) -> str:
    """The id of a part of a page, the same for the same name, whatever characters it has."""
    return f"{kind}-" + re.sub(r"[^\w.-]", lambda match: f"_{ord(match[0]):x}_", name)
