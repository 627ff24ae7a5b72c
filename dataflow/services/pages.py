"""The services' own pages: runs, and placeholders for what is missing."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, TemplateError
from markupsafe import Markup
from starlette.responses import HTMLResponse

from dataflow.addresses import service_url
from dataflow.base.words import ago, seconds_text
from dataflow.dashboard.paths import has_dashboard
from dataflow.project import Project
from dataflow.runs.index import RunIndex
from dataflow.runs.record import AWAITING, RUN_FILE, SHORT, UNREADABLE, Run, folder_of, read_run
from dataflow.runs.search import GOING_ON, Facts
from dataflow.runs.usual import RULE, RUNS, beside
from dataflow.services.data_section import data_section
from dataflow.services.run_steps import number, rows_of, unusual
from dataflow.services.written_section import tables_of_run
from dataflow.workflows.ids import slug_of

SOON, LATER = 2, 30  # seconds until a page looks again: while something runs, and else
LOOKED_AT = 500  # runs before one, among which the good ones are looked for

# The policy of a page that JupyterLab shows in a frame: nothing is loaded, no script runs.
FRAME_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

# The sections of a run's page below its steps, in order. Each is a template of its own and what
# it gets of a run; None leaves it out. One that fails says so, and leaves the rest of the page.
Section = tuple[str, Callable[[Project, Run], Mapping[str, Any] | None]]
SECTIONS: list[Section] = [("tables.html", tables_of_run), ("data.html", data_section)]


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
    environment.filters["run_address"] = run_address
    return environment


def run_page(project: Project, folder: Path, index: RunIndex | None = None) -> HTMLResponse | None:
    """One run as a page; None when `folder` holds no run that can be read.

    Args:
        project: the project.
        folder: the run's folder.
        index: what a server remembers of the runs.
    """
    run = read_run(folder)
    if run is None:
        return None
    try:
        compared = beside(run, _good_before(index or RunIndex(project), run))
        rows = rows_of(run, compared)
        goes_on = run.status in GOING_ON
        return page_response(
            "run.html",
            run=run,
            title=f"{run.workflow_id} {run.run_id[:SHORT]} {run.status}",
            crumbs=[_crumb(run.folder.parent.name)],
            state=run.status,
            refresh=SOON if goes_on else LATER if run.status == AWAITING else None,
            goes_on=goes_on,
            steps=rows,
            compared=compared,
            unusual=unusual(rows, compared),
            rule=RULE,
            parent=_parent(project, run),
            dagster=f"{service_url(project, 'dagster').rstrip('/')}/runs/{quote(run.run_id)}",
            dashboard=f"/{slug_of(run.workflow_id)}"
            if has_dashboard(project, run.workflow_id)
            else None,
            seconds=seconds_text,
            number=number,
            ago=ago,
            others=_others(run),
            address=run_address(run),
            sections=_sections(project, run),
        )
    except (*UNREADABLE, TemplateError):
        return None  # somebody wrote something else into its run.json


def _good_before(index: RunIndex, run: Run) -> Iterator[Run]:
    """The last good runs of the same workflow before `run`, the newest first."""
    earlier = itertools.islice(
        index.newest_first(run.folder.parent.name, until=run.folder.name), LOOKED_AT
    )
    good = (
        facts
        for facts in earlier
        if facts.status == "succeeded" and facts.started_at < run.started_at
    )
    return filter(None, (read_run(facts.folder) for facts in itertools.islice(good, 2 * RUNS)))


def _parent(project: Project, run: Run) -> str | None:
    """The address of the run that this one repeats."""
    parent = run.data.get("parent")
    home = run.folder.parent
    folder = folder_of(home, str(parent)) if parent else None
    return f"/runs/{quote(home.name)}/{quote(folder.name)}/" if folder else None


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
                shown.append(Markup(render(template, run=run, address=run_address(run), **values)))
        except Exception as error:
            text = f"This part of the page cannot be shown: {type(error).__name__}: {error}"
            shown.append(Markup('<p class="failed">{}</p>').format(text))
    return shown


def run_address(run: Run | Facts) -> str:
    """The address of a run's page."""
    if isinstance(run, Facts):
        home, name = run.home.rpartition("/")[2], run.name  # there are many on a page
    else:
        home, name = run.folder.parts[-2:]
    return f"/runs/{quote(home)}/{quote(name)}/"


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
