"""The development copy: the database of a person's notebooks when they are run by hand.

Every user has their own. In it all tables are real ones, even big published tables, so that any
statement works as in a run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from dataflow.base.files import whole_file
from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.warehouse import lock, versions
from dataflow.warehouse.failures import translated
from dataflow.warehouse.files import copy_database
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.snapshot import make_real
from dataflow.warehouse.versions import METADATA, Metadata

WHAT = "your development copy"

# From here on making the tables real takes noticeably long: about ten seconds.
SAY_SO_BYTES = 512 * 2**20

logger = logging.getLogger(__name__)


def has_development_copy(project: Project) -> bool:
    """Whether this user has a development copy."""
    return Layout.of(project).development.exists()


def reset_development(project: Project, *, timeout: float = 60.0) -> int | None:
    """Replace the user's development copy by the published version; its content is lost.

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
    with lock.acquire(
        layout.development, WHAT, holder="reset of the development copy", timeout=timeout
    ):
        return _renew(layout)


def copy_working_to_development(project: Project, *, timeout: float = 60.0) -> None:
    """Replace the user's development copy by the current working warehouse.

    The published version would not do: it lacks what a failed run read and wrote.

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

    def copy(draft: Path) -> None:
        with lock.write_lock(project, "copy for development", timeout):
            copy_database(layout.working, draft, timeout)

    with lock.acquire(
        layout.development, WHAT, holder="renewal of the development copy", timeout=timeout
    ):
        _replace(layout, copy)


def ensure(layout: Layout) -> None:
    """Create the development copy from the published version, unless it exists.

    With nothing published yet it starts empty. The caller holds the copy's write lock.
    """
    if not layout.development.exists() and not _take_over(layout):
        _renew(layout)


def _renew(layout: Layout) -> int | None:
    reading = versions.read_current(layout)
    if reading is None:
        for path in (layout.development, _log(layout.development)):
            path.unlink(missing_ok=True)
        return None
    with reading:
        version, metadata = reading.version, reading.version.metadata
        _replace(layout, lambda draft: shutil.copyfile(version.path, draft), version.path, metadata)
        return version.number


def _take_over(layout: Layout) -> bool:
    """Give this user the copy that all users once shared, if they created it."""
    old = layout.shared_development
    with contextlib.suppress(FileNotFoundError):
        if old.stat().st_uid != os.geteuid():
            return False
        with lock.acquire(old, WHAT, holder="the move of the development copy", timeout=60.0):
            metadata = Metadata.read(old.parent)
            _replace(layout, lambda draft: copy_database(old, draft), old, metadata)
            for path in (old, old.with_name(METADATA)):
                path.unlink(missing_ok=True)
        return True
    return False


def _replace(
    layout: Layout,
    copy: Callable[[Path], object],
    source: Path | None = None,
    metadata: Metadata | None = None,
) -> None:
    """Replace the development copy by what `copy` makes of `source`, with real tables."""
    target = layout.development
    files = metadata.files if metadata is not None else {}
    size = sum(
        path.stat().st_size for name in files.values() if (path := layout.data / name).exists()
    )
    if size >= SAY_SO_BYTES:
        logger.warning(
            "Making your development copy, with %.1f GB in big tables. This is done once.",
            size / 1e9,
        )
    with translated(target), whole_file(target) as draft:
        copy(draft)
        if source is not None and metadata is not None and files:
            make_real(draft, source, metadata.files, metadata.definitions)
        # The log belongs to the file that is replaced.
        _log(target).unlink(missing_ok=True)


def _log(database: Path) -> Path:
    return database.with_name(database.name + ".wal")
