"""What `validate` finds for one stage while its notebook is being written, before it is saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dataflow.errors import ConfigurationError, Problem
from dataflow.project import Project
from dataflow.validation.config import secrets_in_clear, unset_variables
from dataflow.validation.notebook import examine_cells
from dataflow.validation.reads import code_of_cells, raw_reads
from dataflow.validation.tables import unknown_tables
from dataflow.validation.workflow import Examination, notebooks_of, unwritten_sources
from dataflow.variables import secrets_of
from dataflow.workflows.load import load_workflow, stage_names
from dataflow.workflows.python_workflow import JOB_FILE
from dataflow.workflows.registry import table_conflicts
from dataflow.workflows.yaml_file import YamlFile, read_yaml

MOST = 200_000  # characters of all cells: more takes seconds


def examine_draft(project: Project, path: Path, content: object) -> Examination | None:
    """Check a stage's notebook as it is in an editor, and what config.yaml says about the stage.

    What is found is what `examine_workflow` finds about them once the notebook is saved, without
    what concerns its file only: its kernel, and outputs. Nothing is run or imported.

    Args:
        project: the project.
        path: the notebook, a file of a workflow's folder.
        content: it in Jupyter's format; cells with type, source and tags are enough.

    Returns:
        None if the notebook is no stage.

    Raises:
        ConfigurationError: `content` is no notebook.
    """
    folder = path.parent
    if not (folder / "config.yaml").is_file() or (folder / JOB_FILE).is_file():
        return None
    workflow, problems = load_workflow(folder)
    stages = {file: (name, values) for file, name, values in notebooks_of(folder, workflow)}
    if path not in stages:
        return None
    name, values = stages[path]
    cells = _cells(content)
    if sum(len(cell.source) for cell in cells) > MOST:
        text = f"the notebook has more than {MOST:,} characters and is not checked as it is written"
        hint = f"Save it, and check it: dataflow workflow validate {folder.name}"
        return Examination(warnings=[Problem(text, path, hint=hint)])
    environment = project.environment()
    config = read_yaml(folder / "config.yaml")
    found = Examination(list(_about(config, name, problems)))
    found.problems += _about(config, name, unset_variables(folder, environment))
    found.warnings += _about(config, name, secrets_in_clear(folder))
    secrets = secrets_of(folder, environment=environment)
    wrong, doubtful = examine_cells(path, cells, name, values, secrets, config, environment)
    found.problems += wrong
    found.warnings += doubtful
    code = list(code_of_cells(path, cells))
    found.warnings += raw_reads(project, folder, code)
    found.warnings += unknown_tables(project, code)
    if workflow is not None:
        alone = dataclasses.replace(workflow, stages=(workflow.stage(name),))
        found.problems += table_conflicts(project, alone)
        for table, problem in unwritten_sources(project, workflow).items():
            if any(f'"{table}"' in cell.source or f".{table}" in cell.source for cell in cells):
                found.warnings.append(problem)
    return found


def _cells(content: object) -> list[Any]:
    """The cells of a notebook in Jupyter's format, as far as checks look at them.

    Raises:
        ConfigurationError: it is no notebook.
    """
    from nbformat import NotebookNode

    cells = content.get("cells") if isinstance(content, Mapping) else None
    found = []
    for cell in cells if isinstance(cells, list) else [None]:
        source = cell.get("source") if isinstance(cell, dict) else None
        if isinstance(source, list):
            source = "".join(part for part in source if isinstance(part, str))
        if not isinstance(source, str) or not isinstance(cell.get("cell_type"), str):
            raise ConfigurationError("this is no notebook", hint="Save and open it again.")
        metadata = cell.get("metadata")
        tags = metadata.get("tags") if isinstance(metadata, dict) else None
        found.append(
            NotebookNode(
                cell_type=cell["cell_type"],
                source=source,
                metadata=NotebookNode(tags=tags if isinstance(tags, list) else []),
            )
        )
    return found


def _about(config: YamlFile, stage: str, problems: list[Problem]) -> Iterator[Problem]:
    """Those of a workflow's problems that concern a stage: not what is in another's section."""
    names = stage_names(config.data)
    others = {
        line
        for (top, *below), line in config.lines.items()
        if top == "stages" and below and isinstance(below[0], int) and names[below[0]] != stage
    }
    for problem in problems:
        elsewhere = problem.path == config.path and problem.line in others
        if not elsewhere or f"`{stage}`" in problem.message:
            yield problem
