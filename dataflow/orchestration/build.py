"""The whole project in Dagster's terms: assets, jobs and schedules of every workflow."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import yaml

from dataflow.dashboard.paths import has_sources
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.dashboard import dashboard_asset, published_asset
from dataflow.orchestration.executor import run_executor
from dataflow.orchestration.kinds import steps_of
from dataflow.orchestration.sensors import sensors
from dataflow.orchestration.steps import WorkflowSteps
from dataflow.project import Project
from dataflow.workflows.model import Workflow, WorkflowConfig, WorkflowSection
from dataflow.workflows.registry import Registered, read_workflows, table_conflicts

logger = logging.getLogger("dataflow")

# The only workflow that is loaded in the processes of a run from the command line: the files of
# others cannot affect it.
ONLY_VARIABLE = "DATAFLOW_ONLY_WORKFLOW"
BROKEN_TAG = "dataflow/broken"


@dataclass(frozen=True)
class Part:
    """One workflow in Dagster's terms.

    Args:
        id: the workflow's id.
        job: its job; for a broken workflow, one that fails with the reason.
        assets: its assets; none for a broken workflow.
        schedules: its schedule, if it has one.
        steps: its steps; None when it is broken.
    """

    id: str
    job: Any
    assets: list[Any] = field(default_factory=list)
    schedules: list[Any] = field(default_factory=list)
    steps: WorkflowSteps | None = None


def build_definitions(project: Project) -> Any:
    """Dagster's definitions of every workflow of `project`; of one, in a run of the command line.

    Each is built and checked separately. An invalid one must not take the others down with it,
    nor go unseen: it is replaced by a job of the same name that fails with the reason.
    """
    only = os.environ.get(ONLY_VARIABLE)
    registered = [entry for entry in read_workflows(project) if only in (None, entry.id)]
    parts = [_part(project, entry) for entry in registered]
    try:
        dg.Definitions.validate_loadable(definitions := _definitions(parts))
    except Exception:  # two that are right each by itself: an asset or a step of one name
        return _definitions(_fitting(registered, parts))
    return definitions


def _fitting(registered: list[Registered], parts: list[Part]) -> list[Part]:
    """The parts that Dagster accepts together; of two that conflict, the later is broken."""
    kept: list[Part] = []
    for entry, part in zip(registered, parts, strict=True):
        try:
            dg.Definitions.validate_loadable(_definitions([*kept, part]))
        except Exception as error:
            part = _broken(entry, [f"it conflicts with the others: {error}"])
        kept.append(part)
    return kept


def _definitions(parts: list[Part]) -> Any:
    steps = [part.steps for part in parts if part.steps is not None]
    return dg.Definitions(
        assets=[asset for part in parts for asset in part.assets],
        jobs=[part.job for part in parts],
        schedules=[schedule for part in parts for schedule in part.schedules],
        sensors=sensors(),
        # For assets materialized on Dagster's pages, perhaps of several workflows.
        executor=run_executor(steps, parallel=True),
    )


def _part(project: Project, registered: Registered) -> Part:
    """A workflow's part of the definitions, checked to load in Dagster on its own."""
    workflow = registered.workflow
    problems = table_conflicts(project, workflow) if workflow else registered.problems
    if workflow is None or problems:
        lines = [f"{problem.where(project.root)}: {problem.message}" for problem in problems]
        return _broken(registered, lines)
    try:
        steps = steps_of(project, workflow)
        job = workflow_job(steps)
        part = Part(workflow.id, job, workflow_assets(steps), _schedules(workflow, job), steps)
        dg.Definitions.validate_loadable(_definitions([part]))
    except (Exception, SystemExit) as error:  # from the author's code, of whatever kind
        return _broken(registered, [str(error).strip() or type(error).__name__])
    return part


def _broken(registered: Registered, lines: list[str]) -> Part:
    """The replacement for a workflow that cannot run, which says why."""
    name = names.job_name(registered.id)
    text = f"workflow {registered.id} is broken: " + "; ".join(lines)
    logger.error("%s", text)

    @dg.op(name=f"{name}__broken", description=text)
    def fail() -> None:
        raise dg.Failure(
            f"{text}. `dataflow workflow validate {registered.id}` says more.", allow_retries=False
        )

    @dg.job(
        name=name,
        description=f"BROKEN. {text}",
        tags={"workflow": name, BROKEN_TAG: "true"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        fail()

    workflow = registered.workflow or _as_far_as_read(registered)
    schedules: list[Any] = []
    if workflow is not None:
        with contextlib.suppress(Exception):  # the schedule may be what is wrong
            schedules = _schedules(workflow, job)
    return Part(registered.id, job, schedules=schedules)


def _as_far_as_read(registered: Registered) -> Any:
    """The workflow's `workflow:` section, if that at least is valid: its schedule stays."""
    try:
        data = yaml.safe_load((registered.folder / "config.yaml").read_text("utf-8"))
        section = WorkflowSection.model_validate(data["workflow"])
    except Exception:  # whatever there is in a file
        return None
    config = WorkflowConfig.model_construct(workflow=section, stages=None)
    return Workflow(registered.id, registered.folder, config, ())


def _schedules(workflow: Workflow, job: Any) -> list[Any]:
    section = workflow.config.workflow
    if not section.schedule:
        return []
    return [
        dg.ScheduleDefinition(
            name=f"{job.name}_schedule",
            job=job,
            cron_schedule=section.schedule,
            execution_timezone=section.timezone,
            # A schedule in config.yaml is on at once: nobody has to switch it on in Dagster.
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"{workflow.name}: {section.schedule_in_words}",
        )
    ]


def workflow_assets(steps: WorkflowSteps) -> list[Any]:
    """The assets of one workflow, from its notebooks to its dashboard."""
    assets = steps.own_assets()
    if steps.has_dbt:
        # Importing dagster-dbt takes a while: only where there is something to build.
        from dataflow.orchestration.dbt import dbt_assets_of

        assets.append(dbt_assets_of(steps))
    assets.append(published_asset(steps))
    if has_sources(steps.project, steps.workflow.id):
        assets.append(dashboard_asset(steps))
    return assets


def workflow_job(steps: WorkflowSteps) -> Any:
    """The job that runs the whole workflow."""
    workflow = steps.workflow
    return dg.define_asset_job(
        workflow.id,
        selection=dg.AssetSelection.groups(workflow.id),
        description=workflow.config.workflow.description or workflow.name,
        executor_def=run_executor([steps], parallel=steps.is_parallel),
        tags={"workflow": workflow.id},
        config=steps.run_config({}),
    )
