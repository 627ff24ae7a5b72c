"""A run as a person reads it: its steps, its links."""

from __future__ import annotations

from rich.markup import escape

from dataflow.addresses import service_url
from dataflow.cli.output import console, print_table
from dataflow.project import Project
from dataflow.review.written import tables_table, written_tables
from dataflow.runs.record import Run
from dataflow.runs.summary import steps_table
from dataflow.workflows.ids import slug_of


def print_run(project: Project, run: Run) -> None:
    """Print the run's steps as a table, and where its results are."""
    out = console()
    print_table(steps_table(run.steps))
    for name, step in run.steps.items():
        for warning in step.get("warnings") or []:
            out.print(f"[yellow]warning:[/] {name}: {escape(warning)}")
    if written := written_tables(project, run):
        print_table(tables_table(project, written))
    if run.status == "succeeded" and run.steps.get("dashboard", {}).get("status") == "succeeded":
        dashboards = service_url(project, "evidence")
        out.print(f"Dashboard           {dashboards}/{slug_of(run.workflow_id)}")
        out.print("                    [dim](dataflow service start evidence)[/]")
    out.print(f"Executed notebooks  {project.relative(run.folder)}/")
