"""A workflow's configuration, as notebooks read it."""

from __future__ import annotations

from typing import Any

from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.variables import resolve as resolve  # what injected cells call


def load_config(workflow_id: str, project: Project | None = None) -> dict[str, Any]:
    """Read `notebooks/<workflow_id>/config.yaml` as plain dictionaries and lists.

    Every `${VAR}` is replaced by the environment's value; `.env` in the project's root
    is read first, without overriding what is set.

    Args:
        workflow_id: the name of the workflow's folder.
        project: the project; found from the working directory by default.

    Raises:
        WorkflowNotFound: there is no such workflow; the message has the nearest name.
        ConfigurationError: the file is not valid YAML, or a variable is not set.
    """
    from dataflow.workflows.registry import find_workflow_folder
    from dataflow.workflows.yaml_file import read_yaml

    project = project or Project.find()
    project.load_environment()
    file = read_yaml(find_workflow_folder(project, workflow_id) / "config.yaml")
    if file.problems:
        raise ConfigurationError(
            f"the configuration of workflow {workflow_id} is not valid",
            problems=file.problems,
            root=project.root,
        )
    try:
        resolved = resolve(file.data or {})
    except ConfigurationError as error:
        raise ConfigurationError(
            error.message, where=project.relative(file.path), hint=error.hint
        ) from None
    return dict(resolved)
