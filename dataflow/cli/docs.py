"""`dataflow docs`: the project's workflows as documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dataflow.cli.output import messages

app = typer.Typer(help="Document the project's workflows.", no_args_is_help=True)


@app.callback()
def docs() -> None:
    """Document the project's workflows."""


@app.command()
def build(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The folder to make; .dataflow/docs by default."),
    ] = None,
) -> None:
    """Write the documentation of all workflows as files, to be read without a server."""
    from dataflow.project import Project
    from dataflow.services.documentation import build_documentation

    project = Project.find()
    first = build_documentation(project, output or project.state / "docs")
    typer.echo(first)
    messages().print("Open it in a browser, or put its folder on any web server.")
