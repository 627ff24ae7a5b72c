"""`dataflow init`, `setup` and `upgrade`: a project of one's own, from its first day on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from dataflow.base.words import counted
from dataflow.cli.output import console, messages
from dataflow.errors import ConfigurationError
from dataflow.project import Project

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def init(
    folder: Annotated[Path, typer.Argument(help="The new project's folder.")],
    example: Annotated[
        str | None,
        typer.Option("--example", help="Bring a complete workflow along: earthquakes."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--template",
            help="Begin with a workflow called like the project: minimal, api, files, database.",
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Create a project: everything that workflows need, in a git repository."""
    from dataflow.addresses import service_url
    from dataflow.scaffold.project import lacks_wheel, make_project, plan_project

    plan = plan_project(folder, example, template)
    files = sorted(plan.files) if dry_run else make_project(plan)
    for file in files:
        console().print(str(folder / file), markup=False)
    err = messages()
    if dry_run:
        err.print(f"{counted(len(files), 'file')} would be created; nothing was written.")
        return
    err.print(f"\n[green]✓[/] project {plan.name} created. To see a dashboard of it:")
    workflow = example or plan.workflow
    steps = [] if plan.root == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    steps += [] if workflow else ["dataflow workflow init first"]
    for step in (*steps, f"dataflow workflow run {workflow or 'first'}",
                 "dataflow service start evidence"):  # fmt: skip
        err.print(f"  {step}", style="bold", markup=False)
    err.print(f"  → {service_url(Project(plan.root), 'evidence')}", style="cyan")
    if lacks_wheel():
        err.print(
            "  → `make setup` of the project needs DATAFLOW's package in wheels/, since no index has "
            "it: `make wheel` in DATAFLOW's repository builds it.",
            style="cyan",
        )


def setup() -> None:
    """Install what dashboards are built with: Evidence's packages, and Node where it is missing.

    The first run that has a dashboard does it by itself.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from dataflow.dashboard.install import ensure_node, install

    project = Project.find()
    err = messages()

    def say(line: str) -> None:
        err.print(line, markup=False)

    ensure_node(project, say)
    with Progress(
        TextColumn("the dashboard's packages"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    ) as bar:
        task = bar.add_task("packages", total=None, visible=err.is_terminal)
        done = install(
            project,
            on_line=say,
            on_part=lambda done, of: bar.update(task, completed=done, total=of),
        )
    err.print(
        "[green]✓[/] the dashboard's packages "
        + ("are installed" if done else "were installed already")
    )


def upgrade(dry_run: DryRun = False) -> None:
    """Bring the project's files to the installed version of DATAFLOW; yours stay as they are."""
    from dataflow.base.version import installed
    from dataflow.scaffold.upgrade import plan_upgrade
    from dataflow.scaffold.upgrade import upgrade as carry_out
    from dataflow.services import control
    from dataflow.services.catalog import SERVICES

    project = Project.find()
    plan = plan_upgrade(project)
    running = [name for name, one in SERVICES.items() if control.status(project, one).processes]
    if running and not dry_run:
        raise ConfigurationError(
            f"services of the project are running: {', '.join(running)}",
            hint="Stop them first: dataflow service stop all",
        )
    out, err = console(), messages()
    for change in plan.changes:
        out.print(f"{change.path}: {change.what}", markup=False)
        if dry_run and change.difference:
            out.print(change.difference, markup=False, end="")
    if plan.wheel is not None:
        out.print(f"wheels/{plan.wheel.name}: new", markup=False)
    if not dry_run:
        carry_out(plan)
    versions = f"{plan.version} → {installed()}" if plan.version != installed() else installed()
    if dry_run:
        err.print(f"{versions}: nothing was written.")
    elif plan.changes or plan.wheel:
        err.print(f"[green]✓[/] the project is of version {versions}.")
        err.print("  → Look at the changes (git diff), then: make setup", style="cyan")
    else:
        err.print(f"[green]✓[/] nothing to do: the project is of version {versions}.")
