"""The border from a workflow's own code to dbt: what a step left of the tables that others read."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any

from dataflow.dbt.readers import columns_used
from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.runs.record import folder_of, read_run
from dataflow.warehouse.store import (
    PublishedTable,
    lost,
    published_tables,
    refuse_used,
    stage_writes,
)


def check_columns(
    project: Project, run_id: str, step: str, *, later: Collection[tuple[str | None, str]]
) -> None:
    """Refuse tables that a step left without columns that models, tests or dashboards use.

    Each table that the step wrote, in whatever way, is compared with what the step left of it in
    the run whose data is published, or with what is published. In the second case a table that a
    later step of the run wrote last is left to that step.

    Args:
        project: the project.
        run_id: the run.
        step: the stage or op that has ended.
        later: the steps that come after it, each as (workflow, step).

    Raises:
        WarehouseError: names the tables, their columns, and each file and line that uses one.
    """
    written = stage_writes(project, run_id, step)
    if not written:
        return
    try:
        published = published_tables(project, written)
    except WarehouseError:
        return  # nothing can be read, after the project was moved, say; publishing tells what it needs
    refused = []
    for table, was in published.items():
        now = written[table]
        left = _left_by(project, was, step).get(str(table), {}).get("columns")
        if now.allowed or (not left and (was.workflow, was.step) in later):
            continue
        try:
            refuse_used(
                table,
                lost(left or was.columns, now.columns),
                partial(columns_used, project),
                "{} has lost columns that others use"
                if now.columns
                else "{} was dropped, and others use it",
                "Write the columns as they were (CAST(x AS type) where a type changed), or change "
                "those files; if they do not need the columns, write the table by write_table(…, "
                'on_schema_change="replace").',
                ("published table", "new one"),
            )
        except WarehouseError as error:
            refused.append(error)
    if refused:
        raise WarehouseError("\n".join(error.message for error in refused), hint=refused[0].hint)


def _left_by(project: Project, table: PublishedTable, step: str) -> dict[str, Any]:
    """What a step wrote in the run that wrote a published table; empty when that is not known."""
    if table.run is None or table.workflow is None:
        return {}
    folder = folder_of(project.runs / table.workflow, table.run)
    run = read_run(folder) if folder is not None else None
    return dict(run.steps.get(step, {}).get("writes") or {}) if run is not None else {}
