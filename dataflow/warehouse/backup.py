"""Back up the working warehouse into one file, and restore it from one."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.errors import ConfigurationError, WarehouseError
from dataflow.warehouse import lock
from dataflow.warehouse.failures import translated
from dataflow.warehouse.files import open_file
from dataflow.warehouse.inspect import read_file
from dataflow.warehouse.layout import Layout
from dataflow.warehouse.versions import sync

if TYPE_CHECKING:
    from dataflow.project import Project


@dataclass(frozen=True)
class Backup:
    """A file that was checked: where, how big, and what is in it."""

    path: Path
    bytes: int
    tables: int
    rows: int


def back_up(
    project: Project, target: Path, *, overwrite: bool = False, timeout: float = 600
) -> Backup:
    """Copy the working warehouse into `target`, and read the copy to be sure of it.

    Args:
        project: whose warehouse.
        target: the file to make.
        overwrite: replace it when it is there.
        timeout: seconds to wait for writers.

    Raises:
        ConfigurationError: the file is there already, or there is no warehouse yet.
        WarehouseError: the copy cannot be made; an earlier backup is left as it was.
    """
    layout = Layout.of(project)
    target = target.resolve()
    if target.exists() and not overwrite:
        raise ConfigurationError(
            "the file is there already", where=str(target), hint="Choose another, or use --force."
        )
    if not layout.working.exists():
        raise ConfigurationError(
            "there is no warehouse yet",
            where=project.relative(layout.working),
            hint="Run a workflow: dataflow workflow run NAME.",
        )
    with _draft(target) as draft:
        with lock.write_lock(project, "backup", timeout):
            # Opening and closing writes DuckDB's log into the file.
            open_file(layout.working, timeout=timeout).close()
            shutil.copyfile(layout.working, draft)
        return _checked(draft, target)


def restore(project: Project, source: Path, *, timeout: float = 600) -> Backup:
    """Make `source` the working warehouse; what readers see stays until the next publish.

    The file is copied and read before the warehouse is replaced, so a restore that fails
    leaves everything as it was. The warehouse replaced stays beside it, as
    `dataflow.duckdb.before-restore`.

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
        working.parent.mkdir(parents=True, exist_ok=True)
        with _draft(working) as draft:
            shutil.copyfile(source, draft)
            # A log beside the new file would be replayed into it; the old one goes with the
            # old file, so that nothing of it is lost either.
            return _checked(draft, working, source=source, before=lambda: _set_aside(working))


def _set_aside(working: Path) -> None:
    aside = working.with_name(working.name + ".before-restore")
    with contextlib.suppress(WarehouseError):
        # Writes the log into the file; a damaged file keeps its log and is moved with it.
        if working.exists():
            open_file(working).close()
    for suffix in ("", ".wal"):
        old, new = Path(f"{working}{suffix}"), Path(f"{aside}{suffix}")
        new.unlink(missing_ok=True)
        if not old.exists():
            continue
        if suffix:
            old.rename(new)
        else:
            new.hardlink_to(old)  # the warehouse stays in its place until it is replaced


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A file beside `target` to write first; gone afterwards, whatever happens."""
    draft = target.with_name(f".{target.name}.draft")
    with translated(target):
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)


def _checked(
    draft: Path,
    target: Path,
    *,
    source: Path | None = None,
    before: Callable[[], None] = lambda: None,
) -> Backup:
    """Read the draft from end to end, then give it its name."""
    try:
        with translated(source or target):
            tables, rows = read_file(draft)
    except WarehouseError as error:
        raise WarehouseError(
            f"the copy cannot be read, and nothing was replaced: {error.message}",
            where=error.where,
            hint="Use another backup." if source else "Look at the warehouse: dataflow db check.",
        ) from error
    sync(draft)
    before()
    draft.replace(target)
    sync(target.parent)
    return Backup(target, target.stat().st_size, tables, rows)
