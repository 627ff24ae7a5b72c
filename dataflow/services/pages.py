"""The services' own pages: runs, and placeholders for what is missing."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, TemplateError
from markupsafe import Markup
from starlette.responses import HTMLResponse

from dataflow.base.words import seconds_text
from dataflow.project import Project
from dataflow.runs.record import RUN_FILE, Run, newest_first, read_run, step_seconds

MOST = 200  # runs on a page

# The sections of a run's page below its steps, in order. Each is a template of its own and what
# it gets of a run; None leaves it out. One that fails says so, and leaves the rest of the page.
Section = tuple[str, Callable[[Project, Run], Mapping[str, Any] | None]]
SECTIONS: list[Section] = []


def render(template: str, **values: Any) -> str:
    """A file of `templates/` with `values` in it, as HTML."""
    return str(_environment().get_template(template).render(values))


def page_response(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A file of `templates/` as an answer, with the policy for pages of our own.

    The only script that runs is the template's: `<script nonce="{{ nonce }}">`. Forms go to this
    server, and so do the script's requests.
    """
    nonce = secrets.token_urlsafe(16)
    return HTMLResponse(
        render(template, nonce=nonce, **values),
        status_code=status,
        headers={"content-security-policy": page_policy(nonce), "cache-control": "no-cache"},
    )


def page_policy(nonce: str | None = None) -> str:
    """The policy of a page of our own; without a `nonce` it has no script."""
    script = f"script-src 'nonce-{nonce}'; connect-src 'self'; " if nonce else ""
    return (
        f"default-src 'none'; {script}img-src 'self' data:; style-src 'unsafe-inline'; "
        "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The class of a status: "awaiting review" has the colour of `.awaiting-review`.
    environment.filters["css"] = lambda status: str(status).replace(" ", "-")
    return environment


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


def run_page(project: Project, folder: Path) -> str | None:
    """One run as HTML; None when `folder` holds no run that can be read."""
    run = read_run(folder)
    if run is None:
        return None
    try:
        return render(
            "run.html",
            run=run,
            title=f"{run.workflow_id} {run.run_id[:8]}",
            crumbs=[_crumb(run.folder.parent.name)],
            seconds=seconds_text,
            took=lambda step: seconds_text(step_seconds(step)),
            others=_others(run),
            address=_address(run),
            sections=_sections(project, run),
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
        crumbs=[_crumb(workflow_id)] if workflow_id else [],
        workflow_id=workflow_id,
        run_id=run_id,
        file="/".join(rest) if is_there else "",
        unreadable=is_there,
    )


def _crumb(workflow_id: str) -> tuple[str, str]:
    return workflow_id, f"/runs/{quote(workflow_id)}/"


def _sections(project: Project, run: Run) -> list[Markup]:
    shown = []
    for template, values_of in SECTIONS:
        try:
            values = values_of(project, run)
            if values is not None:
                shown.append(Markup(render(template, run=run, address=_address(run), **values)))
        except Exception as error:
            text = f"This part of the page cannot be shown: {type(error).__name__}: {error}"
            shown.append(Markup('<p class="failed">{}</p>').format(text))
    return shown


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
