"""The services' own pages: runs, and placeholders for what is missing."""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, TemplateError

from dataflow.base.words import seconds_text
from dataflow.project import Project
from dataflow.runs.record import RUN_FILE, Run, newest_first, read_run, step_seconds

MOST = 200  # runs on a page


def render(template: str, **values: Any) -> str:
    """A file of `templates/` with `values` in it, as HTML."""
    return str(_environment().get_template(template).render(values))


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def runs_page(project: Project, workflow_id: str | None = None) -> str:
    """The list of runs, the newest first, as HTML."""
    runs = newest_first(project, workflow_id)
    shown = list(itertools.islice(runs, MOST))
    return render(
        "runs.html",
        title=f"Runs of {workflow_id}" if workflow_id else "Runs",
        workflow_id=workflow_id,
        runs=shown,
        more=next(runs, None) is not None,
        seconds=seconds_text,
        address=_address,
    )


def run_page(folder: Path) -> str | None:
    """One run as HTML; None when `folder` holds no run that can be read."""
    run = read_run(folder)
    if run is None:
        return None
    try:
        return render(
            "run.html",
            run=run,
            title=f"{run.workflow_id} {run.run_id[:8]}",
            seconds=seconds_text,
            took=lambda step: seconds_text(step_seconds(step)),
            others=_others(run),
            pages={path.stem.split(".")[0]: path.stem for path in run.notebooks},
        )
    except (TypeError, ValueError, AttributeError, TemplateError):
        return None  # somebody wrote something else into its run.json


def missing_page(project: Project, parts: tuple[str, ...]) -> str:
    """The page for a run, or a file of a run, that is not there."""
    workflow_id, run_id, *rest = (*parts, "", "")[: max(2, len(parts))]
    is_there = bool(run_id) and (project.runs / workflow_id / run_id).is_dir()
    title = "This run's folder is gone"
    if is_there:
        title = "There is no such file" if rest else "This run cannot be read"
    return render(
        "missing.html",
        title=title,
        workflow_id=workflow_id,
        run_id=run_id,
        file="/".join(rest) if is_there else "",
        unreadable=is_there,
    )


def _address(run: Run) -> str:
    return f"/runs/{quote(run.folder.parent.name)}/{quote(run.folder.name)}/"


def _others(run: Run) -> list[str]:
    """The run's files besides the pages of its notebooks."""
    return sorted(
        path.name
        for path in run.folder.iterdir()
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix != ".html"
        and path.name != RUN_FILE
    )
