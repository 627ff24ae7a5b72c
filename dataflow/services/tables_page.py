"""The tables of a stage as a page in JupyterLab: first rows, columns, and what these hold."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from dataflow.base.sql import TableName
from dataflow.base.words import counted
from dataflow.engine.secrets import Scrubber
from dataflow.project import Project
from dataflow.review.recorded import Recorded, written_tables
from dataflow.runs.record import SHORT, Run, folder_of, mapping
from dataflow.services.comparison_page import To
from dataflow.services.data_section import PROFILE
from dataflow.services.pages import FRAME_POLICY, render
from dataflow.stages.execute import machine_paths
from dataflow.stages.notebook import Stage
from dataflow.variables import secrets_of
from dataflow.warehouse.store import MOST_TABLES, Preview, preview

WHERE = {
    "working": "the working warehouse",
    "published": "the published version",
    "development": "your development copy",
}


def stage_tables(
    project: Project, stage: Stage, run: Run | None, *, to: To, theme: str | None
) -> str:
    """The tables that a stage declares, or wrote when it ran last, as HTML for a frame.

    Args:
        project: the project.
        stage: the stage.
        run: the last run that executed it; None when there is none.
        to: the link for an address below the workflow's runs.
        theme: `light` or `dark`; None for what the browser prefers.

    Raises:
        WarehouseError: the published version cannot be read.
    """
    step = mapping(run.steps.get(stage.name)) if run is not None else {}
    recorded = written_tables(step)
    names = [*map(str, stage.writes), *recorded, *mapping(step.get("rows"))]
    tables = [TableName(*name.split(".", 1)) for name in dict.fromkeys(names) if "." in name]
    secrets = secrets_of(
        stage.notebook.parent, run.data if run else {}, environment=project.environment()
    )
    scrubber = Scrubber(secrets).with_paths(machine_paths(project))
    found, notes = preview(project, tables, scrubber.text) if tables else ([], [])
    return render(
        "lab_tables.html",
        title=f"{stage.name}: tables",
        in_lab=True,
        theme=theme,
        policy=FRAME_POLICY,
        stage=stage.name,
        tables=[_shown(project, stage, one, recorded.get(str(one.table)), to) for one in found],
        declared={str(table) for table in stage.writes},
        notes=notes,
        most=MOST_TABLES,
        counted=counted,
        **PROFILE,
    )


def _shown(
    project: Project, stage: Stage, one: Preview, recorded: Recorded | None, to: To
) -> dict[str, Any]:
    """A table with where it was read and who wrote it, in words."""
    origin, by, address = one.origin, "by hand", None
    if origin is not None and origin.run is not None:
        by = f"by run {origin.run[:SHORT]}" + (f", {origin.step}" if origin.step else "")
        folder = folder_of(project.runs / stage.workflow_id, origin.run)
        address = to(f"{quote(folder.name)}/") if folder else None
    profiled = [column for column in one.columns if column.new]
    return {
        "name": str(one.table),
        "preview": one,
        "where": WHERE.get(one.database or ""),
        "by": by,
        "at": f"{origin.at.astimezone(ZoneInfo(project.timezone)):%Y-%m-%d %H:%M %Z}"
        if origin
        else "",
        "address": address,
        "recorded": recorded,
        "profiled": profiled,
        "others": [column for column in one.columns if not column.new],
    }
