"""Published versions on disk: which is current, who reads which, which can be removed.

::

    published/
      current -> 7          the link readers follow, swapped in one atomic step
      7/dataflow.duckdb     a version; never changed once it is current
      7/version.json        what is in it, and which run published it
      7/readers.lock        shared lock of everyone who has it open
      data/*.parquet        big tables, shared by all versions that contain them
      candidates/quakes/RUN a version that awaits review, made of a run of the workflow quakes
      .draft-8/             a publish under way, or one that died
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import itertools
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataflow.base.files import sync, write_whole
from dataflow.warehouse.layout import FILE_NAME, Layout

READERS_LOCK = "readers.lock"
METADATA = "version.json"

# No run takes that long.
KEEP_WRITES_SECONDS = 7 * 24 * 3600.0

# A program that asked for the current path may need a moment to open it.
KEEP_SECONDS = 10.0


@dataclass
class Metadata:
    """What a version is made of (`version.json`).

    Args:
        version: its number.
        published_at: ISO 8601, UTC.
        folder: where `published/` was then; views on big tables name their files by it.
        schemas: for each schema the workflow, run, version and time it comes from.
        files: big tables, as `schema.table` → file name in `data/`.
        definitions: for those with keys, the statement that creates the table.
        marks: by which tables that nobody has written since are recognised (`stored.py`).
    """

    version: int
    published_at: str
    folder: str
    schemas: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Metadata | None:
        """The metadata beside a database file; None when missing or unreadable."""
        try:
            return cls(**json.loads((folder / METADATA).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Write it beside a database file, to the disk."""
        write_whole(folder / METADATA, json.dumps(asdict(self), indent=1))


@dataclass(frozen=True)
class Version:
    """One published version: its number and its folder."""

    number: int
    folder: Path

    @property
    def path(self) -> Path:
        """The database file."""
        return self.folder / FILE_NAME

    @property
    def metadata(self) -> Metadata | None:
        """What it is made of; None when that cannot be read."""
        return Metadata.read(self.folder)


def published_runs(path: Path | None) -> dict[str, dict[str, Any]]:
    """For each workflow in a published version's file, the run that published it, and when.

    Args:
        path: the file; empty for one that is not a published version.

    Returns:
        By workflow: `run_id` (None by hand) and `finished_at` (ISO 8601, UTC).
    """
    metadata = Metadata.read(path.parent) if path else None
    origins = [o for o in metadata.schemas.values() if o.get("published_at")] if metadata else []
    return {
        str(origin.get("workflow")): {
            "run_id": origin.get("run_id"),
            "finished_at": origin["published_at"],
        }
        for origin in sorted(origins, key=lambda origin: str(origin["published_at"]))
    }


class Reading:
    """A version that is protected from removal until its `with` block ends, or `release()`."""

    def __init__(self, version: Version, handle: int | None) -> None:
        self.version = version
        self._handle = handle

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let the version go (once)."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def current(layout: Layout) -> Version | None:
    """The version that readers get now; None when nothing was published yet."""
    try:
        number = int(layout.current.readlink().name)
    except (OSError, ValueError):
        return None
    version = Version(number, layout.published / str(number))
    return version if version.path.exists() else None


def read_current(layout: Layout) -> Reading | None:
    """Protect the current version from removal, to read it; None when there is none."""
    while (version := current(layout)) is not None:
        with contextlib.suppress(FileNotFoundError):
            reading = Reading(version, _lock_for_reading(version))
            # Between reading the link and getting the lock the version may have been removed.
            if version.path.exists():
                return reading
            reading.release()
    return None


def _lock_for_reading(version: Version) -> int | None:
    """Take the readers' lock; None if it is missing and this user cannot create it.

    Then DuckDB's own lock protects the version, see `_open_elsewhere`.
    """
    path = version.folder / READERS_LOCK
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # somebody has removed it, or the version
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
        except FileNotFoundError:
            raise
        except OSError:
            return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def make_current(layout: Layout, version: Version) -> None:
    """Point readers at `version`, in one atomic step."""
    draft = layout.published / ".current"
    draft.unlink(missing_ok=True)
    draft.symlink_to(str(version.number))
    draft.replace(layout.current)
    sync(layout.published)


