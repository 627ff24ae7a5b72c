"""A stage's results, in the terms of the run's record and of Dagster."""

from __future__ import annotations

from typing import Any

import dagster as dg

from dataflow.addresses import service_url
from dataflow.base.sql import split_table
from dataflow.orchestration import dagster_names as names
from dataflow.project import Project
from dataflow.runs.record import RunRecord
from dataflow.stages.context import yielded_events
from dataflow.stages.execute import StageOutcome
from dataflow.stages.notebook import Stage
from dataflow.stages.result import DeclaredCheck
from dataflow.warehouse.store import compare_writes
from dataflow.workflows.model import Workflow


def key_of(stage: Stage, table: str | None) -> list[str]:
    """The asset a check or record about `table` belongs to: the stage's first without one."""
    if table:
        wanted = split_table(table, stage.workflow_id)
        if wanted in stage.writes:
            return list(wanted)
    return names.stage_keys(stage)[0]


# The check that every stage of a workflow with `stages:` in its configuration has.
WRITES = "writes what it declares"


def stage_facts(outcome: StageOutcome) -> dict[str, Any]:
    """An outcome as `run.json` keeps it."""
    facts: dict[str, Any] = {
        "status": outcome.status,
        "notebook": outcome.notebook.name,
        "seconds": round(outcome.seconds, 3),
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "rows": outcome.report.rows,
        "recorded": outcome.report.tables,
        "checks": outcome.report.checks,
        "cells": outcome.cells,
    }
    if outcome.report.skipped is not None:
        facts["skipped"] = outcome.report.skipped
    if outcome.error is not None:
        error = outcome.error
        facts["error"] = {
            "message": error.headline,
            "cell": error.cell,
            "ename": error.ename,
            "evalue": error.evalue,
            "source": error.source,
            "last_frame": error.last_frame,
        }
    return facts


def dagster_metadata(
    project: Project, record: RunRecord, outcome: StageOutcome, table: str | None = None
) -> dict[str, Any]:
    """An outcome as metadata of a Dagster asset or failure, with links to the notebook.

    Args:
        project: the project.
        record: the run's record.
        outcome: the stage's outcome.
        table: the table the metadata is about, `schema.table`; None for the whole stage.
    """
    page = outcome.notebook.with_suffix(".html").name
    metadata: dict[str, Any] = {
        "executed notebook": dg.MetadataValue.notebook(str(outcome.notebook)),
        "read it": dg.MetadataValue.url(
            f"{service_url(project, 'evidence')}/runs/{record.workflow_id}/{record.folder.name}/{page}"
        ),
        "file": project.relative(outcome.notebook),
        "seconds": outcome.seconds,
    }
    if outcome.peak_memory_bytes:
        metadata["peak memory (MB)"] = round(outcome.peak_memory_bytes / 1e6)
    if outcome.report.skipped is not None:
        metadata["skipped"] = outcome.report.skipped
    if table is not None:
        for name, figures in outcome.report.tables.items():
            if name in ("", table, table.rpartition(".")[2]):
                metadata.update({_label(key): _value(value) for key, value in figures.items()})
    return metadata


def _label(key: str) -> str:
    return "dagster/row_count" if key == "rows" else key


def _value(value: Any) -> Any:
    """A figure as Dagster shows it; it has no type for nothing and for empty text."""
    return "none" if value is None else value


def check_results(
    stage: Stage, outcome: StageOutcome, declared: list[DeclaredCheck], log: Any
) -> list[Any]:
    """The stage's checks as Dagster's; those it could not know of go to the log."""
    known = {check.name: check for check in declared}
    made: dict[str, Any] = {}
    for check in outcome.report.decisive_checks.values():
        if check["name"] not in known:
            log.warning(
                f"check {check['name']!r} {'passed' if check['passed'] else 'failed'}; its name "
                "is computed, so Dagster has no asset check for it"
            )
            continue
        severity = dg.AssetCheckSeverity.ERROR
        if check.get("severity") == "warn":
            severity = dg.AssetCheckSeverity.WARN
        made[check["name"]] = dg.AssetCheckResult(
            asset_key=key_of(stage, known[check["name"]].table),
            check_name=names.check_name(check["name"]),
            passed=bool(check["passed"]),
            severity=severity,
            metadata={key: _value(value) for key, value in check.get("metadata", {}).items()},
        )
    for name, unmade in known.items():
        if name not in made:  # the notebook skipped the rest, or did not reach it
            made[name] = dg.AssetCheckResult(
                asset_key=key_of(stage, unmade.table),
                check_name=names.check_name(name),
                passed=False,  # not checked: neither a success nor a reason to stop
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"not made": "the notebook did not reach this check in this run"},
            )
    return list(made.values())


def declared_writes_check(workflow: Workflow) -> list[DeclaredCheck]:
    """The check that every stage of a workflow with `stages:` in its configuration has."""
    return [DeclaredCheck(WRITES)] if workflow.config.stages is not None else []


def check_writes(
    project: Project, workflow: Workflow, stage: Stage, run_id: str, outcome: StageOutcome
) -> dict[str, Any] | None:
    """A check that compares what the stage wrote with what it declares, if it declares anything.

    A declared table that was not written, and a table in a schema that is not the stage's,
    are errors; another table in the workflow's own raw schema is a warning.
    """
    if not declared_writes_check(workflow):
        return None
    declared = [str(table) for table in stage.writes]
    writes = compare_writes(project, workflow.id, run_id, stage.name, declared)
    missing = [] if outcome.report.skipped is not None else writes.missing
    own = {workflow.raw_schema, *(table.schema for table in stage.writes)}
    foreign = [table for table in writes.undeclared if table.partition(".")[0] not in own]
    metadata: dict[str, Any] = {}
    if missing:
        metadata["declared and not written"] = ", ".join(missing)
    if writes.undeclared:
        metadata["written and not declared"] = ", ".join(writes.undeclared)
    return {
        "name": WRITES,
        "passed": not missing and not writes.undeclared,
        "severity": "error" if missing or foreign else "warn",
        "table": None,
        "metadata": metadata,
    }


def report_yielded(context: Any, project: Project) -> None:
    """Report a step's events to Dagster.

    Args:
        context: Dagster's context of the step.
        project: the project.

    Raises:
        dagster.Failure, dagster.RetryRequested: the notebook yielded one.
    """
    for event in yielded_events(project, context):
        if isinstance(event, (dg.Failure, dg.RetryRequested)):
            raise event
        if isinstance(event, dg.TypeCheck):
            context.log.info(f"type check: {'passed' if event.success else event.description}")
        else:
            context.log_event(event)
