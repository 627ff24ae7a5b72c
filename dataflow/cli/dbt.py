"""`dataflow dbt`: dbt by hand, on the warehouse that runs use and under their lock."""

from __future__ import annotations

import typer

from dataflow.project import Project


def dbt(context: typer.Context) -> None:
    """Run dbt by hand, in turn with runs that write: dataflow dbt build --select earthquakes.

    Everything after `dbt` goes to dbt. It uses the working warehouse.

    Readers see what it made after the workflow's next run, or `dataflow db publish`.
    """
    from dataflow.dbt.command import run_by_hand

    raise typer.Exit(run_by_hand(Project.find(), context.args))
