"""dbt for the ops of a Python workflow: build its models in one line.

::

    from dataflow.shared.dbt import run_dbt_models

    @op(ins={"stored": In(Nothing)})
    def build_models(context):
        run_dbt_models(context)
"""

from __future__ import annotations

import os
from typing import Any

from dataflow.base.words import counted
from dataflow.errors import ConfigurationError
from dataflow.project import Project
from dataflow.runs.record import current_step


def run_dbt_models(
    context: Any, select: str | None = None, *, workflow: str | None = None
) -> dict[str, Any]:
    """Build the workflow's dbt models and run their tests, in an op of the workflow's job.

    dbt runs through dagster-dbt's `DbtCliResource`, on the working warehouse and under its
    write lock. The models' results are in the op's step of the run, dbt's output in `dbt.log`
    beside it, and each model is reported to Dagster as materialized.

    Args:
        context: the op's Dagster context.
        select: dbt's own selection; all models of the workflow by default.
        workflow: the workflow whose models they are; the running one by default.

    Returns:
        `models` (by table: status and seconds) and `checks` (dbt's tests).

    Raises:
        ConfigurationError: outside of a run, or the workflow has no models.
        dagster.Failure: a model or a test failed; says which, why, and in which file.
        WarehouseLocked: somebody else held the warehouse all the time.
    """
    from dataflow.dbt.build import building
    from dataflow.dbt.project import has_models, selection_of

    step = current_step.get()
    workflow = workflow or os.environ.get("DATAFLOW_WORKFLOW")
    if step is None or workflow is None:
        raise ConfigurationError(
            "run_dbt_models works in an op that a run executes",
            hint="By hand: `dataflow dbt build`.",
        )
    project = Project.find()
    if not has_models(project, workflow):
        raise ConfigurationError(
            f"workflow {workflow} has no dbt models",
            where=f"dbt/models/{workflow}",
            hint="Write one there, or remove run_dbt_models from the op.",
        )
    chosen = select or selection_of(project, workflow)
    with building(project, workflow, step, select=chosen) as build:
        build.invocation.wait()
    models, checks = build.results.models, build.results.checks
    step.facts["models"] = {**step.facts.get("models", {}), **models}
    step.facts["checks"] = [*step.facts.get("checks", []), *checks]
    for table, model in models.items():
        print(f"{table}: {model['status']}, {model['seconds']} s")
    print(f"{counted(len(checks), 'test')}, {sum(check['passed'] for check in checks)} passed")
    build.require_success()
    return {"models": models, "checks": checks}
