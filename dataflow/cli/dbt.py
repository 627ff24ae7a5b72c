"""`dataflow dbt`: dbt by hand, on the warehouse that runs use and under their lock."""

from __future__ import annotations

import contextlib
import subprocess
import time

import typer

from dataflow.project import Project

BUILDS = {"build", "run", "seed", "snapshot", "retry", "clone"}  # these write tables
# What these do needs no database; everything else waits for its turn.
WITHOUT_DATABASE = {"parse", "ls", "list", "deps", "clean", "init"}


def dbt(context: typer.Context) -> None:
    """Run dbt by hand, in turn with runs that write: dataflow dbt build --select earthquakes.

    Everything behind `dbt` is dbt's own. It works on the working warehouse.

    Readers see what it made after the workflow's next run, or `dataflow db publish`.
    """
    from dataflow.errors import ConfigurationError
    from dataflow.orchestration.dbt_project import dbt_command, dbt_environment, forget_variables
    from dataflow.orchestration.dbt_results import read_results
    from dataflow.warehouse.lock import write_lock
    from dataflow.warehouse.provenance import note_models

    if not context.args:
        raise ConfigurationError(
            "dbt needs a command", hint="For instance: dataflow dbt build --select earthquakes."
        )
    project = Project.find()
    words = " ".join(["dbt", *context.args])

    def run() -> int:
        code = subprocess.run(
            dbt_command(project, *context.args),
            cwd=project.dbt,
            env=dbt_environment(project),
            check=False,
        ).returncode
        forget_variables(project)
        return code

    command = next((word for word in context.args if not word.startswith("-")), "")
    if command in WITHOUT_DATABASE:
        raise typer.Exit(run())
    target = project.dbt / "target"
    with write_lock(project, holder=words):
        started = time.time_ns()
        code = run()
        with contextlib.suppress(OSError):
            written = (target / "run_results.json").stat().st_mtime_ns >= started
            if command in BUILDS and written:
                note_models(project, read_results(target).built)  # no run's: no check saw it
    raise typer.Exit(code)
