"""Which workflows the services go on without."""

from __future__ import annotations

from dataflow.project import Project


def broken_workflows(project: Project) -> dict[str, str]:
    """The workflows that cannot run, each with the first of its problems, in words.

    Nothing of theirs is executed.
    """
    from dataflow.validation.workflow import examine_workflow
    from dataflow.workflows.registry import workflow_folders

    project.load_environment()
    found = {}
    for folder in workflow_folders(project):
        if problems := examine_workflow(project, folder, execute=False).problems:
            found[folder.name] = f"{problems[0].where(project.root)}: {problems[0].message}"
    return found
