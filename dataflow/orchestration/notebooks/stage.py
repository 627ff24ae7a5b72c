"""A stage as a Dagster asset: one step that makes the tables the stage writes."""

import sys
from collections.abc import Iterator
from typing import Any

import dagster as dg

from dataflow.engine.secrets import Scrubber
from dataflow.errors import DataflowError
from dataflow.orchestration import dagster_names as names
from dataflow.orchestration.live import LiveOutput, tell
from dataflow.orchestration.notebooks.config_schema import config_schema, from_config
from dataflow.orchestration.notebooks.results import (
    check_results,
    check_writes,
    dagster_metadata,
    declared_writes_check,
    key_of,
    report_yielded,
    stage_facts,
)
from dataflow.orchestration.preload import import_meanwhile
from dataflow.orchestration.step import check_border, note_writes, recorded_step
from dataflow.orchestration.steps import WorkflowSteps
from dataflow.project import Project
from dataflow.runs.html import write_page_soon
from dataflow.runs.record import Step
from dataflow.stages.context import context_file
from dataflow.stages.execute import StageOutcome, execute_stage
from dataflow.stages.notebook import Stage, read_notebook
from dataflow.stages.parameters import read_declaration
from dataflow.stages.result import DeclaredCheck, declared_checks, plain
from dataflow.stages.slots import kernel_slot
from dataflow.stages.values import conceal
from dataflow.warehouse.store import forget_writes

RETRY_DELAY = 5  # seconds before the first retry; doubled for each one after that


def stage_asset(steps: WorkflowSteps, stage: Stage) -> Any:
    """The Dagster asset definition of `stage`.

    Its assets are the tables the stage declares in `writes`, or the notebook itself when it
    declares none; its asset checks are the `stage.check` calls found in the notebook.

    Raises:
        ConfigurationError: the notebook is not valid.
    """
    project, workflow = steps.project, steps.workflow
    cells = read_notebook(stage.notebook).cells
    declaration = read_declaration(stage.notebook, cells)
    checks = [*declared_checks(cells), *declared_writes_check(workflow)]
    keys = names.stage_keys(stage)
    upstream = [key for name in stage.after for key in names.stage_keys(workflow.stage(name))]

    @dg.multi_asset(
        name=names.op_name(workflow.id, stage.name),
        description=_description(project, stage, cells),
        specs=[
            dg.AssetSpec(
                key,
                deps=upstream,
                description=_description(project, stage, cells),
                group_name=workflow.id,
                code_version=steps.version(stage.name),
                kinds={"jupyter", "duckdb"} if stage.writes else {"jupyter"},
                owners=names.owners(workflow.config.workflow.owner),
                tags=names.tags(workflow.config.workflow.tags),
                metadata={"notebook": project.relative(stage.notebook)},
            )
            for key in keys
        ],
        check_specs=[
            dg.AssetCheckSpec(
                names.check_name(check.name),
                asset=key_of(stage, check.table),
                description=check.name,
                blocking=check.severity == "error",
            )
            for check in checks
        ],
        config_schema=config_schema(declaration.parameters, f"{workflow.id}_{stage.name}") or None,
        retry_policy=dg.RetryPolicy(
            max_retries=stage.retries, delay=RETRY_DELAY, backoff=dg.Backoff.EXPONENTIAL
        )
        if stage.retries
        else None,
    )
    def run_stage(context: dg.AssetExecutionContext) -> Iterator[Any]:
        # Dagster's database has what was typed on its pages; from here on, names replace secrets.
        chosen = conceal(
            declaration,
            from_config(context.op_execution_context.op_config or {}),
            stage=stage.name,
        )
        yield from _run(context, steps, stage, chosen, checks)

    return run_stage


