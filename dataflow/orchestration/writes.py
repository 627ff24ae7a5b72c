"""A stage's `writes` are held against what it really wrote."""

from __future__ import annotations

from typing import Any

from dataflow.project import Project
from dataflow.stages.execute import StageOutcome
from dataflow.stages.result import DeclaredCheck
from dataflow.workflows.model import Stage, Workflow

NAME = "writes what it declares"


def declared_writes_check(workflow: Workflow) -> list[DeclaredCheck]:
    """The check that every stage of a workflow with `stages:` in its configuration has."""
    return [DeclaredCheck(NAME)] if workflow.config.stages is not None else []


def check_writes(
    project: Project, workflow: Workflow, stage: Stage, run_id: str, outcome: StageOutcome
) -> dict[str, Any] | None:
    """What the stage wrote beside what it declared, as a check; None when it declares nothing.

    A declared table that was not written, and a table in a schema that is not the stage's,
    are errors; another table in the workflow's own raw schema is a warning.
    """
    from dataflow.warehouse.changes import compare_writes

    if not declared_writes_check(workflow):
        return None
    declared = [".".join(table) for table in stage.writes]
    writes = compare_writes(project, workflow.id, run_id, stage.name, declared)
    missing = [] if outcome.report.skipped is not None else writes.missing
    own = {workflow.raw_schema, *(schema for schema, _ in stage.writes)}
    foreign = [table for table in writes.undeclared if table.partition(".")[0] not in own]
    metadata: dict[str, Any] = {}
    if missing:
        metadata["declared and not written"] = ", ".join(missing)
    if writes.undeclared:
        metadata["written and not declared"] = ", ".join(writes.undeclared)
    return {
        "name": NAME,
        "passed": not missing and not writes.undeclared,
        "severity": "error" if missing or foreign else "warn",
        "table": None,
        "metadata": metadata,
    }
