"""Published versions on disk: which is current, who reads which, which may go.

::

    published/
      current -> 7          the link readers follow, swapped in one atomic step
      7/dataflow.duckdb     a version; never changed once it is current
      7/version.json        what is in it, and which run published it
      7/readers.lock        shared lock of everyone who has it open
      .draft-8/             a publish under way, or one that died
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from dataflow.warehouse.layout import FILE_NAME, Layout

READERS_LOCK = "readers.lock"


@dataclass(frozen=True)
class Version:
    """One published version: its number and its folder."""

    number: int
    folder: Path

    @property
    def path(self) -> Path:
        """The database file."""
        return self.folder / FILE_NAME


class Reading:
    """A version that is kept from removal until `release()`."""

    def __init__(self, version: Version, handle: int) -> None:
        self.version = version
        self._handle: int | None = handle

    def release(self) -> None:
        """Let the version go (once)."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def current(layout: Layout) -> Version | None:
    """The version readers get now; None when nothing was published yet."""
    try:
        number = int(layout.current.readlink().name)
    except (OSError, ValueError):
        return None
    version = Version(number, layout.published / str(number))
    return version if version.path.exists() else None


def read_current(layout: Layout) -> Reading | None:
    """Keep the current version from removal, to read it; None when there is none."""
    while (version := current(layout)) is not None:
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(version.folder / READERS_LOCK, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_SH)
            # Between reading the link and getting the lock the version may have been removed.
            if version.path.exists():
                return Reading(version, handle)
            os.close(handle)
    return None


def make_current(layout: Layout, version: Version) -> None:
    """Point readers at `version`, in one atomic step."""
    draft = layout.published / f".current-{os.getpid()}"
    draft.unlink(missing_ok=True)
    draft.symlink_to(str(version.number))
    draft.replace(layout.current)
    sync_folder(layout.published)


def all_versions(layout: Layout) -> list[Version]:
    """Every complete version on disk, oldest first."""
    if not layout.published.is_dir():
        return []
    found = [
        Version(int(folder.name), folder)
        for folder in layout.published.iterdir()
        if folder.name.isdigit() and (folder / FILE_NAME).exists()
    ]
    return sorted(found, key=lambda version: version.number)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
