"""The development copy made from the working warehouse: the data that a run just used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflow.base.files import whole_file
from dataflow.errors import WarehouseError
from dataflow.warehouse import lock
from dataflow.warehouse.failures import translated
from dataflow.warehouse.files import copy_database
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.versions import METADATA

if TYPE_CHECKING:
    from dataflow.project import Project


def has_development_copy(project: Project) -> bool:
    """Whether there is a development copy that would be lost."""
    return Layout.of(project).development.exists()


def copy_working_to_development(project: Project, *, timeout: float = 60.0) -> None:
    """Replace the development copy by the working warehouse as it is now.

    The published version would not do: what a failed run read and wrote is in none.

    Args:
        project: whose copy.
        timeout: seconds to wait for writers, and for notebooks that have the copy open.

    Raises:
        WarehouseLocked: somebody had one of the two open all the time.
        WarehouseError: there is no warehouse yet, or the copy cannot be written.
    """
    layout = Layout.of(project)
    if not layout.working.exists():
        raise WarehouseError(
            "there is no warehouse yet",
            where=project.relative(layout.working),
            hint="Run a workflow: dataflow workflow run NAME.",
        )
    target = layout.development
    held = lock.acquire(target, holder="renewal of the development copy", timeout=timeout)
    try:
        with translated(target), whole_file(target) as draft:
            with lock.write_lock(project, "copy for development", timeout):
                copy_database(layout.working, draft, timeout)
            target.with_name(target.name + ".wal").unlink(missing_ok=True)
            # It says which files of big published tables the copy reads: now none.
            (target.parent / METADATA).unlink(missing_ok=True)
    finally:
        held.release()
