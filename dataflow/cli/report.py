"""A run as a person reads it: its steps, its links."""

from __future__ import annotations

import sys
from typing import Any

from rich.markup import escape

from dataflow.addresses import service_url
from dataflow.cli.output import console, print_table
from dataflow.project import Project
from dataflow.review.written import tables_table, written_tables
from dataflow.runs.record import AWAITING, SHORT, Run
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
    if review := run.data.get("review"):
        _print_review(project, run, review)
    out.print(f"Executed notebooks  {project.relative(run.folder)}/")


def _print_review(project: Project, run: Run, review: dict[str, Any]) -> None:
    """Print why the run is reviewed, and what was decided or who can."""
    from dataflow.services.decision import preview_url

    out = console()
    short = run.run_id[:SHORT]
    if newer := review.get("superseded_by"):
        out.print(f"Review              not decided: newer data took its place ({newer[:SHORT]})")
    elif decision := review.get("decision"):
        unfinished = "" if run.status != AWAITING else ", not finished: approve it again"
        at = review["at"][:16].replace("T", " ")
        out.print(f"Review              {decision} by {escape(review['by'])}, {at} UTC{unfinished}")
        if review.get("comment"):
            out.print(f"                    {escape(review['comment'])}")
    elif run.status == AWAITING:
        for reason in review.get("because") or []:
            out.print(f"Awaits review       {escape(reason)}")
        out.print(f"                    dataflow runs approve {short}, or reject", style="cyan")
        if address := preview_url(project, run):
            out.print(f"Preview             {address}")


def print_decide(project: Project, run: Run) -> None:
    """Print on a terminal where its user can decide in a browser about a run that awaits review."""
    from dataflow.services.decision import decide_url

    if run.status == AWAITING and sys.stdout.isatty():  # the address is a secret: not for logs
        console().print(f"Decide here         {decide_url(project, run)}")
