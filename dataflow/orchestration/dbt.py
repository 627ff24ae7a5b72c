"""dbt models as Dagster assets: one `dbt build` per workflow and run, its tests as checks."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    dbt_assets,
)

from dataflow.orchestration import names
from dataflow.orchestration.clean import clean_log
from dataflow.orchestration.dbt_project import dbt_environment, read_manifest, workflow_of
from dataflow.orchestration.dbt_resource import dbt_resource, time_limit
from dataflow.orchestration.dbt_results import failures_in, read_results
from dataflow.orchestration.outputs import last_keys
from dataflow.orchestration.step import archived_step
from dataflow.project import Project
from dataflow.warehouse.lock import write_lock
from dataflow.warehouse.provenance import note_models
from dataflow.workflows.model import Workflow


def dbt_assets_of(project: Project, workflow: Workflow) -> Any:
    """The Dagster assets of the workflow's dbt models; dbt's tests are their checks."""
    manifest = read_manifest(project, workflow)
    last = last_keys(project, workflow)
    own = {name for name, node in manifest["nodes"].items() if workflow_of(node) == workflow.id}

    class Translator(DagsterDbtTranslator):
        """Keys as one queries the tables; what builds on no other model waits for all stages."""

        def get_asset_key(self, dbt_resource_props: Any) -> dg.AssetKey:
            table = dbt_resource_props.get("identifier") or dbt_resource_props["alias"]
            return dg.AssetKey([dbt_resource_props["schema"], table])

        def get_group_name(self, dbt_resource_props: Any) -> str:
            return workflow_of(dict(dbt_resource_props))

        def get_asset_spec(self, manifest: Any, unique_id: str, project: Any) -> dg.AssetSpec:
            spec = super().get_asset_spec(manifest, unique_id, project)
            props = self.get_resource_props(manifest, unique_id)
            if own.isdisjoint(props.get("depends_on", {}).get("nodes", [])):
                # A stage without tables that only checks must be able to stop what follows, and
                # a model may read a stage's table without naming it as a source.
                known = {dep.asset_key for dep in spec.deps}
                more = [dg.AssetDep(dg.AssetKey(k)) for k in last if dg.AssetKey(k) not in known]
                spec = spec.replace_attributes(deps=[*spec.deps, *more])
            return spec

    @dbt_assets(
        manifest=manifest,
        # By name, not by path: dbt resolves paths against the working directory.
        select=f"fqn:{manifest['metadata']['project_name']}.{workflow.id}",
        name=names.op_name(workflow.id, names.DBT),
        dagster_dbt_translator=Translator(DagsterDbtTranslatorSettings(enable_asset_checks=True)),
    )
    def build_models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        with archived_step(context, project, workflow, names.DBT) as step:
            target = project.state / "dbt" / context.run_id
            target.mkdir(parents=True, exist_ok=True)
            os.environ.update(dbt_environment(project))  # dagster-dbt hands its own on
            dbt = dbt_resource(project, target)
            try:
                yield from _build(context, project, workflow, dbt, target, step)
            finally:
                shutil.rmtree(target, ignore_errors=True)

    return build_models


def _build(
    context: Any, project: Project, workflow: Workflow, dbt: Any, target: Path, step: Any
) -> Iterator[Any]:
    with (
        write_lock(project, f"dbt build of {workflow.id}", run_id=context.run_id),
        clean_log(step.archive.folder / "dbt.log", step.secrets),
    ):
        invocation = dbt.cli(
            ["build"],
            context=context,
            target_path=target,
            raise_on_error=False,
        )
        # Started here, under the lock.
        with time_limit(invocation):
            yield from invocation.stream()
        results = read_results(target)
        note_models(
            project, results.built, run_id=context.run_id, workflow=workflow.id, step=names.DBT
        )
    step.facts.update(results.facts)
    step.facts["log"] = "dbt.log"
    failures = failures_in(results, project)
    if failures or not invocation.is_successful():
        message = "\n".join(failures) or "dbt build failed; see dbt.log"
        step.facts["error"] = {"message": message}
        raise dg.Failure(message, allow_retries=False)
