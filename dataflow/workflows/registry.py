"""Which workflows the project has, and where those written in Python register."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dataflow.base.sql import schemas_of
from dataflow.base.words import nearest
from dataflow.errors import ConfigurationError, Problem, WorkflowNotFound
from dataflow.project import Project
from dataflow.workflows.load import load_workflow
from dataflow.workflows.model import Workflow
from dataflow.workflows.registration import register_workflow as register_workflow


@dataclass(frozen=True)
class Registered:
    """A workflow's folder and the result of reading it.

    Args:
        id: the folder's name.
        folder: the folder.
        workflow: the workflow, None when its configuration is not valid.
        problems: what is wrong with it.
    """

    id: str
    folder: Path
    workflow: Workflow | None
    problems: list[Problem] = field(default_factory=list)


def workflow_folders(project: Project) -> list[Path]:
    """The folders below `notebooks/` that hold a `config.yaml`, in name order."""
    if not project.notebooks.is_dir():
        return []
    return sorted(path.parent for path in project.notebooks.glob("*/config.yaml"))


def other_workflows(project: Project, workflow_id: str) -> set[str]:
    """The ids of all workflows but one, the broken ones included."""
    return {folder.name for folder in workflow_folders(project)} - {workflow_id}


def read_workflows(project: Project) -> list[Registered]:
    """Every workflow of the project, the broken ones with their problems."""
    return [read_workflow(folder) for folder in workflow_folders(project)]


def read_workflow(folder: Path) -> Registered:
    """The workflow in `folder`, broken or not."""
    return Registered(folder.name, folder, *load_workflow(folder))


def find_workflow_folder(project: Project, workflow_id: str) -> Path:
    """The folder of workflow `workflow_id`; dashes count as underscores.

    Raises:
        WorkflowNotFound: there is none; the hint has the nearest name.
    """
    folders = {folder.name: folder for folder in workflow_folders(project)}
    folder = folders.get(workflow_id) or folders.get(workflow_id.replace("-", "_"))
    if folder is None:
        raise WorkflowNotFound(
            f"there is no workflow `{workflow_id}`",
            hint=nearest(workflow_id, folders) or "notebooks/ has no folder with a config.yaml.",
        )
    return folder


def get_workflow(project: Project, workflow_id: str) -> Workflow:
    """Read workflow `workflow_id`.

    Raises:
        WorkflowNotFound: there is none.
        ConfigurationError: its configuration is not valid; carries every problem.
    """
    folder = find_workflow_folder(project, workflow_id)
    workflow, problems = load_workflow(folder)
    if workflow is None:
        raise ConfigurationError(
            f"workflow {folder.name} is not valid", problems=problems, root=project.root
        )
    return workflow


def table_conflicts(project: Project, workflow: Workflow) -> list[Problem]:
    """The tables that `workflow` writes and that belong to another: only one may write a table.

    To another workflow belong the tables in its schemas, and those it declares in a shared one.
    """
    if not workflow.shared_tables:
        return []
    problems = []
    for other in read_workflows(project):
        if other.id == workflow.id:
            continue
        schemas = schemas_of(other.id)
        declared = other.workflow.shared_tables if other.workflow is not None else ()
        for table in workflow.shared_tables:
            if table.schema in schemas or table in declared:
                problems.append(
                    Problem(
                        f"the table {table} also belongs to workflow {other.id}",
                        workflow.folder / "config.yaml",
                        hint="Only one workflow may write a table: read it, or write another.",
                    )
                )
    return problems
