"""What a workflow's own code makes: the assets that its dbt models and its publish wait for."""

from __future__ import annotations

from dataflow.dbt.project import has_models, models_of, read_manifest
from dataflow.orchestration import names
from dataflow.project import Project
from dataflow.workflows.model import Workflow
from dataflow.workflows.python_workflow import builds_models

Key = tuple[str, ...]


def has_dbt_step(project: Project, workflow: Workflow) -> bool:
    """Whether a run builds the workflow's models in a step of its own.

    Not where there are none, and not where an op of a Python workflow builds them.
    """
    return has_models(project, workflow.id) and not builds_models(workflow)


def last_keys(project: Project, workflow: Workflow) -> list[list[str]]:
    """The asset keys that what follows the stages, or the job, waits for."""
    if workflow.job_file is not None:
        return [list(key) for key in job_outputs(project, workflow)]
    return [key for stage in workflow.last_stages for key in names.stage_keys(stage)]


def job_outputs(project: Project, workflow: Workflow) -> dict[Key, set[Key]]:
    """The assets that the job of a Python workflow makes, each with those it is made from.

    They are the tables that the dbt sources name in the workflow's raw schema and, where the
    job builds the models, the models; one for the job itself when there are none.
    """
    found: dict[Key, set[Key]] = {}
    if has_models(project, workflow.id):
        manifest = read_manifest(project, workflow)
        own = {
            name: (node["schema"], node["identifier"])
            for name, node in manifest["sources"].items()
            if node["schema"] == workflow.raw_schema
        }
        found = {key: set() for key in own.values()}
        if builds_models(workflow):
            models = models_of(manifest, workflow)
            known = own | {name: (node["schema"], node["alias"]) for name, node in models.items()}
            for name, node in models.items():
                before = node.get("depends_on", {}).get("nodes", [])
                found[known[name]] = {known[other] for other in before if other in known}
    return found or {("jobs", workflow.id): set()}
