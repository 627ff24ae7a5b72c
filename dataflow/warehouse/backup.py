"""Back up the working warehouse into one file, and restore it from one."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dataflow.base.files import sync, whole_file, write_whole
from dataflow.errors import ConfigurationError, WarehouseError
from dataflow.project import Project
from dataflow.warehouse import history, lock
from dataflow.warehouse.failures import translated
from dataflow.warehouse.files import checkpoint, copy_database
from dataflow.warehouse.inspect import read_file
from dataflow.warehouse.layout import Layout


@dataclass(frozen=True)
class Backup:
    """A checked file: its place, size and content, and where the file it replaced is kept."""

    path: Path
    bytes: int
    tables: int
    rows: int
    replaced: Path | None = None


def back_up(
    project: Project, target: Path, *, overwrite: bool = False, timeout: float = 600
) -> Backup:
    """Copy the working warehouse into `target`, and read the copy to verify it.

    Args:
        project: whose warehouse.
        target: the file to create.
        overwrite: replace an existing file.
        timeout: seconds to wait for writers.

    Raises:
        ConfigurationError: the file exists already, or there is no warehouse yet.
        WarehouseError: the copy cannot be made; an earlier backup is left as it was.
    """
    layout = Layout.of(project)
    target = target.resolve()
    if target.exists() and not overwrite:
        raise ConfigurationError(
            "the file exists already", where=str(target), hint="Choose another, or use --force."
        )
    if not layout.working.exists():
        raise ConfigurationError(
            "there is no warehouse yet",
            where=project.relative(layout.working),
            hint="Run a workflow: dataflow workflow run NAME.",
        )
    with translated(target), whole_file(target) as draft:
        with lock.write_lock(project, "backup", timeout):
            copy_database(layout.working, draft, timeout)
        tables, rows = _read(draft, target, "Check the warehouse: dataflow db check.")
    return Backup(target, target.stat().st_size, tables, rows)


def restore(project: Project, source: Path, *, timeout: float = 600) -> Backup:
    """Make `source` the working warehouse; what readers see stays until the next publish.

    The file is copied and read before the warehouse is replaced, so a restore that fails
    leaves everything as it was. The replaced warehouse is kept beside it, as
    `dataflow.duckdb.before-restore`, or with a number after that.

    Args:
        project: whose warehouse.
        source: a backup.
        timeout: seconds to wait for writers.

    Raises:
        ConfigurationError: there is no such file.
        WarehouseError: it is not a sound database, or cannot be copied.
    """
    layout = Layout.of(project)
    if not source.is_file():
        raise ConfigurationError("there is no such file", where=str(source))
    working = layout.working
    with translated(working), lock.write_lock(project, "restore", timeout):
        with whole_file(working) as draft:
            shutil.copyfile(source, draft)
            tables, rows = _read(draft, source, "Use another backup.")
            sync(draft)
            # Before the file is in place: from then on no earlier run counts as passed.
            _note_restored(layout)
            history.begin(lock.lock_folder(working))
            # A log beside the new file would be replayed into it; the old one moves with the
            # old file, so that nothing of that is lost either.
            aside = _set_aside(working)
        return Backup(working, working.stat().st_size, tables, rows, aside)


def _note_restored(layout: Layout) -> None:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    write_whole(layout.restored, moment + "\n")


def _set_aside(working: Path) -> Path | None:
    """Keep the warehouse under another name, one that no earlier restore has used."""
    if not working.exists():
        return None
    with contextlib.suppress(WarehouseError):
        # A damaged file keeps its log, and its log is moved with it.
        checkpoint(working)
    aside = working.with_name(f"{working.name}.before-restore")
    for number in itertools.count(2):
        if not aside.exists():
            break
        aside = working.with_name(f"{working.name}.before-restore-{number}")
    aside.hardlink_to(working)  # the warehouse stays in its place until it is replaced
    with contextlib.suppress(FileNotFoundError):
        Path(f"{working}.wal").rename(f"{aside}.wal")
    return aside


def _read(draft: Path, named: Path, hint: str) -> tuple[int, int]:
    """Read the draft from end to end; errors refer to the file that was `named`."""
    try:
        with translated(named):
            return read_file(draft)
    except WarehouseError as error:
        raise WarehouseError(
            f"the copy cannot be read, and nothing was replaced: {error.message}",
            where=error.where,
            hint=hint,
        ) from error
