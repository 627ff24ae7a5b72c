"""`dataflow workflow remove`: a workflow and all that was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.cli.output import Name, console, messages, new_table
from dataflow.project import Project

if TYPE_CHECKING:
    from dataflow.scaffold.inventory import Inventory

DryRun = Annotated[bool, typer.Option("--dry-run", help="List it all, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

SHOWN = 6  # files of a folder that are named


def remove(
    name: Name,
    runs: Annotated[
        bool, typer.Option("--runs", help="Remove its runs with their executed notebooks, too.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Remove it although others read its tables.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Remove a workflow, or what is left of one: files, models, pages, tests, tables, dashboard."""
    from dataflow.scaffold.inventory import take_inventory
    from dataflow.scaffold.remove import readers, remove_workflow

    project = Project.find()
    project.load_environment()
    inventory = take_inventory(project, name)
    err = messages()
    print_inventory(inventory)
    for problem in readers(inventory):
        err.print(f"[yellow]used by:[/] {problem.where(project.root)}: {problem.message}")
    if inventory.runs and not runs:
        where = project.relative(project.runs / inventory.workflow_id)
        err.print(f"The runs stay, in {where}; --runs removes them, too.")
        if inventory.is_empty:
            return
    err.print(
        "git restore brings back files that are committed; tables it does not: "
        "dataflow db backup FILE first"
    )
    if dry_run:
        err.print("Nothing was removed.")
        return
    if not yes:
        typer.confirm(f"Remove all this of workflow {inventory.workflow_id}?", abort=True)
    remove_workflow(
        inventory,
        runs=runs,
        force=force,
        on_step=lambda text: err.print(f"[green]✓[/] {text}"),
    )
    err.print(f"Workflow {inventory.workflow_id} is removed.")
    if any(inventory.tables.values()):
        err.print(
            "Published versions before this one go with the next publish, once nobody reads "
            "them; other users' development copies by their own dataflow db reset-dev."
        )
    err.print("Dagster, if its service runs, forgets it when you reload its code location.")


def print_inventory(inventory: Inventory) -> None:
    """Print what belongs to a workflow, a line for each place."""
    from rich.text import Text

    from dataflow.base.words import counted

    table = new_table("Where", "What")

    def line(where: str, what: str) -> None:
        table.add_row(Text(where), Text(what))

    project = inventory.project
    for path in inventory.folders:
        files = [below for below in sorted(path.rglob("*")) if below.is_file()]
        shown = ", ".join(str(file.relative_to(path)) for file in files[:SHOWN])
        more = f" and {len(files) - SHOWN} more" if files[SHOWN:] else ""
        line(project.relative(path) + ("/" if path.is_dir() else ""), shown + more)
    for name in sorted({name for found in inventory.tables.values() for name in found}):
        rows: dict[int | None, list[str]] = {}
        for database, found in inventory.tables.items():
            if name in found:
                rows.setdefault(found[name], []).append(database)
        counts = (
            f"{'a view' if count is None else counted(count, 'row')} ({', '.join(where)})"
            for count, where in rows.items()
        )
        line(".".join(name), ", ".join(counts))
    for schema, other in inventory.kept.items():
        line(schema, f"stays: it is the schema of workflow {other}")
    if inventory.exported or inventory.is_served:
        page = ["the page that is served"] if inventory.is_served else []
        line(f"dashboard {inventory.url}", ", ".join([*inventory.exported, *page]))
    if inventory.schedule:
        line("schedule", inventory.schedule)
    if inventory.runs:
        line(f"runs/{inventory.workflow_id}/", counted(inventory.runs, "run"))
    console().print(table)
