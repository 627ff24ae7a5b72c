"""The kinds of workflows."""

from __future__ import annotations

from dataflow.orchestration.notebooks.steps import NotebookSteps
from dataflow.orchestration.python.steps import PythonSteps
from dataflow.orchestration.steps import WorkflowSteps
from dataflow.project import Project
from dataflow.workflows.model import Workflow
from dataflow.workflows.python_workflow import PythonWorkflow


def steps_of(project: Project, workflow: Workflow) -> WorkflowSteps:
    """The steps of `workflow`, by its kind."""
    kind = PythonSteps if isinstance(workflow, PythonWorkflow) else NotebookSteps
    return kind(project, workflow)
