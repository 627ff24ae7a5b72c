"""dbt for the ops of a Python workflow: build its models in one line.

::

    from dataflow.shared.dbt import run_dbt_models

    @op(ins={"stored": In(Nothing)})
    def build_models(context):
        run_dbt_models(context)
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from dataflow.errors import ConfigurationError


def run_dbt_models(
    context: Any, select: str | None = None, *, workflow: str | None = None
) -> dict[str, Any]:
    """Build the workflow's dbt models and run their tests, in an op of the workflow's job.

    dbt runs through dagster-dbt's `DbtCliResource`, on the working warehouse and under its
    write lock. The models' results stand in the op's step of the run, what dbt said in
    `dbt.log` beside it, and each model is reported to Dagster as materialized.

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
    import dagster as dg

    from dataflow.orchestration.clean import clean_log
    from dataflow.orchestration.dbt_project import dbt_environment, has_models
    from dataflow.orchestration.dbt_resource import dbt_resource, time_limit
    from dataflow.orchestration.dbt_results import failures_in, read_results
    from dataflow.orchestration.op_step import current_step
    from dataflow.project import Project
    from dataflow.warehouse.lock import write_lock
    from dataflow.warehouse.provenance import note_models

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
            hint="Write one there, or take run_dbt_models out of the op.",
        )
    target = project.state / "dbt" / f"{context.run_id}-{step.name}"
    target.mkdir(parents=True, exist_ok=True)
    with _environment(dbt_environment(project)):
        dbt = dbt_resource(project, target)
        selection = select or f"fqn:{project_name(project.dbt)}.{workflow}"
        try:
            with (
                write_lock(project, f"dbt build of {workflow}", run_id=context.run_id),
                clean_log(step.archive.folder / "dbt.log", step.secrets),
            ):
                invocation = dbt.cli(
                    ["build", "--select", selection],
                    target_path=target,
                    raise_on_error=False,
                )
                with time_limit(invocation):
                    invocation.wait()
                results = read_results(target)
                note_models(
                    project,
                    results.built,
                    run_id=context.run_id,
                    workflow=workflow,
                    step=step.name,
                )
            failures = failures_in(results, project)
        finally:
            shutil.rmtree(target, ignore_errors=True)
    facts = results.facts
    step.facts["models"] = {**step.facts.get("models", {}), **facts["models"]}
    step.facts["checks"] = [*step.facts.get("checks", []), *facts["checks"]]
    for table, model in facts["models"].items():
        print(f"{table}: {model['status']}, {model['seconds']} s")
    print(f"{len(facts['checks'])} tests, {sum(c['passed'] for c in facts['checks'])} passed")
    if failures or not invocation.is_successful():
        message = "\n".join(failures) or "dbt build failed; dbt.log in the run's folder says why"
        raise dg.Failure(message, allow_retries=False)
    return facts


def project_name(folder: Path) -> str:
    """The name of the dbt project in `folder`, which its selections start with."""
    import yaml

    return str(yaml.safe_load((folder / "dbt_project.yml").read_text("utf-8"))["name"])


@contextlib.contextmanager
def _environment(wanted: dict[str, str]) -> Any:
    """The environment dbt needs: dagster-dbt hands its own process's on."""
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
