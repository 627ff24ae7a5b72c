"""Publish: a workflow's audited schemas enter a new version that readers see at once.

A version is built aside, from a copy of the last one, and becomes current in one step. Killed
at any moment, a publish leaves the last version as it was; the next one cleans up.

Tables that nobody has written since stay as the last version has them, so that a publish costs what
changed. Writing big tables as files takes long (20 times as long as copying them), and writers
should not wait for it: then the working warehouse is copied first, and the write lock released.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow.base.files import copy_file, sync
from dataflow.base.lock import DEFAULT_TIMEOUT
from dataflow.base.sql import TableName, literal, schemas_of
from dataflow.errors import WarehouseError
from dataflow.project import Project
from dataflow.warehouse import history, lock, versions
from dataflow.warehouse.failures import translated
from dataflow.warehouse.files import attached, checkpointed, open_file
from dataflow.warehouse.layout import FILE_NAME, Layout
from dataflow.warehouse.provenance import by_hand, copy_provenance, provenance
from dataflow.warehouse.snapshot import (
    BIG_TABLE_BYTES,
    SOURCE,
    Copying,
    point_at_file,
    relations,
    stored_columns,
)
from dataflow.warehouse.stored import Stored, stored_tables
from dataflow.warehouse.versions import READERS_LOCK, Metadata, Version

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COPY = "copy"
COPY_AT_MOST = 4
"""Copy the working warehouse first if it is at most this many times the size of its big tables."""


@dataclass(frozen=True)
class Published:
    """What a publish did.

    Args:
        version: the new version's number.
        path: its database file.
        schemas: the schemas that were taken from the working warehouse.
        bytes_copied: bytes written: the version's file, and new files of big tables.
        seconds: how long it took, without waiting for the lock.
        seconds_locked: how long writers had to wait.
    """

    version: int
    path: Path
    schemas: list[str]
    bytes_copied: int
    seconds: float
    seconds_locked: float


def published_path(project: Project) -> Path | None:
    """The current published version's database file; None when nothing is published yet.

    Open it soon: a version that nobody has open is removed some time after the next publish.
    """
    version = versions.current(Layout.of(project))
    return version.path if version else None


@contextlib.contextmanager
def published_kept(project: Project) -> Iterator[Path | None]:
    """The current version's database file, which no publish removes in the block.

    None when nothing is published yet.
    """
    reading = versions.read_current(Layout.of(project))
    if reading is None:
        yield None
        return
    with reading:
        yield reading.version.path


def publish(
    project: Project,
    workflow_id: str,
    schemas: Sequence[str] | None = None,
    *,
    shared: Iterable[TableName] = (),
    declared: Mapping[TableName, datetime | None] | None = None,
    run_id: str | None = None,
    for_review: bool = False,
    timeout: float = DEFAULT_TIMEOUT,
    keep_seconds: float = versions.KEEP_SECONDS,
    big_table_bytes: int = BIG_TABLE_BYTES,
) -> Published:
    """Publish a workflow, after its checks and dbt tests have passed.

    With `for_review` readers do not see it yet: the version is kept aside as the run's candidate,
    which `publish_candidate` publishes as it is.

    Args:
        project: whose warehouse.
        workflow_id: the workflow.
        schemas: those it owns (`schemas_of` when None); all others stay as last published.
        shared: its tables in schemas that it shares with others: of such a schema only these are
            taken.
        declared: the tables that it declares, each with the moment since which nobody may have
            written it by hand, so that what is published is what the run's checks saw; None where
            that does not matter. If a table that readers have is gone from the working warehouse,
            nothing is published either.
        run_id: the run that made them; the environment's when None.
        for_review: keep the version aside; takes a run.
        timeout: seconds to wait for other writers.
        keep_seconds: how long a superseded version stays, for those about to open it.
        big_table_bytes: the size on disk from which a table is kept as a file of its own.

    Raises:
        WarehouseLocked: another writer held the warehouse all the time.
        WarehouseError: the working warehouse cannot be read, or the version not written, or a
            declared table would be lost or was written by hand.
    """
    layout = Layout.of(project)
    wanted = list(dict.fromkeys(schemas_of(workflow_id) if schemas is None else schemas))
    single = [table for table in dict.fromkeys(shared) if table.schema not in wanted]
    run_id = run_id or os.environ.get("DATAFLOW_RUN_ID")
    holder = f"publish of {workflow_id}"
    with translated(layout.published), contextlib.ExitStack() as publishing:
        # In this order: waiting for another publish, maybe of big tables, must keep no writer
        # waiting.
        publishing.enter_context(
            lock.acquire(
                layout.published / FILE_NAME, holder=holder, timeout=timeout, run_id=run_id
            )
        )
        writing = publishing.enter_context(contextlib.ExitStack())
        writing.enter_context(lock.write_lock(project, holder, timeout, run_id=run_id))
        started = time.monotonic()
        aside = layout.candidates / workflow_id / str(run_id) if for_review else None
        with _next_version(layout, keep_seconds, aside) as draft:
            known = history.current(layout.working, lock.lock_folder(layout.working))
            with checkpointed(layout.working, timeout) as connection:
                stored = stored_tables(connection, layout.working, wanted, single, known)
            made = _Making(layout, layout.working, draft, stored, big_table_bytes)
            made.copy_source()
            if made.source != layout.working:
                writing.close()
                locked = time.monotonic() - started
            written = made.write(wanted, single, declared or {})
            if made.source == layout.working:
                locked = time.monotonic() - started
            draft.note_origin(workflow_id, run_id, [*wanted, *map(str, single)])
        return Published(
            version=draft.version.number,
            path=draft.version.path,
            schemas=wanted,
            bytes_copied=written,
            seconds=time.monotonic() - started,
            seconds_locked=locked,
        )


def publish_candidate(
    project: Project,
    workflow_id: str,
    run_id: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    keep_seconds: float = versions.KEEP_SECONDS,
) -> Published:
    """Publish the version that was kept aside for the review of a run, exactly as it is.

    What other workflows published since stays. Called again after it was killed, it does what is
    left to do.

    Args:
        project, workflow_id: whose it is.
        run_id: the run.
        timeout: seconds to wait for other publishers.
        keep_seconds: as `publish` takes it.

    Raises:
        WarehouseLocked: another publisher was at it all the time.
        WarehouseError: there is no such candidate, or the version cannot be written.
    """
    layout = Layout.of(project)
    candidate = layout.candidates / workflow_id / run_id / FILE_NAME
    holder = f"publish of {workflow_id}"
    with (
        translated(layout.published),
        lock.acquire(layout.published / FILE_NAME, holder=holder, timeout=timeout, run_id=run_id),
    ):
        started = time.monotonic()
        last = versions.current(layout)
        if last is not None and (metadata := last.metadata) is not None:
            taken = [name for name, of in metadata.schemas.items() if of.get("run_id") == run_id]
            if taken:  # it was killed when this was done
                return Published(last.number, last.path, taken, 0, 0.0, 0.0)
        kept = Metadata.read(candidate.parent)
        if kept is None:
            raise WarehouseError(
                f"the candidate version of run {run_id[:8]} is gone",
                where=str(candidate.parent),
                hint=f"Make another: dataflow workflow run {workflow_id} --changed",
            )
        names = [name for name, origin in kept.schemas.items() if origin.get("run_id") == run_id]
        if last is not None and any(
            (last.metadata or kept).schemas.get(name, {}).get("version", 0) > kept.version
            for name in names
        ):
            raise WarehouseError(
                f"newer data of {workflow_id} was published since run {run_id[:8]} made its own",
                where=str(candidate.parent),
                hint=f"Run it again: dataflow workflow run {workflow_id}",
            )
        schemas = [name for name in names if "." not in name]
        single = [TableName(*name.split(".", 1)) for name in names if "." in name]
        with _next_version(layout, keep_seconds) as draft:
            # Its big tables are files already, whatever their size.
            made = _Making(layout, candidate, draft, {}, sys.maxsize, kept)
            written = made.write(schemas, single, {})
            draft.note_origin(workflow_id, run_id, names)
        return Published(
            version=draft.version.number,
            path=draft.version.path,
            schemas=schemas,
            bytes_copied=written,
            seconds=time.monotonic() - started,
            seconds_locked=0.0,
        )


def candidate_path(project: Project, workflow_id: str, run_id: str) -> Path | None:
    """The database file of the version that awaits the review of a run; None when there is none."""
    path = Layout.of(project).candidates / workflow_id / run_id / FILE_NAME
    return path if path.is_file() else None


def candidate_hash(project: Project, workflow_id: str, run_id: str) -> str | None:
    """SHA-256 of everything in a candidate version; None when there is none.

    Whoever approves a run approves this: the files are never changed.
    """
    layout = Layout.of(project)
    folder = layout.candidates / workflow_id / run_id
    metadata = Metadata.read(folder)
    if metadata is None:
        return None
    digest = hashlib.sha256()
    own = {name for name, origin in metadata.schemas.items() if origin.get("run_id") == run_id}
    files = sorted(
        layout.data / file
        for table, file in metadata.files.items()
        if own.intersection((table, table.split(".")[0]))
    )
    for path in [folder / FILE_NAME, *files]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def candidate_runs(project: Project, workflow_id: str) -> list[str]:
    """The ids of the runs of a workflow that have a candidate version."""
    return [v.folder.name for v in versions.candidates(Layout.of(project), workflow_id)]


def remove_candidates(project: Project, workflow_id: str, runs: Iterable[str]) -> None:
    """Remove the candidate versions of these runs of a workflow, where they have one."""
    for run_id in runs:
        versions.remove_candidate(Layout.of(project).candidates / workflow_id / run_id)


def revise(
    project: Project,
    what: str,
    change: Callable[[DuckDBPyConnection, Metadata], None],
    *,
    timeout: float = DEFAULT_TIMEOUT,
) -> None:
    """Make a new version of the last one by `change` alone: nothing else enters it.

    Args:
        project: whose warehouse; one of which something is published.
        what: what it is for, in words for those who wait.
        change: changes the new version's database and metadata.
        timeout: seconds to wait for other publishers.

    Raises:
        WarehouseLocked: another publisher was at it all the time.
        WarehouseError: the version cannot be written.
    """
    layout = Layout.of(project)
    with (
        translated(layout.published),
        lock.acquire(layout.published / FILE_NAME, holder=what, timeout=timeout),
        _next_version(layout, versions.KEEP_SECONDS) as draft,
    ):
        target = draft.folder / FILE_NAME
        if draft.last is not None:
            copy_file(draft.last.path, target)
        draft.metadata.marks.clear()
        with contextlib.closing(open_file(target)) as connection:
            change(connection, draft.metadata)
            _point_at_files(connection, layout, draft, draft.metadata.files)
        sync(target)
        target.chmod(0o444)


@dataclass(frozen=True)
class _Draft:
    """A version in the making.

    Args:
        folder: where it is made.
        version: what it becomes.
        last: the version before; None for the first.
        metadata: its metadata, which start from those of the last.
    """

    folder: Path
    version: Version
    last: Version | None
    metadata: Metadata

    def note_origin(self, workflow_id: str, run_id: str | None, names: Iterable[str]) -> None:
        """Note whose run these schemas and tables are from."""
        origin = {
            "workflow": workflow_id,
            "run_id": run_id,
            "version": self.version.number,
            "published_at": self.metadata.published_at,
        }
        self.metadata.schemas.update(dict.fromkeys(names, origin))


@contextlib.contextmanager
def _next_version(
    layout: Layout, keep_seconds: float, aside: Path | None = None
) -> Iterator[_Draft]:
    """Make the next version in the block: at its end it is the current one, or the folder `aside`.

    The caller is the one publisher.
    """
    versions.clean(layout, keep_seconds)
    last = versions.current(layout)
    # Candidates count: a version's number is in the names of its data files.
    known = [*versions.all_versions(layout), *versions.candidates(layout)]
    number = max((version.number for version in known), default=0) + 1
    draft = _Draft(
        layout.published / f".draft-{number}",
        Version(number, aside or layout.published / str(number)),
        last,
        _metadata(layout, last, number),
    )
    try:
        draft.folder.mkdir(parents=True)
        yield draft
        draft.metadata.write(draft.folder)
        (draft.folder / READERS_LOCK).touch()
        sync(draft.folder)
        if aside is not None:
            versions.remove_candidate(aside)  # of an earlier try of the same step
            aside.parent.mkdir(parents=True, exist_ok=True)
        draft.folder.rename(draft.version.folder)
        sync(draft.version.folder.parent)
        if aside is None:
            versions.make_current(layout, draft.version)
    finally:
        # After a failure, too: a draft and its data files would keep the disk full.
        with contextlib.suppress(OSError):
            versions.clean(layout, keep_seconds)


def _metadata(layout: Layout, last: Version | None, number: int) -> Metadata:
    """The metadata to start from: that of the last version."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    new = Metadata(number, now, str(layout.published))
    if last is not None and (old := last.metadata) is not None:
        new.schemas, new.files = dict(old.schemas), dict(old.files)
        new.definitions, new.marks = dict(old.definitions), dict(old.marks)
    return new


