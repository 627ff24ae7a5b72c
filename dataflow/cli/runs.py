"""`dataflow runs`: find and read the executed notebooks of earlier runs."""

from __future__ import annotations

from typing import Annotated

import typer

from dataflow.project import Project

app = typer.Typer(help="Find and read the executed notebooks of runs.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.command("list")
def list_all(
    workflow: Annotated[str | None, typer.Argument(help="One workflow's runs only.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    limit: Annotated[int, typer.Option("-n", "--limit", help="How many at most.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    from dataflow.cli.output import console, messages, new_table, print_json, seconds_text
    from dataflow.cli.output import status_text as shown
    from dataflow.runs.index import list_runs
    from dataflow.workflows.registry import find_workflow_folder

    project = Project.find()
    if workflow is not None and not (project.runs / workflow).is_dir():
        workflow = find_workflow_folder(project, workflow).name
    runs = list_runs(project, workflow)
    if failed:
        runs = [run for run in runs if run.status not in ("succeeded", "running")]
    if as_json:
        print_json([{**run.data, "status": run.status} for run in runs[:limit]])
        return
    table = new_table("Run", "Workflow", "Started (UTC)", "Result", "Time", "Notebooks")
    for run in runs[:limit]:
        table.add_row(
            run.run_id[:8],
            run.workflow_id,
            f"{run.started_at:%Y-%m-%d %H:%M:%S}",
            shown(run.status),
            seconds_text(run.seconds),
            ", ".join(path.stem for path in run.notebooks),
        )
    console().print(table)
    if len(runs) > limit:
        messages().print(f"[dim]{len(runs) - limit} older ones: --limit {len(runs)}[/]")


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="The beginning of a run's id, or `last`.")],
    as_json: Json = False,
) -> None:
    """Show a run: its steps, parameters, error, and where its executed notebooks are."""
    from dataflow.cli import report
    from dataflow.cli.output import console, print_error, print_json
    from dataflow.runs.index import find_run

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
    report.print_run(project, None, found)
    for path in found.notebooks:
        out.print(f"  {project.relative(path)}")
    error = report.failure(project, found)
    if error is not None:
        print_error(error)
