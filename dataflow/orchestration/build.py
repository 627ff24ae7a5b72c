"""All of the project in Dagster's terms: assets, jobs and schedules of every workflow."""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg

from dataflow.dashboard.paths import has_sources
from dataflow.errors import ConfigurationError
from dataflow.orchestration.dashboard import dashboard_asset, published_asset
from dataflow.orchestration.executor import run_executor
from dataflow.orchestration.lost import lost_runs_sensor
from dataflow.orchestration.outputs import has_dbt_step
from dataflow.orchestration.stages import stage_asset
from dataflow.project import Project
from dataflow.workflows.model import Workflow
from dataflow.workflows.registry import read_workflows

logger = logging.getLogger("dataflow")


def build_definitions(project: Project) -> Any:
    """Dagster's definitions of every valid workflow of `project`.

    A workflow that is not valid is left out, with its problems in the log: it must not take
    the others' schedules down with it.
    """
    assets, jobs, schedules = [], [], []
    valid: dict[str, Workflow] = {}
    for registered in read_workflows(project):
        if registered.workflow is None:
            for problem in registered.problems:
                logger.error(
                    "workflow %s is left out: %s: %s",
                    registered.id,
                    problem.where(project.root),
                    problem.message,
                )
            continue
        workflow = registered.workflow
        try:
            own = workflow_assets(project, workflow)
            job = workflow_job(project, workflow)
        except ConfigurationError as error:
            if workflow.job_file is None:
                raise
            logger.error("workflow %s is left out: %s", workflow.id, error)
            continue
        assets += own
        valid[workflow.id] = workflow
        jobs.append(job)
        if workflow.config.workflow.schedule:
            schedules.append(
                dg.ScheduleDefinition(
                    name=f"{workflow.id}_schedule",
                    job=job,
                    cron_schedule=workflow.config.workflow.schedule,
                    execution_timezone=workflow.config.workflow.timezone,
                    # Written in config.yaml means meant: nobody has to switch it on again.
                    default_status=dg.DefaultScheduleStatus.RUNNING,
                    description=f"{workflow.name}: {workflow.config.workflow.schedule}",
                )
            )
    return dg.Definitions(
        assets=assets,
        jobs=jobs,
        schedules=schedules,
        sensors=[lost_runs_sensor()],
        # Of assets that somebody materializes on Dagster's pages, maybe of several workflows.
        executor=run_executor(project, valid, parallel=True),
    )


def workflow_assets(project: Project, workflow: Workflow) -> list[Any]:
    """The assets of one workflow, from its notebooks to its dashboard."""
    if workflow.job_file is not None:
        from dataflow.orchestration.python_job import job_asset

        assets = [job_asset(project, workflow)]
    else:
        assets = [stage_asset(project, workflow, stage) for stage in workflow.stages]
    if has_dbt_step(project, workflow):
        # Importing dagster-dbt takes seconds: only where there is something to build.
        from dataflow.orchestration.dbt import dbt_assets_of

        assets.append(dbt_assets_of(project, workflow))
    assets.append(published_asset(project, workflow))
    if has_sources(project, workflow.id):
        assets.append(dashboard_asset(project, workflow))
    return assets


def workflow_job(project: Project, workflow: Workflow) -> Any:
    """The job that runs the whole workflow."""
    config = None
    if workflow.job_file is not None:
        from dataflow.orchestration.python_config import job_config

        config = job_config(project, workflow)
    return dg.define_asset_job(
        workflow.id,
        selection=dg.AssetSelection.groups(workflow.id),
        description=workflow.config.workflow.description or workflow.name,
        executor_def=run_executor(project, {workflow.id: workflow}, parallel=is_parallel(workflow)),
        tags={"workflow": workflow.id},
        config=config,
    )


def is_parallel(workflow: Workflow) -> bool:
    """Whether two of the workflow's stages could run at the same time."""
    return any(
        len(stage.after) != (1 if number else 0)
        or (number > 0 and stage.after[0] != workflow.stages[number - 1].name)
        for number, stage in enumerate(workflow.stages)
    )
