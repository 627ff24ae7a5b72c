"""`dataflow config`: the project's settings, and what workflows are configured to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.base.words import counted
from dataflow.cli.output import Json, console, messages, new_table, print_json
from dataflow.errors import ConfigurationError
from dataflow.project import Project

if TYPE_CHECKING:
    from dataflow.workflows.settings import Setting, Variable

app = typer.Typer(help="Show and check settings and configuration.", no_args_is_help=True)


@app.command("list")
def list_configurations(as_json: Json = False) -> None:
    """List the configuration files and the environment variables they need."""
    from dataflow.workflows.load import load_workflow
    from dataflow.workflows.registry import workflow_folders
    from dataflow.workflows.settings import variables_of

    project = Project.find()
    rows = [
        (folder, load_workflow(folder)[1], variables_of(project, folder))
        for folder in workflow_folders(project)
    ]
    if as_json:
        print_json(
            [
                {
                    "workflow": folder.name,
                    "file": project.relative(folder / "config.yaml"),
                    "problems": len(problems),
                    "variables": [asdict(variable) for variable in variables],
                }
                for folder, problems, variables in rows
            ]
        )
        return
    table = new_table("Workflow", "File", "Valid", "Variables")
    for folder, problems, variables in rows:
        table.add_row(
            folder.name,
            project.relative(folder / "config.yaml"),
            f"[red]{counted(len(problems), 'problem')}[/]" if problems else "[green]yes[/]",
            ", ".join(f"{v.name} {_state(v)}" for v in variables),
        )
    console().print(table)
    if not rows:
        messages().print("notebooks/ has no workflow yet: a folder with a config.yaml.")


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(help="A workflow; the project's settings if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the project's settings, or a workflow's configuration; secrets as ${VAR}."""
    project = Project.find()
    if name is None:
        _show_settings(project, as_json)
    else:
        _show_workflow(project, name, as_json)


def _show_settings(project: Project, as_json: bool) -> None:
    from rich.markup import escape

    from dataflow.settings import SETTINGS, sources, value_text, variable_of

    settings, given = project.settings, sources(project.root)
    rows = [
        {
            "name": name,
            "value": getattr(settings, name),
            "from": str(given.get(name, "default")),
            "variable": variable_of(name),
            "help": one.metadata["help"],
        }
        for name, one in SETTINGS.items()
    ]
    if as_json:
        print_json(rows)
        return
    table = new_table("Setting", "Value", "From", "Means")
    for row in rows:
        name, where = row["name"], row["from"]
        place = f"[dim]{where}[/]" if where == "default" else f"[green]{escape(where)}[/]"
        table.add_row(name, escape(value_text(name, row["value"])), place, escape(row["help"]))
    console().print(table)
    messages().print(
        "[dim]Set them in pyproject.toml under \\[tool.dataflow], or as DATAFLOW_<NAME>.[/]"
    )


def _show_workflow(project: Project, name: str, as_json: bool) -> None:
    from rich.markup import escape

    from dataflow.workflows.registry import find_workflow_folder, get_workflow
    from dataflow.workflows.settings import parameters_of, secret_mask, variables_of
    from dataflow.workflows.yaml_file import read_yaml

    workflow = get_workflow(project, name)
    folder = find_workflow_folder(project, name)
    file = read_yaml(folder / "config.yaml")
    variables, parameters = variables_of(project, folder), parameters_of(workflow)
    mask = secret_mask(project, file.data)
    if as_json:
        print_json(mask.tree(_as_json(file.data, variables, parameters)))
        return
    out = console()
    out.print(f"[dim]# {project.relative(file.path)}[/]")
    out.print(escape(mask.text(file.path.read_text("utf-8").rstrip())))
    if variables:
        table = new_table("Variable", "State")
        for variable in variables:
            table.add_row(variable.name, _state(variable))
        out.print()
        out.print(table)
    if parameters:
        table = new_table("Stage", "Parameter", "Value", "From", "Help")
        for one in parameters:
            value = "" if one.source == "required" else repr(one.value)
            table.add_row(
                one.stage, one.name, escape(mask.text(value)), one.source, escape(one.help)
            )
        out.print()
        out.print(table)


@app.command()
def validate(
    name: Annotated[str | None, typer.Argument(help="The workflow; all if left out.")] = None,
) -> None:
    """Check configuration files only; `dataflow workflow validate` checks everything."""
    import os

    from dataflow.validation.config import unset_variables
    from dataflow.workflows.load import load_workflow
    from dataflow.workflows.registry import find_workflow_folder, workflow_folders

    project = Project.find()
    project.load_environment()
    folders = [find_workflow_folder(project, name)] if name else workflow_folders(project)
    problems = []
    for folder in folders:
        found = [*load_workflow(folder)[1], *unset_variables(folder, dict(os.environ))]
        problems += found
        if not found:
            console().print(f"[green]✓[/] {project.relative(folder / 'config.yaml')}")
    if problems:
        text = f"{counted(len(problems), 'problem')} found"
        raise ConfigurationError(text, problems=problems, root=project.root)


def _state(variable: Variable) -> str:
    if not variable.is_set:
        return "[red]not set[/]"
    where = "by its default" if variable.source == "default" else f"in {variable.source}"
    where = where.replace("in environment", "in the environment")
    return f"[green]set[/] {where}"


def _as_json(
    data: object, variables: list[Variable], parameters: list[Setting]
) -> dict[str, object]:
    return {
        "configuration": data,
        "variables": [asdict(variable) for variable in variables],
        "parameters": [asdict(parameter) for parameter in parameters],
    }
