"""The last two steps: publish what passed, then show it."""

import os
from collections.abc import Callable
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
                metadata = refresh_dashboard(project, workflow, context.log.debug)
            except DataflowError as error:
                raise dg.Failure(str(error)) from None
            for warning in metadata["warnings"]:
                context.log.warning(warning)
            step.facts.update(metadata)
        return dg.MaterializeResult(
            metadata={"dashboard": dg.MetadataValue.url(f"http://localhost:9000/{workflow.slug}")}
            | {key: value for key, value in metadata.items() if key not in ("rows", "warnings")}
        )

    return show


def refresh_dashboard(
    project: Project, workflow: Workflow, on_line: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Show the published tables of a workflow: export, try the pages' queries, build, swap.

    Data and pages come in together at the end; when anything fails, what is shown stays.
    With `DATAFLOW_NO_BUILD` set, the pages stay as they are: data and checks are what a test
    of a workflow needs, and Node is then not needed.

    Args:
        project: the project.
        workflow: whose dashboard it is; one without source queries has nothing to export.
        on_line: called with each line that the build of the pages prints.

    Returns:
        What was done: `rows` by table, `bytes`, `export_seconds`, `built`, `build_seconds`,
        and `warnings`.

    Raises:
        DashboardError: a source query or a page's query fails, or the build does.
    """
    from dataflow.dashboard.build import staged_pages
    from dataflow.dashboard.check import check_pages
    from dataflow.dashboard.export import staged_export
    from dataflow.dashboard.sizes import big_tables

    everyone = workflows_for_pages(project)
    with staged_export(project, [workflow.id], workflows=everyone) as export:
        problems = check_pages(project, [workflow.id], export.files())
        if problems:
            first = problems[0]
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise DashboardError(
                first.message + more, where=first.where(project.root), hint=first.hint
            )
        facts: dict[str, Any] = {
            "rows": export.result.tables.get(workflow.id, {}),
            "bytes": export.result.bytes,
            "export_seconds": round(export.result.seconds, 3),
            "built": False,
            "build_seconds": 0.0,
            "warnings": [
                f"{big.where(project.root)}: {big.message}. {big.hint}"
                for big in big_tables(project, workflow.id, export.files().get(workflow.id, {}))
            ],
        }
        if os.environ.get(NO_BUILD_VARIABLE):
            on_line(f"the pages were not built: {NO_BUILD_VARIABLE} is set")
            export.show()
            return facts
        with staged_pages(project, workflow.id, on_line=on_line) as pages:
            export.show(pages.shown)
            facts["warnings"] += pages.warnings
            if pages.result.built:
                facts |= {"built": True, "build_seconds": round(pages.result.seconds, 3)}
    return facts


def workflows_for_pages(project: Project) -> list[dict[str, Any]]:
    """Every workflow as the pages list it, the broken ones with what is wrong."""
    from dataflow.workflows.registry import read_workflows

    listed: list[dict[str, Any]] = []
    for registered in read_workflows(project):
        if registered.workflow is None:
            problem = registered.problems[0].message if registered.problems else "it is not valid"
            listed.append({"id": registered.id, "problem": problem})
            continue
        about = registered.workflow.config.workflow
        listed.append(
            {
                "id": registered.id,
                "name": registered.workflow.name,
                "description": about.description,
                "owner": about.owner,
                "schedule": about.schedule,
            }
        )
    return listed
