"""`dataflow runs`: find and read the executed notebooks of earlier runs."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.cli.output import (
    Json,
    console,
    messages,
    new_table,
    print_error,
    print_json,
    status_text,
)
from dataflow.project import Project

if TYPE_CHECKING:
    from dataflow.runs.record import Run

app = typer.Typer(help="Find and read the executed notebooks of runs.", no_args_is_help=True)


@app.command("list")
def list_all(
    workflow: Annotated[str | None, typer.Argument(help="One workflow's runs only.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    limit: Annotated[int, typer.Option("-n", "--limit", help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    from dataflow.base.words import seconds_text
    from dataflow.runs.record import newest_first

    project = Project.find()
    if workflow is not None and not (project.runs / workflow).is_dir():
        from dataflow.workflows.registry import find_workflow_folder

        workflow = find_workflow_folder(project, workflow).name
    wanted = (
        run
        for run in newest_first(project, workflow)
        if not failed or run.status not in ("succeeded", "running")
    )
    runs = list(itertools.islice(wanted, limit))
    if as_json:
        print_json([{**run.data, "status": run.status} for run in runs])
        return
    table = new_table("Run", "Workflow", "Started (UTC)", "Result", "Time", "Notebooks")
    for column in table.columns[:-1]:
        column.no_wrap = True  # on a narrow terminal only the list of notebooks takes more lines
    for run in runs:
        table.add_row(
            run.run_id[:8],
            run.workflow_id,
            f"{run.started_at:%Y-%m-%d %H:%M}",
            status_text(run.status),
            seconds_text(run.seconds),
            ", ".join(path.stem for path in run.notebooks),
        )
    console().print(table)
    if next(wanted, None) is not None:
        messages().print(f"[dim]There are older ones: --limit {2 * limit}[/]")


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="The beginning of a run's id, or `last`.")],
    as_json: Json = False,
) -> None:
    """Show a run: its steps, parameters, error, and where its executed notebooks are."""
    from dataflow.cli import report
    from dataflow.runs.record import find_run

    project = Project.find()
    found = find_run(project, run)
    if as_json:
        print_json({**found.data, "status": found.status})
        return
    out = console()
    git = found.data.get("git")
    commit = ""
    if git:
        commit = f", commit {git['commit'][:8]}{' and changes' if git.get('dirty') else ''}"
    out.print(f"[bold]{found.workflow_id}[/] {found.run_id}")
    out.print(
        f"started {found.started_at:%Y-%m-%d %H:%M:%S} UTC by {found.data.get('trigger')}{commit}"
    )
    for stage, values in (found.data.get("parameters") or {}).items():
        shown = ", ".join(f"{name} = {value!r}" for name, value in values.items())
        out.print(f"parameters of {stage}: {shown}")
    report.print_run(project, found)
    for path in found.notebooks:
        out.print(f"  {project.relative(path)}")
    error = report.failure(project, found)
    if error is not None:
        print_error(error)


@app.command("open")
def open_run(
    run: Annotated[str, typer.Argument(help="The beginning of a run's id, or `last`.")],
    stage: Annotated[
        str | None,
        typer.Option("--stage", help="The stage; by default the one that failed, or the first."),
    ] = None,
    lab: Annotated[
        bool,
        typer.Option("--lab", help="Copy its notebook, with the run's parameters, for JupyterLab."),
    ] = False,
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="With --lab: leave the development copy as it is.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --lab: do not ask.")] = False,
    browser: Annotated[
        bool | None,
        typer.Option(
            "--browser/--no-browser", help="Open it in a browser; by default only from a terminal."
        ),
    ] = None,
) -> None:
    """Open a stage's executed notebook; with --lab try the stage again by hand.

    With --lab the development copy becomes a copy of the working warehouse, which holds what
    the run read and wrote until another one writes.
    """
    from dataflow.runs.record import find_run
    from dataflow.services.review import chosen_stage, executed_page, page_url

    project = Project.find()
    found = find_run(project, run)
    name = chosen_stage(found, stage)
    if lab:
        address = _copy_for_lab(project, found, name, keep_data=keep_data, yes=yes)
    else:
        address = page_url(project, executed_page(found, name))
    typer.echo(address)
    if "://" in address and (sys.stdout.isatty() if browser is None else browser):
        typer.launch(address)


def _copy_for_lab(project: Project, run: Run, stage: str, *, keep_data: bool, yes: bool) -> str:
    from dataflow.services.review import copy_for_lab
    from dataflow.warehouse.store import copy_working_to_development, has_development_copy

    err = messages()
    if not keep_data and not yes and has_development_copy(project):
        typer.confirm(
            "The working warehouse will replace your development copy, and what notebooks run by "
            "hand wrote to it will be lost. Continue?",
            abort=True,
            err=True,
        )
    copy = copy_for_lab(project, run, stage)
    if not keep_data:
        copy_working_to_development(project)
    if copy.changed:
        err.print(
            f"[yellow]note:[/] {stage}.ipynb changed since that run; the copy has the current version."
        )
    shown = project.relative(copy.path)
    if copy.url is None:
        err.print("JupyterLab is not running: dataflow service start jupyter", style="cyan")
    else:
        err.print(f"Copied to {shown}")
    return copy.url or shown
