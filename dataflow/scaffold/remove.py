"""Removing a workflow: its tables from every database, its files, its dashboard.

What is removed is found by the workflow's name. Killed in the middle, the same call finds what is
left and finishes: tables go first, since the configuration says which of a shared schema are the
workflow's, then the files, `config.yaml` as the last of them, then what was made of both.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from dataflow.dashboard.refresh import withdraw_dashboard
from dataflow.errors import ConfigurationError, DashboardError, DataflowError, Problem
from dataflow.runs.turn import turn
from dataflow.scaffold.inventory import Inventory
from dataflow.validation.reads import Tables, outside_reads
from dataflow.warehouse.store import candidate_runs, remove_candidates, remove_tables


def readers(inventory: Inventory) -> list[Problem]:
    """The places in other workflows' files that would not work any more."""
    tables = Tables(inventory.schemas, inventory.shared)
    return outside_reads(inventory.project, inventory.workflow_id, tables)


def remove_workflow(
    inventory: Inventory,
    *,
    runs: bool = False,
    force: bool = False,
    on_step: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Remove all that `inventory` lists.

    Args:
        inventory: what belongs to the workflow.
        runs: remove its runs, too, with their executed notebooks.
        force: also when others read its tables.
        on_step: called with each thing that was removed, in words.
        on_progress: told that pages are built, and every few seconds that it goes on.

    Raises:
        ConfigurationError: it runs, or others read its tables; nothing was removed.
        WarehouseError: a database cannot be written; the same call goes on from there.
        DataflowError: a file cannot be removed, or the page is still served; all else is gone.
    """
    project, workflow_id = inventory.project, inventory.workflow_id
    with turn(project, workflow_id, f"removal of {workflow_id}", wait=False):
        if not force and (problems := readers(inventory)):
            raise ConfigurationError(
                f"others use what workflow {workflow_id} makes; nothing was removed",
                hint="Change them first, or remove it all the same with --force.",
                problems=problems,
                root=project.root,
            )
        remove_candidates(project, workflow_id, candidate_runs(project, workflow_id))
        if any(inventory.tables.values()):
            remove_tables(project, workflow_id, inventory.schemas, inventory.shared)
            on_step(f"tables, from the {', the '.join(inventory.tables)} database")
        for path in inventory.folders:
            _remove(project.relative(path), path)
            on_step(project.relative(path))
        if runs and inventory.runs:
            _remove(project.relative(project.runs / workflow_id), project.runs / workflow_id)
            on_step(project.relative(project.runs / workflow_id))
        try:
            withdraw_dashboard(project, workflow_id, on_progress=on_progress)
        except DataflowError as error:
            raise DashboardError(
                f"all is removed but the page {inventory.url}, which is served until the next "
                f"build: {error.message}",
                where=error.where,
                hint=f"{error.hint or ''} Then: dataflow workflow remove {workflow_id}".strip(),
            ) from error
        if inventory.exported or inventory.is_served:
            on_step(f"the dashboard {inventory.url}")


def _remove(name: str, path: Path) -> None:
    """Remove a file or a folder; of a workflow's folder what makes it one goes last."""
    try:
        if path.is_symlink() or path.is_file():
            path.unlink()
            return
        for below in [one for one in path.iterdir() if one.name != "config.yaml"]:
            _remove(name, below)
        shutil.rmtree(path)
    except OSError as error:
        raise DataflowError(
            f"{name} cannot be removed: {error.strerror or error}",
            where=str(error.filename or path),
            hint="Let yourself write there, and run the same command again.",
        ) from error
