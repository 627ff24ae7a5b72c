"""`dataflow runs`: find and read the executed notebooks of earlier runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.cli.output import (
    Json,
    console,
    messages,
    print_error,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from dataflow.api import Run

app = typer.Typer(help="Find and read the executed notebooks of runs.", no_args_is_help=True)


@app.command("list")
def list_all(
    workflow: Annotated[str | None, typer.Argument(help="One workflow's runs only.")] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only those that ended without success.")
    ] = False,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", help="Only those that stand like this. Can be given repeatedly."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", help="Only those that started then or later: 2026-11-26, or 12h, 7d ago."
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--parameter",
            metavar="NAME VALUE",
            help="Only those that ran with this value, set for the run or in config.yaml; `*` is "
            "any. Can be given repeatedly.",
        ),
    ] = None,
    trigger: Annotated[
        str | None,
        typer.Option(
            "--trigger", help="Only those started by this: schedule, cli, python, dagster, ..."
        ),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="Only those of this user.")] = None,
    commit: Annotated[
        str | None, typer.Option("--commit", help="Only those whose commit begins like this.")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    from dataflow.api import Project, Runs

    found = Project.find().runs(
        workflow,
        failed=failed,
        limit=limit + 1,
        status=status or (),
        since=since,
        parameters=parameter or (),
        trigger=trigger,
        user=user,
        commit=commit,
    )
    runs = Runs(found[:limit])
    if as_json:
        print_json([{**run.data, "status": run.status} for run in runs])
        return
    print_table(runs.table, wrapped="Notebooks")
    if not found:
        messages().print("[dim]There are no such runs.[/]")
    if len(found) > limit:
        messages().print(f"[dim]There are older ones: --limit {2 * limit}[/]")


@app.command()
def prune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove the runs that the settings keep_runs and keep_days do not keep."""
    from dataflow.base.table import Row, Status, Table
    from dataflow.base.words import counted, size_text
    from dataflow.orchestration.instance import open_instance
    from dataflow.orchestration.retention import expired, interrupted, size_of
    from dataflow.orchestration.retention import prune as prune_runs
    from dataflow.project import Project

    project = Project.find()
    found = expired(project)
    sizes = {run.run_id: size_of(run) for run in found}
    stay = 0
    if not dry_run and (found or next(interrupted(project), None)):
        with open_instance(project) as instance:
            removed = prune_runs(project, instance)
        stay = sum(run.folder.exists() for run in found)
        found = removed
    if as_json:
        print_json([{**run.data, "status": run.status} for run in found])
        return
    if found:
        rows: list[Row] = [
            [
                run.run_id[:8],
                run.workflow_id,
                f"{run.started_at:%Y-%m-%d %H:%M}",
                Status(run.status),
                size_text(sizes.get(run.run_id)),
            ]
            for run in found
        ]
        head = ("Run", "Workflow", "Started (UTC)", "Result", "Size")
        print_table(Table(head, rows, right=("Size",)))
    does = "would be removed" if dry_run else "removed"
    err = messages()
    err.print(f"{counted(len(found), 'run')} {does}.")
    if stay:
        err.print(f"{counted(stay, 'run')} may go, but stay: see above, or they run in Dagster.")
    if project.settings.keeps_all_runs:
        err.print(
            "  → All are kept until keep_runs or keep_days is set in \\[tool.dataflow].",
            style="cyan",
        )


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="The beginning of a run's id, or `last`.")],
    as_json: Json = False,
) -> None:
    """Show a run: its steps, parameters, error, and where its executed notebooks are."""
    from dataflow.api import Project
    from dataflow.cli import report

    found = Project.find().find_run(run)
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
    paths = found.project.paths
    report.print_run(paths, found)
    for path in found.notebooks:
        out.print(f"  {paths.relative(path)}")
    if found.error:
        print_error(found.error)


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
    from dataflow.api import Project

    found = Project.find().find_run(run)
    if browser is None:
        browser = sys.stdout.isatty()
    if not lab:
        typer.echo(found.open(stage, browser=browser))
        return
    address = _copy_for_lab(found, found.chosen_stage(stage), keep_data=keep_data, yes=yes)
    typer.echo(address)
    if "://" in address and browser:
        typer.launch(address)


def _copy_for_lab(run: Run, stage: str, *, keep_data: bool, yes: bool) -> str:
    from dataflow.services.review import copy_for_lab
    from dataflow.warehouse.store import copy_working_to_development, has_development_copy

    project, err = run.project.paths, messages()
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
