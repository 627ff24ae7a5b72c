"""What came of a workflow's data: its tables compared with those published before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dataflow.base.sql import TableName
from dataflow.base.words import counted, first_line
from dataflow.dbt.keys import unique_keys
from dataflow.dbt.project import has_models, read_manifest
from dataflow.engine.secrets import Scrubber
from dataflow.errors import DataflowError
from dataflow.orchestration.steps import WorkflowSteps
from dataflow.runs.data import DATA_FILE, write_data
from dataflow.runs.record import RunRecord, Step
from dataflow.stages.execute import machine_paths
from dataflow.variables import secrets_of
from dataflow.warehouse.store import DataComparison, Limits, compare_files


def review_data(
    steps: WorkflowSteps, record: RunRecord, old: Path | None, new: Path
) -> DataComparison:
    """Compare a workflow's tables in two databases, and write `data.json` into the run's folder.

    Args:
        steps: the workflow's steps.
        record: the run's record.
        old: the earlier database, which nobody may remove meanwhile; None when there is none.
        new: the later one, which nobody may remove either.

    Raises:
        DataflowError, duckdb.Error, OSError: a database cannot be read, or the file not written.
    """
    workflow, project = steps.workflow, steps.project
    # The run's own parameters may name variables, too.
    secrets = secrets_of(workflow.folder, record.read())
    scrubber = Scrubber(secrets).with_paths(machine_paths(project))
    found = compare_files(
        project,
        old,
        new,
        _tables(steps),
        _keys(steps),
        schemas=workflow.schemas,
        limits=Limits(seconds=project.settings.data_review_seconds),
        clean=scrubber.text,
    )
    found = replace(found, old=_version(old), new=_version(new))
    write_data(record.folder, scrubber.tree(found.as_json()))
    return found


def note_data_review(
    step: Step, steps: WorkflowSteps, old: Path | None, new: Path | None, log: Any
) -> None:
    """Compare as `review_data` does; what goes wrong is noted, and never fails the step.

    Args:
        step: the step that published.
        steps: the workflow's steps.
        old, new: the databases.
        log: where to say what came of it.
    """
    if new is None or not steps.project.settings.data_review_seconds:
        return
    try:
        found = review_data(steps, step.record, old, new)
    except Exception as error:
        text = error.message if isinstance(error, DataflowError) else first_line(error)
        warning = f"the data was not compared with what was published before: {text}"
        step.facts["warnings"] = [warning]
        log.warning(warning)
        return
    changed = {one.table: one.summary for one in found.changed}
    step.facts["data"] = {"file": DATA_FILE, "seconds": found.seconds, "changed": changed}
    lines = "".join(f"\n  {table}  {summary}" for table, summary in changed.items())
    log.info(f"{counted(len(changed), 'table')} of {len(found.tables)} different{lines}")


def _tables(steps: WorkflowSteps) -> list[TableName]:
    """The tables that the steps make, in the order of the data's way."""
    marts = steps.workflow.id
    return [
        table
        for step in steps.all
        for table in sorted(steps.tables(step.name), key=lambda one: (one.schema == marts, one))
    ]


def _keys(steps: WorkflowSteps) -> dict[TableName, tuple[str, ...]]:
    """The keys that dbt's tests name, where the workflow has models."""
    if not has_models(steps.project, steps.workflow.id):
        return {}
    return unique_keys(read_manifest(steps.project, steps.workflow))


def _version(path: Path | None) -> str | None:
    """A database's name in words."""
    if path is None:
        return None
    name = path.parent.name
    return f"version {name}" if name.isdigit() else "the candidate version"
