"""`dataflow workflow init`: a new workflow from a template."""

from __future__ import annotations

from typing import Annotated

import typer

from dataflow.base.words import counted
from dataflow.project import Project


def init(
    name: Annotated[
        str, typer.Argument(help="The new workflow: lower-case letters, digits and _.")
    ],
    template: Annotated[
        str,
        typer.Option(
            "-t",
            "--template",
            help="What to start from: minimal, api (a paged JSON API), files (a folder of CSV, "
            "Parquet and JSON), database (a SQL database).",
        ),
    ] = "minimal",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files, and write none.")
    ] = False,
) -> None:
    """Create a workflow with notebooks, dbt models, dashboard and tests, ready to run."""
    from dataflow.addresses import service_url
    from dataflow.cli.output import console, messages
    from dataflow.scaffold.workflow import make_workflow, plan_workflow

    project = Project.find()
    scaffold = plan_workflow(project, name, template)
    files = scaffold.files if dry_run else make_workflow(scaffold)
    for file in files:
        console().print(project.relative(file), markup=False)
    err = messages()
    if dry_run:
        err.print(f"{counted(len(files), 'file')} would be created; nothing was written.")
        return
    err.print(f"\n[green]✓[/] workflow {name} created. To see its dashboard:")
    err.print(f"  dataflow workflow run {name}", style="bold")
    err.print("  dataflow service start evidence", style="bold")
    err.print(f"  → {service_url(project, 'evidence')}/{scaffold.slug}", style="cyan")
