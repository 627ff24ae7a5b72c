"""`dataflow workflow`: list, validate and run workflows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dataflow.cli.output import Json, Name, messages, print_json, print_table
from dataflow.errors import EXIT_FAILED, ConfigurationError

if TYPE_CHECKING:
    from dataflow.api import Workflow

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


@app.command("list")
def list_workflows(as_json: Json = False) -> None:
    """List the project's workflows with their schedules and last runs."""
    from dataflow.api import Project

    workflows = Project.find().workflows()
    if as_json:
        print_json([_as_json(entry) for entry in workflows])
        return
    print_table(workflows.table)
    if not workflows:
        messages().print("notebooks/ has no workflow yet: a folder with a config.yaml.")


def _as_json(entry: Workflow) -> dict[str, Any]:
    workflow, run = entry.registered.workflow, entry.last_run
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
    from dataflow.orchestration.options import RunOptions
    from dataflow.orchestration.preload import want
    from dataflow.orchestration.run import run_workflow
    from dataflow.project import Project as Paths
    from dataflow.workflows.registry import find_workflow_folder

    paths = Paths.find()
    workflow_id = find_workflow_folder(paths, name).name
    values = _parameters(parameter or [], file)
    live = not quiet and not as_json
    want("dataflow.api", "dataflow.cli.report")
    # In this process, which does nothing else; `Workflow.run` starts one for it.
    done = run_workflow(paths, workflow_id, RunOptions(values, only, start, changed, live))
    if done is None:
        return
    # Imported already, while the first notebook ran.
    from dataflow.api import Project, Run
    from dataflow.cli import report

    finished = Run.of(done, Project(paths))
    if as_json:
        print_json({**finished.data, "status": finished.status})
    else:
        report.print_run(paths, finished)
    if finished.error:
        if as_json:
            raise typer.Exit(EXIT_FAILED)
        raise finished.error


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
