"""`dataflow workflow validate`: everything wrong with workflows, at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.base.words import counted
from dataflow.cli.output import Json, console, messages, print_json
from dataflow.errors import ConfigurationError

if TYPE_CHECKING:
    from dataflow.api import Validation


def validate(
    name: Annotated[str | None, typer.Argument(help="The workflow; all if left out.")] = None,
    dbt: Annotated[
        bool, typer.Option("--dbt", help="Have dbt read its models too; takes some seconds.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check configuration, notebooks, models and pages; lists everything wrong at once."""
    from dataflow.api import Project

    project = Project.find()
    found = (project.workflow(name) if name else project).validate(dbt=dbt)
    root = project.paths.root
    if as_json:
        _print_json(root, found)
        if found.problems:
            raise typer.Exit(ConfigurationError.exit_code)
        return
    _print(root, found)
    if found.problems:
        text = f"{counted(len(found.problems), 'problem')} found"
        raise ConfigurationError(text, problems=found.problems, root=root)


def _print(root: Path, validation: Validation) -> None:
    from rich.markup import escape

    for workflow, one in validation.found.items():
        if not one.problems and workflow not in ("notebooks", "leftovers"):
            console().print(f"[green]✓[/] {workflow}")
    err = messages()
    for warning in validation.warnings:
        where = warning.where(root)
        err.print(
            f"[yellow]warning:[/] {escape(f'{where}: ' if where else '')}{escape(warning.message)}"
        )
        if warning.hint:
            err.print(f"  → {escape(warning.hint)}", style="cyan")


def _print_json(root: Path, validation: Validation) -> None:
    print_json(
        {
            workflow: [
                {"severity": severity, **problem.to_json(root)}
                for severity, problems in (("error", one.problems), ("warning", one.warnings))
                for problem in problems
            ]
            for workflow, one in validation.found.items()
        }
    )
