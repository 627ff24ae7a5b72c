"""dbt models as Dagster assets: one `dbt build` per workflow and run, its tests as checks."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from dataflow.dbt.build import building
from dataflow.dbt.project import read_manifest, selection_of, workflow_of
from dataflow.dbt.without_dbt import dagster_dbt, selecting_in_manifest
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.step import recorded_step
from dataflow.orchestration.steps import WorkflowSteps


def dbt_assets_of(steps: WorkflowSteps) -> Any:
    """The Dagster assets of the workflow's dbt models; dbt's tests are their checks."""
    project, workflow = steps.project, steps.workflow
    manifest = read_manifest(project, workflow)
    last = steps.last_keys()
    own = {name for name, node in manifest["nodes"].items() if workflow_of(node) == workflow.id}

    class Translator(dagster_dbt.DagsterDbtTranslator):
        """Keys as tables are queried; a model without upstream models waits for all stages."""

        def get_asset_key(self, dbt_resource_props: Any) -> dg.AssetKey:
            table = dbt_resource_props.get("identifier") or dbt_resource_props["alias"]
            return dg.AssetKey([dbt_resource_props["schema"], table])

        def get_group_name(self, dbt_resource_props: Any) -> str:
            return workflow_of(dict(dbt_resource_props))

        def get_asset_spec(self, manifest: Any, unique_id: str, project: Any) -> dg.AssetSpec:
            spec = super().get_asset_spec(manifest, unique_id, project)
            props = self.get_resource_props(manifest, unique_id)
            if own.isdisjoint(props.get("depends_on", {}).get("nodes", [])):
                # A stage that only checks, without tables, must be able to stop what follows, and
                # a model may read a stage's table without naming it as a source.
                known = {dep.asset_key for dep in spec.deps}
                more = [dg.AssetDep(dg.AssetKey(k)) for k in last if dg.AssetKey(k) not in known]
                spec = spec.replace_attributes(deps=[*spec.deps, *more])
            return spec

    settings = dagster_dbt.DagsterDbtTranslatorSettings(enable_asset_checks=True)
    with selecting_in_manifest():
        assets = dagster_dbt.dbt_assets(
            manifest=manifest,
            select=selection_of(project, workflow.id),
            name=names.op_name(workflow.id, names.DBT),
            dagster_dbt_translator=Translator(settings),
        )

        @assets
        def build_models(context: dg.AssetExecutionContext) -> Iterator[Any]:
            with recorded_step(context, steps, names.DBT) as step:
                step.facts["log"] = "dbt.log"
                with building(project, workflow.id, step, context=context) as build:
                    yield from build.invocation.stream()
                step.facts.update(models=build.results.models, checks=build.results.checks)
                build.require_success()

    return build_models
