"""The last two steps: publish what passed, then show it."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from dataflow.addresses import service_url
from dataflow.dashboard.paths import has_sources
from dataflow.dashboard.refresh import refresh_dashboard
from dataflow.dbt.project import model_keys
from dataflow.errors import DataflowError
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.approval import publish_or_await, supersede
from dataflow.orchestration.data_review import note_data_review
from dataflow.orchestration.live import tell
from dataflow.orchestration.selection import refuse_unpassed
from dataflow.orchestration.step import is_interrupt, recorded_step
from dataflow.orchestration.steps import WorkflowSteps
from dataflow.project import Project
from dataflow.runs.record import AWAITING, SHORT, RunRecord
from dataflow.warehouse.store import (
    Published,
    candidate_path,
    publish,
    published_kept,
    published_path,
    published_runs,
)
from dataflow.workflows.model import Workflow


def published_asset(steps: WorkflowSteps) -> Any:
    """The Dagster asset of what readers see: made only when stages, checks and tests passed."""
    workflow = steps.workflow
    upstream = steps.last_keys()
    if steps.has_dbt:
        upstream = model_keys(steps.project, workflow, last_only=True)

    @dg.multi_asset(
        name=names.op_name(workflow.id, names.PUBLISH),
        specs=[
            dg.AssetSpec(
                names.published_key(workflow.id),
                deps=upstream,
                group_name=workflow.id,
                kinds={"duckdb"},
                # What awaits review is not published, and its dashboard not shown.
                skippable=workflow.config.workflow.review is not None,
                description=f"The schemas {', '.join(workflow.schemas)} as readers see them.",
            )
        ],
    )
    def publish(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        project = steps.project
        with recorded_step(context, steps, names.PUBLISH) as step, published_kept(project) as old:
            try:
                published = _publish_or_await(steps, step.record)
                if published is None:
                    candidate = candidate_path(project, workflow.id, context.run_id)
                    note_data_review(step, steps, old, candidate, context.log)
                    step.facts["status"] = AWAITING
                    context.log.info(f"{AWAITING}: dataflow runs approve {context.run_id[:SHORT]}")
                    return
                step.facts["version"] = published.version
                with published_kept(project) as new:
                    note_data_review(step, steps, old, new, context.log)
            except DataflowError as error:
                raise dg.Failure(str(error)) from None
            except BaseException as error:
                # Cancelled when readers had it already: the record must not say otherwise.
                if is_interrupt(error) and _have_readers(steps, context.run_id):
                    step.is_done = True
                raise
        yield dg.MaterializeResult(
            metadata={
                "version": published.version,
                "bytes copied": published.bytes_copied,
                "seconds": published.seconds,
            }
        )

    return publish


def _have_readers(steps: WorkflowSteps, run_id: str) -> bool:
    """Whether readers have what a run made."""
    published = published_runs(published_path(steps.project)).get(steps.workflow.id, {})
    return published.get("run_id") == run_id


def _publish_or_await(steps: WorkflowSteps, record: RunRecord) -> Published | None:
    """Publish what a run made; None if it has to be reviewed first."""
    project, workflow = steps.project, steps.workflow
    if workflow.config.workflow.review is None:
        return publish_workflow(steps, run_id=record.run_id)
    shown = has_sources(project, workflow.id)
    return publish_or_await(
        project,
        workflow,
        record,
        lambda: publish_workflow(steps, run_id=record.run_id, for_review=True),
        steps.version(names.DASHBOARD) if shown else None,
    )


def publish_workflow(
    steps: WorkflowSteps, *, run_id: str | None = None, for_review: bool = False
) -> Published:
    """Publish a workflow's schemas from the working warehouse, and of schemas that it shares
    with others the tables it declares.

    Args:
        steps: the workflow's steps.
        run_id: the run that made them and must have passed; None by hand.
        for_review: keep them aside as the run's candidate version.

    Raises:
        ConfigurationError: an earlier step of the run did not pass.
        WarehouseError: a declared table would be lost, a run's table was written by hand since,
            or the version cannot be made.
    """
    workflow = steps.workflow
    if run_id is not None:
        declared = refuse_unpassed(steps)
    else:
        declared = {table: None for step in steps.all for table in steps.tables(step.name)}
    published = publish(
        steps.project,
        workflow.id,
        list(workflow.schemas),
        shared=workflow.shared_tables,
        declared=declared,
        run_id=run_id,
        for_review=for_review,
    )
    if not for_review:
        supersede(steps.project, workflow.id, run_id)
    return published


def dashboard_asset(steps: WorkflowSteps) -> Any:
    """The Dagster asset of the workflow's dashboard: fresh data, and pages if they changed."""
    project, workflow = steps.project, steps.workflow

    @dg.multi_asset(
        name=names.op_name(workflow.id, names.DASHBOARD),
        specs=[
            dg.AssetSpec(
                names.dashboard_key(workflow),
                deps=[names.published_key(workflow.id)],
                group_name=workflow.id,
                kinds={"evidence"},
                description=_address(project, workflow),
            )
        ],
    )
    def show(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with recorded_step(context, steps, names.DASHBOARD) as step:
            try:
                metadata = refresh_dashboard(
                    project, workflow.id, on_line=context.log.debug, on_progress=tell
                )
            except DataflowError as error:
                raise dg.Failure(str(error)) from None
            for warning in metadata["warnings"]:
                context.log.warning(warning)
            step.facts.update(metadata)
        return dg.MaterializeResult(
            metadata={"dashboard": dg.MetadataValue.url(_address(project, workflow))}
            | {key: value for key, value in metadata.items() if key not in ("rows", "warnings")}
        )

    return show


def _address(project: Project, workflow: Workflow) -> str:
    return f"{service_url(project, 'evidence')}/{workflow.slug}"
