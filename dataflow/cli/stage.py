"""`dataflow workflow add-stage`: a notebook, and its entry in config.yaml."""

from __future__ import annotations

from typing import Annotated

import typer

from dataflow.cli.output import Name
from dataflow.project import Project


def add_stage(
    name: Name,
    stage: Annotated[
        str, typer.Argument(help="The new stage: letters, digits and _; its notebook's name.")
    ],
    after: Annotated[
        list[str] | None,
        typer.Option(
            "--after",
            metavar="STAGE",
            help="A stage that it waits for, instead of the last one in config.yaml. Can be given "
            "several times.",
        ),
    ] = None,
    first: Annotated[bool, typer.Option("--first", help="It waits for no stage.")] = False,
    writes: Annotated[
        str | None,
        typer.Option(
            "--writes", metavar="TABLE", help="The table that it writes; by default of its name."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")
    ] = False,
) -> None:
    """Add a stage to a workflow: a notebook that runs, and its entry in config.yaml."""
    from dataflow.cli.output import console, messages
    from dataflow.errors import ConfigurationError
    from dataflow.scaffold.stage import make_stage, plan_stage

    if first and after:
        raise ConfigurationError("--first and --after contradict each other", hint="Give one.")
    project = Project.find()
    new = plan_stage(project, name, stage, after=[] if first else after, table=writes)
    for line in [project.relative(new.notebook), *new.change.diff]:
        console().print(line, markup=False, highlight=False)
    err = messages()
    if dry_run:
        err.print("Nothing was written.")
        return
    make_stage(new)
    err.print(f"\n[green]✓[/] stage {stage} added. To run it with those before it:")
    err.print(f"  dataflow workflow run {new.change.workflow.id} --changed", style="bold")
