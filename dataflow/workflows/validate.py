"""Everything that is wrong with a workflow, found without running anything."""

from __future__ import annotations

import ast
from pathlib import Path

from dataflow.errors import ConfigurationError, ParameterError, Problem
from dataflow.project import Project
from dataflow.stages.notebook import read_notebook
from dataflow.stages.parameters import read_declaration
from dataflow.stages.result import code_of
from dataflow.stages.values import check_values
from dataflow.workflows.load import load_workflow
from dataflow.workflows.model import Stage


def validate_workflow(project: Project, folder: Path) -> list[Problem]:
    """Check the configuration and every notebook of the workflow in `folder`.

    Returns:
        All problems found; none means that it can run.
    """
    workflow, problems = load_workflow(folder)
    if workflow is not None:
        for stage in workflow.stages:
            problems += validate_stage(stage)
    return problems


def validate_stage(stage: Stage) -> list[Problem]:
    """Check one notebook: format, syntax of each cell, parameters and their configured values."""
    try:
        notebook = read_notebook(stage.notebook)
    except ConfigurationError as error:
        return [Problem(error.message, stage.notebook, hint=error.hint)]
    problems = []
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type == "code":
            problems += _syntax_problems(stage.notebook, number, code_of(cell))
    declaration = read_declaration(stage.notebook, notebook.cells)
    if declaration.cell is not None:
        problems += declaration.problems
    try:
        check_values(declaration, stage.parameters, stage=stage.name)
    except ParameterError as error:
        problems += [problem for problem in error.problems if problem not in problems]
    return problems


def _syntax_problems(path: Path, number: int, source: str) -> list[Problem]:
    try:
        # IPython allows `await` at the top of a cell.
        compile(source, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
    except SyntaxError as error:
        return [Problem(f"cell {number}, line {error.lineno}: not valid Python: {error.msg}", path)]
    return []
