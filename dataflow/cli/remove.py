"""`dataflow workflow remove` and `rename`: a workflow with all that was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dataflow.cli.output import Name, console, messages, new_table
from dataflow.project import Project

if TYPE_CHECKING:
    from dataflow.scaffold.inventory import Inventory
    from dataflow.scaffold.rename import Renaming

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
    used = readers(inventory)
    for problem in used if dry_run or force else []:
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
    if not yes and (force or not used):  # what is refused needs no answer
        typer.confirm(f"Remove all this of workflow {inventory.workflow_id}?", abort=True)
    remove_workflow(
        inventory,
        runs=runs,
        force=force,
        on_step=lambda text: err.print(f"[green]✓[/] {text}"),
        on_progress=lambda text: err.print(text, style="dim"),
    )
    err.print(f"Workflow {inventory.workflow_id} is removed.")
    if any(inventory.tables.values()):
        err.print(
            "Published versions before this one go with the next publish, once nobody reads "
            "them; other users' development copies by their own dataflow db reset-dev."
        )
    err.print("Dagster, if its service runs, forgets it when you reload its code location.")


def rename(
    old: Annotated[str, typer.Argument(help="The workflow: its folder's name.")],
    new: Annotated[str, typer.Argument(help="Its new name: small letters, digits and _.")],
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Give a workflow another name: folders, models, references in its files, schemas, dashboard."""
    from dataflow.scaffold.rename import plan_renaming, rename_workflow

    project = Project.find()
    project.load_environment()
    plan = plan_renaming(project, old, new)
    err = messages()
    if plan.inventory is None:
        err.print(f"The renaming of {plan.old} to {plan.new} was interrupted; this finishes it.")
    else:
        print_renaming(plan, plan.inventory)
    if dry_run:
        err.print("Nothing was renamed.")
        return
    if not yes:
        typer.confirm(f"Rename workflow {plan.old} to {plan.new}?", abort=True)
    rename_workflow(
        plan,
        on_step=lambda text: err.print(f"[green]✓[/] {text}"),
        on_progress=lambda text: err.print(text, style="dim"),
    )
    err.print(f"Workflow {plan.old} is {plan.new} now. Nothing of it counts as run yet:")
    err.print(f"  dataflow workflow run {plan.new}", style="bold")
    err.print("Dagster, if its service runs, learns of it when you reload its code location.")


def print_renaming(plan: Renaming, inventory: Inventory) -> None:
    """Print what a renaming changes: places, schemas, lines, and what it leaves."""
    from rich.markup import escape
    from rich.text import Text

    project, out, err = plan.project, console(), messages()
    table = new_table("From", "To")
    for source, target in plan.moves:
        table.add_row(Text(project.relative(source)), Text(project.relative(target)))
    for schema, renamed in plan.schemas.items():
        if any(schema == found for tables in inventory.tables.values() for found, _ in tables):
            there = [
                d for d, tables in inventory.tables.items() if any(s == schema for s, _ in tables)
            ]
            table.add_row(Text(f"schema {schema}"), Text(f"{renamed} ({', '.join(there)})"))
    out.print(table)
    for change in plan.changes:
        mark = ", " if change.place.startswith("cell") else ":"
        out.print(f"[bold]{escape(project.relative(change.path))}{mark}{change.place}[/]")
        out.print(f"  [red]- {escape(change.before.strip())}[/]")
        out.print(f"  [green]+ {escape(change.after.strip())}[/]")
    for problem in plan.readers:
        where = escape(f"{problem.where(project.root)}: {problem.message}")
        err.print(f"[yellow]change it yourself:[/] {where}")
    for problem in plan.mentions:
        err.print(f"[yellow]look at it:[/] {problem.where(project.root)}: {problem.message}")
    err.print("The name that people see stays: `name:` in config.yaml, the titles of pages.")
    if inventory.runs:
        err.print(f"Its runs stay under the old name: dataflow runs list {plan.old}")


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