@dataclass
class _Making:
    """Makes the file of a new version, `draft`, whose metadata gets its files.

    `stored` are the tables of `source`, the working warehouse, as they are stored; `version` has the
    metadata of `source` where that is a version itself.
    """

    layout: Layout
    source: Path
    draft: _Draft
    stored: Mapping[TableName, Stored]
    big_table_bytes: int
    version: Metadata | None = None

    def copy_source(self) -> None:
        """Read from a copy of the working warehouse from here on, if that is worth it.

        It is if the file is not much larger than the big tables that have to be written, and fits
        on the disk.
        """
        unchanged = self._unchanged()
        big = sum(
            one.bytes
            for table, one in self.stored.items()
            if one.bytes >= self.big_table_bytes and table not in unchanged
        )
        size = self.source.stat().st_size
        if size > COPY_AT_MOST * big or shutil.disk_usage(self.draft.folder).free < 2 * size:
            return
        copy = self.draft.folder / COPY / FILE_NAME
        copy.parent.mkdir()
        copy_file(self.source, copy)
        self.source = copy

    def _marks(self) -> dict[TableName, str]:
        """The marks of the tables; that a table becomes a file from another size on changes them."""
        return {
            table: f"{one.mark}, {'big' if one.bytes >= self.big_table_bytes else 'small'}"
            for table, one in self.stored.items()
            if one.mark is not None
        }

    def _unchanged(self) -> set[TableName]:
        """The tables that the last version has as they are."""
        last = self.draft.metadata
        return {
            table
            for table, mark in self._marks().items()
            if last.marks.get(str(table)) == mark
            and (
                str(table) not in last.files or (self.layout.data / last.files[str(table)]).exists()
            )
        }

    def write(
        self,
        schemas: list[str],
        shared: list[TableName],
        declared: Mapping[TableName, datetime | None],
    ) -> int:
        """Write it; returns the bytes written."""
        draft, metadata = self.draft, self.draft.metadata
        target = draft.folder / FILE_NAME
        is_copy = self.source.parent.name == COPY
        written = self.source.stat().st_size if is_copy else 0
        if draft.last is not None:
            copy_file(draft.last.path, target)
        with attached(target, is_draft=True) as connection:
            connection.execute(f"ATTACH {literal(str(self.source))} AS {SOURCE} (READ_ONLY)")
            self._refuse_loss(connection, declared)
            self._refuse_by_hand(connection, declared)
            copying = Copying(
                connection,
                self.layout.data,
                metadata.version,
                self.stored,
                self._unchanged(),
                self.big_table_bytes,
            )
            copying.schemas(schemas)
            copying.tables(shared)
            if self.version is not None:
                copying.take_files(self.version.files, self.version.definitions)
            copy_provenance(connection, SOURCE, schemas, shared)
            self._note(copying, schemas, shared)
            connection.execute(f"DETACH {SOURCE}")
            kept = {t: file for t, file in metadata.files.items() if t not in copying.files}
            _point_at_files(connection, self.layout, draft, kept)
        if is_copy:
            shutil.rmtree(self.source.parent)
        sync(target)
        target.chmod(0o444)  # nobody changes a version by mistake
        return written + target.stat().st_size + copying.bytes_written

    def _note(self, copying: Copying, schemas: list[str], shared: list[TableName]) -> None:
        """Note in the metadata what was copied."""
        metadata = self.draft.metadata

        def is_of_others(name: str) -> bool:
            table = TableName(*name.split(".", 1))
            return table.schema not in schemas and table not in shared

        kept = {
            name: file
            for name, file in metadata.files.items()
            if is_of_others(name) or TableName(*name.split(".", 1)) in copying.unchanged
        }
        metadata.files = kept | copying.files
        definitions = metadata.definitions | copying.definitions
        metadata.definitions = {
            table: made for table, made in definitions.items() if table in metadata.files
        }
        marks = {name: mark for name, mark in metadata.marks.items() if is_of_others(name)}
        if self.version is None:
            new = {str(table): mark for table, mark in self._marks().items()}
        else:
            new = {
                name: mark for name, mark in self.version.marks.items() if not is_of_others(name)
            }
        metadata.marks = marks | new

    def _refuse_loss(self, connection: DuckDBPyConnection, declared: Iterable[TableName]) -> None:
        there = relations(connection, SOURCE)
        shown = relations(connection, None)
        lost = [str(table) for table in declared if (table in shown and table not in there)]
        if lost:
            raise WarehouseError(
                "nothing is published: readers would lose "
                f"{', '.join(lost)}, which the working warehouse does not have any more",
                where=str(self.layout.working),
                hint=f"Make {'it' if len(lost) == 1 else 'them'} again: "
                "dataflow workflow run WORKFLOW --changed",
            )

    def _refuse_by_hand(
        self, connection: DuckDBPyConnection, declared: Mapping[TableName, datetime | None]
    ) -> None:
        if found := by_hand(provenance(connection, SOURCE), declared):
            named = ", ".join(f"{table} (at {at:%H:%M:%S} UTC)" for table, at in found.items())
            raise WarehouseError(
                f"nothing is published: {named} was written by hand after its step ran, "
                "and no check has seen that",
                where=str(self.layout.working),
                hint="Run its step again: dataflow workflow run WORKFLOW --changed; "
                "or publish it as it is: dataflow db publish",
            )


def _point_at_files(
    connection: DuckDBPyConnection, layout: Layout, draft: _Draft, kept: Mapping[str, str]
) -> None:
    """Update the views if the project was moved: they name their files by absolute paths."""
    if draft.last is None or not (old := draft.last.metadata):
        return
    if old.folder != draft.metadata.folder:
        for name, file in kept.items():
            table = TableName(*name.split(".", 1))
            kinds = stored_columns(connection, table)
            point_at_file(connection, table, layout.data / file, kinds)
