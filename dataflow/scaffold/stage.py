"""Add a stage to a workflow: a notebook that runs, and its entry in config.yaml, or neither."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataflow.base.sql import TableName, split_table
from dataflow.errors import ConfigurationError, Problem
from dataflow.project import Project
from dataflow.scaffold.workflow import TEMPLATES, all_or_nothing, is_sql_keyword
from dataflow.workflows.edit import Change, ConfigEditor
from dataflow.workflows.load import SCRATCH, stage_name_problem
from dataflow.workflows.model import Workflow
from dataflow.workflows.registry import find_workflow_folder

PLACEHOLDER = re.compile(r"MY_(?:TITLE|TABLE|TARGET|SQL_SOURCE|SOURCE)")


@dataclass(frozen=True)
class NewStage:
    """A stage that can be added.

    Args:
        notebook: its notebook, which does not exist yet.
        text: the notebook's content.
        change: what it adds to config.yaml.
    """

    notebook: Path
    text: str
    change: Change


def plan_stage(
    project: Project,
    workflow_id: str,
    name: str,
    *,
    after: Sequence[str] | None = None,
    table: str | None = None,
) -> NewStage:
    """Check that a stage can be added; nothing is written.

    Args:
        project: the project.
        workflow_id: the workflow.
        name: the stage's name, its notebook's without the ending.
        after: the stages that it waits for; None is the last one in config.yaml.
        table: the table that it writes; by default one with the stage's name.

    Raises:
        WorkflowNotFound: there is no such workflow.
        ConfigurationError: the name cannot be a stage's or is taken, or config.yaml would not be
            valid.
    """
    folder = find_workflow_folder(project, workflow_id)
    if reason := stage_name_problem(name):
        proposal = re.sub(r"\W+", "_", name.removesuffix(".ipynb"), flags=re.ASCII).strip("_")
        works = proposal != name and stage_name_problem(proposal) is None
        raise ConfigurationError(
            reason, hint=f"`{proposal}` would work." if works else "Choose another name."
        )
    if SCRATCH.fullmatch(name):
        raise ConfigurationError(
            f"`{name}` is how JupyterLab calls scratch paper", hint="Choose another name."
        )
    notebook = folder / f"{name}.ipynb"
    for path in sorted(folder.glob("*.ipynb")):
        if path.name.lower() == notebook.name.lower():  # the same file on some systems
            raise ConfigurationError(
                f"the name `{name}` is taken; nothing was created",
                hint="Choose another name, or remove what is there.",
                problems=[Problem("exists already", path)],
                root=project.root,
            )
    table = table or name.lower()
    if is_sql_keyword(table.rpartition(".")[2]):
        raise ConfigurationError(
            f"`{table}` is a keyword in SQL; a table of that name has to be quoted by all who read it",
            hint="Choose another name for the table.",
        )
    editor = ConfigEditor(project, folder)
    editor.add_stage(notebook.name, [table], after)
    change = editor.change([notebook.name])
    text = _notebook(name, table, change.workflow)
    return NewStage(notebook, text, change)


def make_stage(new: NewStage) -> Path:
    """Add the stage; when something fails, nothing is left of it.

    Returns:
        its notebook.

    Raises:
        ConfigurationError: a file cannot be written, or is no longer as it was.
    """
    with all_or_nothing("the stage", new.change.project.root) as made:
        with new.notebook.open("x", encoding="utf-8") as file:
            made.append(new.notebook)
            file.write(new.text)
        new.change.write()
    return new.notebook


def _notebook(name: str, table: str, workflow: Workflow) -> str:
    """The new notebook, which reads the first table of the stages before it if there is one."""
    before = [workflow.stage(other) for other in workflow.stage(name).after]
    source = next((found for stage in before for found in stage.writes), None)
    words = {
        "MY_TITLE": name.replace("_", " ").strip().capitalize() or name,
        "MY_TABLE": table,
        "MY_TARGET": str(split_table(table, workflow.id)),
        "MY_SOURCE": str(source),
        "MY_SQL_SOURCE": _in_sql(source) if source else "",
    }
    path = TEMPLATES / "stage" / ("reading.ipynb" if source else "making.ipynb")
    text = path.read_text(encoding="utf-8")
    return PLACEHOLDER.sub(lambda match: json.dumps(words[match[0]])[1:-1], text)


def _in_sql(table: TableName) -> str:
    return table.quoted if any(map(is_sql_keyword, table)) else str(table)