def all_versions(layout: Layout) -> list[Version]:
    """Every complete version on disk, oldest first."""
    if not layout.published.is_dir():
        return []
    found = [
        Version(int(folder.name), folder)
        for folder in layout.published.iterdir()
        if folder.name.isdigit()
    ]
    return sorted(found, key=lambda version: version.number)


def candidates(layout: Layout, workflow_id: str | None = None) -> list[Version]:
    """The versions that await review, of one workflow or of all; their folders are the runs' ids."""
    found = []
    for folder in layout.candidates.glob(f"{glob.escape(workflow_id or '') or '*'}/*"):
        if folder.name[0] != "." and (metadata := Metadata.read(folder)):
            found.append(Version(metadata.version, folder))
    return found


def remove_candidate(folder: Path) -> None:
    """Remove a version that is no longer awaited; what is left of it in `data/` goes later."""
    trash = folder.with_name(f".{folder.name}")  # complete or not at all
    shutil.rmtree(trash, ignore_errors=True)  # of a removal that was killed
    with contextlib.suppress(FileNotFoundError):
        folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)
    with contextlib.suppress(OSError):  # others of the workflow are there
        folder.parent.rmdir()


def clean(layout: Layout, keep_seconds: float = KEEP_SECONDS) -> list[int]:
    """Remove what no reader needs: superseded versions, their data, leftovers of killed processes.

    The caller holds the publisher's lock.

    Args:
        keep_seconds: keep versions that were superseded more recently than that.

    Returns:
        the numbers of the versions removed.
    """
    removed = []
    found, now = all_versions(layout), current(layout)
    for version, successor in itertools.zip_longest(found, found[1:]):
        if now is None or version.number == now.number:
            continue
        superseded = successor.folder.stat().st_mtime if successor else 0.0
        if time.time() - superseded >= keep_seconds and _remove(layout, version):
            removed.append(version.number)
    if layout.published.is_dir():
        for leftover in [*layout.published.glob(".*-*"), *layout.candidates.glob("*/.*")]:
            shutil.rmtree(leftover, ignore_errors=True)
    _clean_data(layout)
    for record in layout.writes.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # its run has just started again
            if time.time() - record.stat().st_mtime >= KEEP_WRITES_SECONDS:
                record.unlink()
    return removed


def _remove(layout: Layout, version: Version) -> bool:
    """Remove a version unless somebody has it open."""
    try:
        handle = os.open(version.folder / READERS_LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _open_elsewhere(version.path):
            return False
        # Renamed first: a reader must find a version complete or not at all.
        trash = layout.published / f".trash-{version.number}"
        version.folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _open_elsewhere(path: Path) -> bool:
    """Whether a program that knows nothing of our locks has the file open in DuckDB.

    DuckDB locks the files it opens. The kernel's list is read rather than the lock tried:
    closing a file gives up every lock this process has on it.
    """
    try:
        inode = f":{path.stat().st_ino} "
        return any(inode in line for line in Path("/proc/locks").read_text().splitlines())
    except OSError:
        return False


def _clean_data(layout: Layout) -> None:
    """Remove data files that neither a version nor an old development copy refers to."""
    if not layout.data.is_dir():
        return
    folders = [version.folder for version in all_versions(layout)]
    folders += [*layout.candidates.glob("*/*"), layout.shared_development.parent]
    needed: set[str] = set()
    for folder in folders:
        if metadata := Metadata.read(folder):
            needed.update(metadata.files.values())
        elif (folder / FILE_NAME).exists() and folder != layout.shared_development.parent:
            return  # a version that cannot say what it needs: keep everything
    for path in layout.data.iterdir():
        if path.name not in needed:
            path.unlink(missing_ok=True)
