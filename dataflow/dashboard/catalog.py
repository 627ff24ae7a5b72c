"""The table about the project's workflows that every page can use: source `dataflow`."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataflow.base.sql import literal
from dataflow.dashboard.paths import has_dashboard
from dataflow.dashboard.source_query import exported
from dataflow.project import Project
from dataflow.warehouse.store import published_path, published_runs
from dataflow.workflows.ids import slug_of
from dataflow.workflows.registry import read_workflows

PROJECT_SOURCE = "dataflow"

_COLUMNS = {
    "id": "VARCHAR",
    "name": "VARCHAR",
    "description": "VARCHAR",
    "owner": "VARCHAR",
    "schedule": "VARCHAR",
    "schedule_in_words": "VARCHAR",
    "url": "VARCHAR",
    "has_dashboard": "BOOLEAN",
    "run_id": "VARCHAR",
    "run_url": "VARCHAR",
    "published_at": "TIMESTAMP",
    "problem": "VARCHAR",
}


def write_workflows(
    project: Project, workflows: Collection[Mapping[str, Any]], folder: Path
) -> int:
    """Write the table `workflows` as Parquet: one row per workflow.

    Args:
        workflows: dicts with `id` and, where known, `name`, `description`, `owner`,
            `schedule`, `schedule_in_words`, `problem` (why it cannot run), and of the run whose
            data is shown `run_id` and `finished_at` (a datetime or ISO text; without a zone it is
            UTC).
        folder: where `workflows.parquet` and its schema go.

    Returns:
        The number of workflows.

    The table's columns: id, name, description, owner, schedule (cron), schedule_in_words (with the
    time zone), url (of the dashboard), has_dashboard, run_id, run_url (the executed notebooks),
    published_at (UTC), problem.
    """
    import duckdb

    rows = [_row(project, workflow) for workflow in workflows]
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE workflows ({columns})")
        if rows:
            values = (f"({', '.join(map(literal, row))})" for row in rows)
            connection.execute(f"INSERT INTO workflows VALUES {', '.join(values)}")
        relation = connection.table("workflows")
        schema = [
            {"name": name, "evidenceType": exported(name, kind)[1], "typeFidelity": "precise"}
            for name, kind in zip(relation.columns, relation.types, strict=True)
        ]
        target = literal(str(folder / "workflows.parquet"))
        connection.execute(f"COPY workflows TO {target} (FORMAT parquet)")
    (folder / "workflows.schema.json").write_text(json.dumps(schema), encoding="utf-8")
    return len(rows)


def workflows_for_pages(project: Project) -> list[dict[str, Any]]:
    """Every workflow as the pages list it, the broken ones with the reason."""
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
                "schedule_in_words": about.schedule_in_words,
            }
        )
    return listed


def with_origins(
    project: Project,
    workflows: Collection[Mapping[str, Any]],
    origins: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The workflows, each with the run whose data is shown.

    Args:
        workflows: what `write_workflows` takes; a run that is given there stays.
        origins: the run by source, of the sources that are shown.
    """
    published = published_runs(published_path(project))
    rows = []
    for workflow in workflows:
        identity = str(workflow["id"])
        # Not among the shown sources: nothing to export, or exported before origins were kept.
        origin = origins.get(identity) or published.get(identity)
        rows.append({**(origin or {}), **workflow})
    return rows


def _row(project: Project, workflow: Mapping[str, Any]) -> list[Any]:
    identity = str(workflow["id"])
    run = workflow.get("run_id")
    values = {
        "id": identity,
        "name": workflow.get("name") or identity,
        "description": workflow.get("description"),
        "owner": workflow.get("owner"),
        "schedule": workflow.get("schedule"),
        "schedule_in_words": workflow.get("schedule_in_words"),
        "url": f"/{slug_of(identity)}",
        "has_dashboard": has_dashboard(project, identity),
        "run_id": run,
        "run_url": f"/runs/{identity}/{run}/" if run else None,
        "published_at": _utc(workflow.get("finished_at")),
        "problem": workflow.get("problem"),
    }
    return [values[name] for name in _COLUMNS]


def _utc(moment: datetime | str | None) -> datetime | None:
    """`moment` as DuckDB stores it: UTC, without a zone."""
    if moment is None:
        return None
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when
