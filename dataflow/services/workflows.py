"""Which workflows the services go on without."""

from __future__ import annotations

from dataflow.project import Project


def broken_workflows(project: Project) -> dict[str, str]:
    """The workflows that cannot run, each with the first of its problems, in words.

    Nothing of theirs is executed: a workflow written in Python is judged by its configuration.
    """
    from dataflow.validation.workflow import validate_workflow
    from dataflow.workflows.registry import read_workflows

    project.load_environment()
    found = {}
    for registered in read_workflows(project):
        problems = registered.problems
        if registered.workflow is not None and registered.workflow.job_file is None:
            problems = validate_workflow(project, registered.folder)
        if problems:
            first = problems[0]
            found[registered.id] = f"{first.where(project.root)}: {first.message}"
    return found
