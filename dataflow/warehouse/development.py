"""The development copy: what a notebook run by hand reads and writes."""

from __future__ import annotations

import shutil

from dataflow.warehouse import versions
from dataflow.warehouse.layout import Layout


def ensure(layout: Layout) -> None:
    """Make the development copy from the published version, unless it is there.

    With nothing published yet it starts empty. The caller holds the copy's write lock.
    """
    if not layout.development.exists():
        renew(layout)


def renew(layout: Layout) -> int | None:
    """Replace the development copy by the published version.

    The caller holds the copy's write lock.

    Returns:
        the version's number; None when nothing is published and the copy is now empty.
    """
    target = layout.development
    target.parent.mkdir(parents=True, exist_ok=True)
    reading = versions.read_current(layout)
    wal = target.with_name(target.name + ".wal")
    if reading is None:
        target.unlink(missing_ok=True)
        wal.unlink(missing_ok=True)
        return None
    try:
        draft = target.with_name(f"{target.name}.draft")
        shutil.copyfile(reading.version.path, draft)
        wal.unlink(missing_ok=True)
        draft.replace(target)
        return reading.version.number
    finally:
        reading.release()
