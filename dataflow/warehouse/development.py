"""The development copy: what a notebook run by hand reads and writes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from dataflow.base.files import whole_file
from dataflow.warehouse import lock, versions
from dataflow.warehouse.failures import translated
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.versions import METADATA

if TYPE_CHECKING:
    from dataflow.project import Project


def reset_development(project: Project, *, timeout: float = 60.0) -> int | None:
    """Replace the development copy by the published version; what was in it is lost.

    Args:
        project: whose copy.
        timeout: seconds to wait for notebooks that have it open.

    Returns:
        the published version's number; None when nothing is published and it is now empty.

    Raises:
        WarehouseLocked: a notebook had it open all the time.
        WarehouseError: it cannot be written.
    """
    layout = Layout.of(project)
    held = lock.acquire(layout.development, holder="reset of the development copy", timeout=timeout)
    try:
        return _renew(layout)
    finally:
        held.release()


def ensure(layout: Layout) -> None:
    """Make the development copy from the published version, unless it is there.

    With nothing published yet it starts empty. The caller holds the copy's write lock.
    """
    if not layout.development.exists():
        _renew(layout)


def _renew(layout: Layout) -> int | None:
    target = layout.development
    with translated(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        reading = versions.read_current(layout)
        target.with_name(target.name + ".wal").unlink(missing_ok=True)
        if reading is None:
            target.unlink(missing_ok=True)
            (target.parent / METADATA).unlink(missing_ok=True)
            return None
        try:
            with whole_file(target) as draft:
                shutil.copyfile(reading.version.path, draft)
                # The metadata first: it keeps the files of big tables from being removed.
                if metadata := reading.version.metadata:
                    metadata.write(target.parent)
            return reading.version.number
        finally:
            reading.release()
