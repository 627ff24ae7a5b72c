"""`dataflow workflow`: list, validate and run workflows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataflow.base.words import counted
from dataflow.cli.output import Json, Name, console, messages, new_table, print_json, status_text
from dataflow.errors import EXIT_FAILED, ConfigurationError, RunFailed
from dataflow.project import Project

if TYPE_CHECKING:
    from dataflow.orchestration.run import StepEvent
    from dataflow.runs.record import Run

app = typer.Typer(help="List, validate and run workflows.", no_args_is_help=True)

ASSIGNMENT = re.compile(r"[A-Za-z_][\w.]*=")


def join_parameters(arguments: list[str]) -> list[str]:
    """Turn `-p name value` into `-p name=value`: an option takes one value here."""
    joined: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        joined.append(argument)
        if argument == "--":
            return joined + waiting
        if argument in ("-p", "--parameter") and waiting:
            name = waiting.pop(0)
            if not ASSIGNMENT.match(name) and waiting:
                name = f"{name}={waiting.pop(0)}"
            joined.append(name)
    return joined


def _project() -> Project:
    project = Project.find()
    project.load_environment()
    return project


@app.command("list")
def list_workflows(as_json: Json = False) -> None:
    """List the project's workflows with their schedules and last runs."""
    from dataflow.runs.record import newest_first
    from dataflow.workflows.registry import read_workflows

    project = _project()
    registered = read_workflows(project)
    last = {entry.id: next(newest_first(project, entry.id), None) for entry in registered}
    if as_json:
        print_json([_as_json(entry, last.get(entry.id)) for entry in registered])
        return
    table = new_table("Workflow", "Name", "Stages", "Schedule", "Last run (UTC)")
    for entry in registered:
        newest = last.get(entry.id)
        status = "never"
        if newest is not None:
            status = f"{status_text(newest.status)} {newest.started_at:%Y-%m-%d %H:%M}"
        if entry.workflow is None:
            table.add_row(entry.id, f"[red]not valid: {counted(len(entry.problems), 'problem')}[/]")
        else:
            schedule = entry.workflow.config.workflow.schedule_in_words or ""
            stages = ", ".join(entry.workflow.step_names)
            table.add_row(entry.id, entry.workflow.name, stages, schedule, status)
    console().print(table)
    if not registered:
        messages().print("notebooks/ has no workflow yet: a folder with a config.yaml.")


def _as_json(entry: Any, run: Run | None) -> dict[str, Any]:
    workflow = entry.workflow
    return {
        "id": entry.id,
        "valid": workflow is not None,
        "name": workflow.name if workflow else None,
        "stages": workflow.step_names if workflow else [],
        "schedule": workflow.config.workflow.schedule if workflow else None,
        "last_run": {"run_id": run.run_id, "status": run.status} if run else None,
    }


@app.command()
def run(
    name: Name,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--parameter",
            metavar="NAME VALUE",
            help="A parameter's value: `-p min_magnitude 4.5`, or `-p ingest.source api` "
            "for one stage only. Can be given several times.",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="A YAML file with parameter values.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="STAGE", help="Run this stage only.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STAGE",
            help="Run this stage and everything downstream; upstream stages only if they have not "
            "yet succeeded with the current code and parameters.",
        ),
    ] = None,
    changed: Annotated[
        bool,
        typer.Option("--changed", help="Run only what changed since it last succeeded."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Do not show the notebooks' output.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a workflow now: its notebooks, its dbt models, publish, dashboard."""
    from dataflow.cli import report
    from dataflow.workflows.registry import get_workflow

    project = _project()
    workflow = get_workflow(project, name)
    values = _parameters(parameter or [], file)
    err = messages()
    err.print(f"[bold]{workflow.name}[/] ({workflow.id})")
    from dataflow.base.words import seconds_text
    from dataflow.dashboard.build import last_seconds
    from dataflow.orchestration.run import plan_run, run_workflow

    plan = plan_run(project, workflow, values, only=only, start=start, changed=changed)
    if plan.chosen == []:
        err.print("nothing changed since the last success; nothing was run")
        return
    if plan.builds_pages:
        took = last_seconds(project)
        usual = f"{seconds_text(took)} the last time" if took else "about a minute"
        err.print(
            f"[dim]the dashboard's pages are new or changed: this run builds them ({usual}); while "
            "you write them, dataflow service start evidence --dev shows each change at once[/]"
        )
    finished = run_workflow(project, plan, on_event=_progress(), live=not quiet and not as_json)
    if as_json:
        print_json({**finished.data, "status": finished.status})
    else:
        report.print_run(project, finished)
    if finished.status != "succeeded":
        if as_json:
            raise typer.Exit(EXIT_FAILED)
        raise report.failure(project, finished) or RunFailed(
            f"run {finished.run_id[:8]} {finished.status}"
        )


def _parameters(assignments: list[str], file: Path | None) -> dict[str, Any]:
    """The values from the file, and over them those from the command line."""
    from dataflow.workflows.yaml_file import read_yaml

    values: dict[str, Any] = {}
    if file is not None:
        read = read_yaml(file)
        if read.problems:
            raise ConfigurationError("the parameter file is not valid", problems=read.problems)
        if not isinstance(read.data or {}, dict):
            raise ConfigurationError(
                "the parameter file is not a mapping",
                where=str(file),
                hint="Write one `name: value` per line.",
            )
        values.update({str(key): value for key, value in (read.data or {}).items()})
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigurationError(
                f"-p {text} has no value", hint="Write `-p name value` or `-p name=value`."
            )
        values[name] = value
    return values


def _progress() -> Any:
    """Prints a line as each step begins and ends."""
    import time

    from rich.markup import escape

    from dataflow.base.words import seconds_text

    err = messages()
    begun: dict[str, float] = {}
    signs = {
        "succeeded": "[green]✓[/]",
        "failed": "[bold red]✗[/]",
        "skipped": "[yellow]↷[/]",
        "retried": "[yellow]↻[/]",
    }

    def show(event: StepEvent) -> None:
        step = escape(event.step)
        if event.kind == "started":
            begun[event.step] = time.monotonic()
            err.print(f"[blue]▶[/] {step}")
            return
        took = time.monotonic() - begun[event.step] if event.step in begun else None
        words = {"skipped": "not run", "retried": "failed, will be retried"}.get(event.kind, "")
        err.print(f"{signs[event.kind]} {step}  [dim]{words or seconds_text(took)}[/]")

    return show
