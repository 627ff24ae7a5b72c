"""The last two steps: publish what passed, then show it."""

import os
from typing import Any

import dagster as dg

from dataflow.errors import DashboardError, DataflowError
from dataflow.orchestration import names
from dataflow.orchestration.step import archived_step
from dataflow.project import Project
from dataflow.workflows.model import Workflow

NO_BUILD_VARIABLE = "DATAFLOW_NO_BUILD"


def published_asset(project: Project, workflow: Workflow) -> Any:
    """The Dagster asset of what readers see: made only when stages, checks and tests passed."""
    from dataflow.orchestration.dbt_project import model_keys
    from dataflow.orchestration.outputs import has_dbt_step, last_keys

    if has_dbt_step(project, workflow):
        upstream = model_keys(project, workflow, last_only=True)
    else:
        upstream = last_keys(project, workflow)

    @dg.multi_asset(
        name=names.op_name(workflow.id, names.PUBLISH),
        specs=[
            dg.AssetSpec(
                names.published_key(workflow),
                deps=upstream,
                group_name=workflow.id,
                kinds={"duckdb"},
                description=f"The schemas {', '.join(workflow.schemas)} as readers see them.",
            )
        ],
    )
    def publish(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from dataflow.warehouse.publish import publish as publish_schemas

        with archived_step(context, project, workflow, names.PUBLISH) as step:
            try:
                published = publish_schemas(
                    project, workflow.id, schemas=list(workflow.schemas), run_id=context.run_id
                )
            except DataflowError as error:
                raise dg.Failure(str(error)) from None
            step.facts["version"] = published.version
        return dg.MaterializeResult(
            metadata={
                "version": published.version,
                "bytes copied": published.bytes_copied,
                "seconds": published.seconds,
            }
        )

    return publish


def dashboard_asset(project: Project, workflow: Workflow) -> Any:
    """The Dagster asset of the workflow's dashboard: fresh data, and pages if they changed."""

    @dg.multi_asset(
        name=names.op_name(workflow.id, names.DASHBOARD),
        specs=[
            dg.AssetSpec(
                names.dashboard_key(workflow),
                deps=[names.published_key(workflow)],
                group_name=workflow.id,
                kinds={"evidence"},
                description=f"http://localhost:9000/{workflow.slug}",
            )
        ],
    )
    def show(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with archived_step(context, project, workflow, names.DASHBOARD) as step:
            try:
                metadata = refresh_dashboard(project, workflow, context)
            except DataflowError as error:
                raise dg.Failure(str(error)) from None
            step.facts.update(metadata)
        return dg.MaterializeResult(
            metadata={"dashboard": dg.MetadataValue.url(f"http://localhost:9000/{workflow.slug}")}
            | {key: value for key, value in metadata.items() if key != "rows"}
        )

    return show


def refresh_dashboard(project: Project, workflow: Workflow, context: Any) -> dict[str, Any]:
    """Export the published tables for the dashboard, check its pages, build them if need be.

    With `DATAFLOW_NO_BUILD` set, the pages stay as they are: data and checks are what a test
    of a workflow needs, and Node is then not needed.

    Raises:
        DashboardError: a source query or a page's query fails, or the build does.
    """
    from dataflow.dashboard.build import BuildResult, build_pages
    from dataflow.dashboard.check import check_pages
    from dataflow.dashboard.export import export_sources
    from dataflow.dashboard.paths import build_folder

    exported = export_sources(project, [workflow.id], workflows=workflows_for_pages(project))
    problems = check_pages(project, [workflow.id])
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DashboardError(first.message + more, where=first.where(project.root), hint=first.hint)
    if os.environ.get(NO_BUILD_VARIABLE):
        context.log.info(f"the pages were not built: {NO_BUILD_VARIABLE} is set")
        built = BuildResult(False, 0.0, build_folder(project))
    else:
        built = build_pages(project, on_line=context.log.debug)
    return {
        "rows": exported.tables.get(workflow.id, {}),
        "bytes": exported.bytes,
        "export_seconds": round(exported.seconds, 3),
        "built": built.built,
        "build_seconds": round(built.seconds, 3) if built.built else 0.0,
    }


def workflows_for_pages(project: Project) -> list[dict[str, Any]]:
    """Every workflow as the pages list it, each with the run its data was published by."""
    from dataflow.runs.index import list_runs
    from dataflow.workflows.registry import read_workflows

    published: dict[str, dict[str, Any]] = {}
    for run in list_runs(project):
        step = run.steps.get(names.PUBLISH, {})
        if step.get("status") == "succeeded" and run.workflow_id not in published:
            published[run.workflow_id] = {"run_id": run.run_id, "finished_at": step["ended_at"]}
    return [
        {
            "id": registered.id,
            "name": registered.workflow.name,
            "description": registered.workflow.config.workflow.description,
            "owner": registered.workflow.config.workflow.owner,
            "schedule": registered.workflow.config.workflow.schedule,
            **published.get(registered.id, {}),
        }
        for registered in read_workflows(project)
        if registered.workflow is not None
    ]