def _run(
    context: Any,
    steps: WorkflowSteps,
    stage: Stage,
    chosen: dict[str, Any],
    checks: list[DeclaredCheck],
) -> Iterator[Any]:
    """The body of the step: execute, record, and report the outcome to Dagster."""
    project, workflow = steps.project, steps.workflow
    values = {**stage.parameters, **chosen}
    attempt = context.retry_number + 1
    recorded = {name: plain(value) for name, value in values.items()}
    with recorded_step(context, steps, stage.name, attempt=attempt, values=recorded) as step:
        forget_writes(project, context.run_id, stage.name)  # of an earlier try
        try:
            outcome = _execute(context, project, stage, values, step, attempt)
        except DataflowError as error:
            # Wrong parameters or a broken notebook stay wrong however often one tries.
            raise dg.Failure(str(error), allow_retries=False) from None
        if outcome.error is None:
            made = check_writes(project, workflow, stage, context.run_id, outcome)
            outcome.report.checks.extend([made] if made else [])
        step.facts.update(stage_facts(outcome))
        note_writes(project, context.run_id, step, outcome.counts)
        report_yielded(context, project)
        if outcome.error is not None:
            raise dg.Failure(
                failure_text(project, stage, outcome),
                metadata=dagster_metadata(project, step.record, outcome),
            )
        failed = outcome.report.failed_checks
        if failed:
            step.facts["status"] = "failed"
            step.facts["error"] = {"message": "check failed: " + "; ".join(map(_in_words, failed))}
        else:
            check_border(steps, context.run_id, step)
    yield from _events(context, project, stage, outcome, checks, step)


def _execute(
    context: Any,
    project: Project,
    stage: Stage,
    values: dict[str, Any],
    step: Step,
    attempt: int,
) -> StageOutcome:
    notebook = step.record.executed_notebook(stage.name, attempt)
    live = LiveOutput(context.log, stage.name, sys.stderr)

    def waiting(text: str) -> None:
        tell(f"{stage.name}: {text}")
        context.log.info(text)

    try:
        with (
            kernel_slot(project, f"stage {stage.name} of {stage.workflow_id}", waiting),
            context_file(project, context, step.secrets) as environment,
        ):
            outcome = execute_stage(
                project,
                stage,
                values,
                run_id=context.run_id,
                output=notebook,
                scrubber=Scrubber(step.secrets),
                environment=environment,
                on_output=live.write,
                on_ready=import_meanwhile,
            )
        if outcome.why_started:
            context.log.info(f"The kernel was started, not forked: {outcome.why_started}")
        return outcome
    finally:
        live.close()
        if notebook.exists():
            step.facts["notebook"] = notebook.name  # also of a stage that was cancelled
            write_page_soon(notebook)


def _events(
    context: Any,
    project: Project,
    stage: Stage,
    outcome: StageOutcome,
    checks: list[DeclaredCheck],
    step: Step,
) -> Iterator[Any]:
    results = check_results(stage, outcome, checks, context.log)
    for key in names.stage_keys(stage):
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=dagster_metadata(project, step.record, outcome, table=".".join(key)),
            check_results=[result for result in results if list(result.asset_key.path) == key],
        )
    failed = dict.fromkeys(check["name"] for check in outcome.report.failed_checks)
    if failed:
        # Not left to Dagster, which stops only for checks and severities it knew in advance.
        raise dg.Failure(f"check failed: {', '.join(failed)}", allow_retries=False)


def failure_text(project: Project, stage: Stage, outcome: StageOutcome) -> str:
    """A failed stage in words: what, where, and the executed notebook to open."""
    assert outcome.error is not None
    return (
        f"stage {stage.name} failed in {outcome.error.headline}. "
        f"Executed notebook: {project.relative(outcome.notebook)}"
    )


def _description(project: Project, stage: Stage, cells: list[Any]) -> str:
    """The notebook's first markdown cell: what it does, in its author's words."""
    first = next((cell for cell in cells if cell.cell_type == "markdown"), None)
    text = "".join(first.source).strip() if first is not None else ""
    return text or f"Stage {stage.name}: {project.relative(stage.notebook)}"


def _in_words(check: dict[str, Any]) -> str:
    figures = ", ".join(f"{name} {value}" for name, value in check["metadata"].items())
    return f"{check['name']} ({figures})" if figures else str(check["name"])
