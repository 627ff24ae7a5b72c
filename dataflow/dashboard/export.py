"""Export published tables as the Parquet files that dashboards read; no Node involved.

Every `evidence/sources/<source>/<table>.sql` is run against the published warehouse. A
generation of a source is written to its own folder, where the pages' queries can be tried on it,
and becomes visible when `manifest.json` is replaced: a page that is loading meanwhile sees the old
one or the new one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from dataflow.base.files import whole_file
from dataflow.base.sql import literal
from dataflow.dashboard.catalog import PROJECT_SOURCE, with_origins, write_workflows
from dataflow.dashboard.paths import MANIFEST, data_folder, lock_file, preview_folder
from dataflow.dashboard.source_query import write_table_files
from dataflow.errors import ConfigurationError, DashboardError
from dataflow.project import Project
from dataflow.warehouse.store import memory_limit, published_path, published_runs

if TYPE_CHECKING:
    import duckdb

# What Evidence's page engine turns into the address /data/…
_URL_PREFIX = "static/data"
OVERRIDE = "EVIDENCE_DUCKDB_PATH"


@dataclass
class StagedExport:
    """An export that nobody sees yet: in folders of its own, until it is shown.

    Args:
        project: the project.
        workflows: every workflow, for the table `dataflow.workflows`; None leaves it as it is.
        everything: whether all sources are exported.
        database: the DuckDB file to read; the published version when None.
        tables: rows by source and table.
        skipped: sources of workflows that never were published.
        bytes: size of the Parquet files.
        seconds: how long it took, waiting for another export included.
    """

    project: Project
    workflows: Collection[Mapping[str, Any]] | None
    everything: bool
    database: Path | None = None
    tables: dict[str, dict[str, int]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0
    _written: dict[str, Path] = field(default_factory=dict)
    _origins: dict[str, dict[str, Any]] = field(default_factory=dict)

    def files(self) -> dict[str, dict[str, Path]]:
        """The Parquet files as pages will see them: what is shown, with this export over it."""
        staged = {
            source: {path.stem: path for path in sorted(folder.glob("*.parquet"))}
            for source, folder in self._written.items()
        }
        return exported_files(self.project) | staged

    def show(
        self,
        pages: Callable[[], AbstractContextManager[None]] = nullcontext,
        *,
        without: str | None = None,
    ) -> None:
        """Put this export in front of the dashboards, by one rename.

        Args:
            pages: swaps new pages in on entering; swaps them back when the body fails.
            without: a source that goes, with its data.
        """
        project, data = self.project, data_folder(self.project)
        with FileLock(lock_file(project, "manifest")):
            old = _manifest(project)
            shown, origins = dict(old["renderedFiles"]), dict(old["origins"])
            origins.update(self._origins)
            if self.everything:
                known = {*_sources(project, None), PROJECT_SOURCE}
                shown = {source: urls for source, urls in shown.items() if source in known}
            if without is not None:
                shown.pop(without, None)
                origins.pop(without, None)
            if PROJECT_SOURCE in self._written:
                # Rewritten under the lock: another workflow may have been shown meanwhile.
                rows = with_origins(project, self.workflows or [], origins)
                write_workflows(project, rows, self._written[PROJECT_SOURCE])
            for source, scratch in self._written.items():
                version = scratch.name.removeprefix(".")
                scratch.rename(scratch.with_name(version))
                files = sorted((data / source / version).glob("*.parquet"))
                shown[source] = [f"{_URL_PREFIX}/{source}/{version}/{file.name}" for file in files]
                # A folder that is renamed and not shown is removed by the next export.
                self._written[source] = scratch.with_name(version)
            manifest = {"renderedFiles": shown, "origins": origins}
            text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
            # In this order: when the inner one fails, the outer one swaps its pages back.
            with pages(), whole_file(data / MANIFEST) as draft:
                draft.write_text(text, encoding="utf-8")
            written, self._written = self._written, {}
            for source, folder in written.items():
                # A page opened before the swap may still read the generation before this one.
                before = old["renderedFiles"].get(source, [])
                _clean(data / source, {folder.name, *(Path(url).parent.name for url in before)})
            if without is not None:
                shutil.rmtree(data / without, ignore_errors=True)

    def _write(self, names: list[str]) -> None:
        """Run the queries of the sources `names`, each source into a folder of its own."""
        now = datetime.now(UTC)
        version = f"{now:%Y%m%dT%H%M%S%f}Z"

        def scratch(source: str) -> Path:
            folder = data_folder(self.project) / source / f".{version}"
            folder.mkdir(parents=True)
            self._written[source] = folder
            return folder

        if names:
            with _published(self.project, self.database) as (connection, runs):
                present = _schemas(connection)
                for name in names:
                    if self.everything and _is_unpublished(self.project, name, present):
                        self.skipped.append(name)
                        continue
                    # Only a published version says where its data is from.
                    self._origins[name] = runs.get(name) or {"finished_at": now.isoformat()}
                    folder = scratch(name)
                    self.tables[name] = {
                        query.stem: write_table_files(
                            connection, query, self.project.relative(query), folder
                        )
                        for query in sorted(
                            (self.project.evidence / "sources" / name).glob("*.sql")
                        )
                    }
        manifest = _manifest(self.project)
        if self.workflows is not None or PROJECT_SOURCE not in manifest["renderedFiles"]:
            origins = manifest["origins"] | self._origins
            rows = with_origins(self.project, self.workflows or [], origins)
            count = write_workflows(self.project, rows, scratch(PROJECT_SOURCE))
            self.tables[PROJECT_SOURCE] = {"workflows": count}
        files = (path for folder in self._written.values() for path in folder.glob("*.parquet"))
        self.bytes = sum(path.stat().st_size for path in files)

    def keep_aside(self, folder: Path) -> None:
        """Move this export into a folder of its own, for `preview_manifest`."""
        for source, scratch in self._written.items():
            target = folder / source / scratch.name.removeprefix(".")
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch.rename(target)
        self._written = {}

    def discard(self) -> None:
        """Remove what was not shown."""
        for folder in self._written.values():
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged_export(
    project: Project,
    workflow_ids: Iterable[str] | None = None,
    *,
    workflows: Collection[Mapping[str, Any]] | None = None,
    database: Path | None = None,
) -> Iterator[StagedExport]:
    """Run the source queries into folders of their own; `show()` puts them in front of readers.

    What was not shown at the end is removed. Two exports of one source wait for each other. The
    environment variable `EVIDENCE_DUCKDB_PATH` names another DuckDB file to read than the published.

    Args:
        workflow_ids: the sources to export; the others stay as they are, and a workflow
            without a source folder has nothing to export. All sources when None, except those
            of workflows that never were published.
        workflows: every workflow of the project, for the table `dataflow.workflows`; see
            `dataflow.dashboard.catalog.write_workflows` for the keys. None leaves it as it is.
        database: the DuckDB file to read, such as a version that awaits review.

    Raises:
        ConfigurationError: a source has the name of the project's own.
        DashboardError: there is no published warehouse, or a query failed; `where` says the
            file and line. What is shown stays as it was.
    """
    start = time.monotonic()
    names = _sources(project, workflow_ids)
    with ExitStack() as stack:
        # Always in the same order, so that two exports cannot deadlock.
        for name in sorted(names):
            stack.enter_context(FileLock(lock_file(project, f"export-{name}")))
        staged = StagedExport(
            project, workflows, everything=workflow_ids is None, database=database
        )
        stack.callback(staged.discard)
        staged._write(names)
        staged.seconds = time.monotonic() - start
        yield staged


def export_sources(
    project: Project,
    workflow_ids: Iterable[str] | None = None,
    *,
    workflows: Collection[Mapping[str, Any]] | None = None,
) -> StagedExport:
    """Run the source queries and put their results in front of the dashboards, unchecked.

    Arguments and errors are those of `staged_export`.
    """
    with staged_export(project, workflow_ids, workflows=workflows) as staged:
        staged.show()
    return staged


@contextmanager
def _published(
    project: Project, database: Path | None
) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[str, dict[str, Any]]]]:
    """Open the published warehouse to read it, in the project's time zone and without the network.

    Yields:
        The connection, and for each workflow the run that published its data, where that is known.
    """
    import duckdb

    path = database or _find(project)
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        try:
            connection.execute(f"SET memory_limit = {literal(memory_limit())}")
            # The views of dbt name their catalog, so it is called the same in every file.
            connection.execute(f"ATTACH {literal(str(path))} AS dataflow (READ_ONLY)")
            connection.execute("USE dataflow")
            connection.execute(f"SET TimeZone = {literal(project.timezone)}")
        except duckdb.Error as error:
            raise DashboardError(
                f"the warehouse cannot be read: {error}",
                where=project.relative(path),
                hint="Publish it again: run the workflow.",
            ) from error
        yield connection, published_runs(path)


def _schemas(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """The schemas of the warehouse that `connection` reads."""
    rows = connection.execute(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = 'dataflow' AND NOT internal"
    ).fetchall()
    return {name for (name,) in rows}


def _find(project: Project) -> Path:
    if named := os.environ.get(OVERRIDE):
        path = (project.root / named).resolve()
        if not path.is_file():
            raise DashboardError(
                f"{OVERRIDE} names a file that does not exist",
                where=str(path),
                hint=f"Unset {OVERRIDE}, or point it at a DuckDB file.",
            )
        return path
    published = published_path(project)
    if published is None:
        raise DashboardError(
            "nothing was published yet, so there is nothing to show",
            hint="Run a workflow: dataflow workflow run NAME",
        )
    return published


def read_manifest(project: Project) -> dict[str, list[str]]:
    """The files dashboards read now: addresses by source; empty before the first export."""
    return dict(_manifest(project)["renderedFiles"])


def preview_manifest(project: Project, workflow_id: str, run_id: str) -> dict[str, Any] | None:
    """What pages read to show a run that awaits review; None when there is nothing to preview.

    It is what they read otherwise, with the workflow's own tables from that run.
    """
    files: dict[str, list[str]] = {}
    data = data_folder(project)
    for path in sorted(preview_folder(project, workflow_id, run_id).glob("*/*/*.parquet")):
        files.setdefault(path.parent.parent.name, []).append(
            f"{_URL_PREFIX}/{path.relative_to(data).as_posix()}"
        )
    return {"renderedFiles": read_manifest(project) | files} if files else None


def runs_shown(project: Project) -> set[str]:
    """The ids of the runs whose data the dashboards show."""
    origins = _manifest(project)["origins"].values()
    return {str(origin["run_id"]) for origin in origins if origin.get("run_id")}


def shown_origins(project: Project) -> dict[str, dict[str, Any]]:
    """For each workflow the run whose data is shown, or published where it has nothing to show.

    Returns:
        By workflow: `run_id` (None by hand) and `finished_at` (ISO 8601, UTC).
    """
    return published_runs(published_path(project)) | _manifest(project)["origins"]


def _manifest(project: Project) -> dict[str, dict[str, Any]]:
    """What is shown: the files by source, and the run that published each source's data."""
    try:
        found = json.loads((data_folder(project) / MANIFEST).read_text(encoding="utf-8"))
        return {"renderedFiles": dict(found["renderedFiles"]), "origins": found.get("origins", {})}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # Every export writes all of it again, so a damaged one is replaced by the next.
        return {"renderedFiles": {}, "origins": {}}


def exported_files(project: Project) -> dict[str, dict[str, Path]]:
    """The Parquet files dashboards read now: by source and table."""
    data = data_folder(project)
    return {
        source: {Path(url).stem: data / Path(url).relative_to(_URL_PREFIX) for url in urls}
        for source, urls in read_manifest(project).items()
    }


def _sources(project: Project, wanted: Iterable[str] | None) -> list[str]:
    folder = project.evidence / "sources"
    there = sorted({path.parent.name for path in folder.glob("*/*.sql")})
    if PROJECT_SOURCE in there:
        raise ConfigurationError(
            f"a source cannot be called {PROJECT_SOURCE}: that is the source of the project's tables",
            where=project.relative(folder / PROJECT_SOURCE),
            hint="Rename the folder.",
        )
    if wanted is None:
        return there
    names = list(dict.fromkeys(wanted))
    # A workflow without a dashboard has no source folder, and nothing to export.
    return [name for name in names if name in there]


def _is_unpublished(project: Project, source: str, present: set[str]) -> bool:
    """Whether the source belongs to a workflow of which nothing was published yet."""
    if not (project.notebooks / source).is_dir():
        return False
    return not any(schema == source or schema.startswith(f"{source}_") for schema in present)


def _clean(folder: Path, kept: Collection[str]) -> None:
    """Remove the generations of a source that are not `kept`, and unfinished ones."""
    old = f"{datetime.now(UTC) - timedelta(days=1):%Y%m%dT%H%M%S%f}Z"
    for path in folder.iterdir():
        # The project's own source is exported by several workflows at a time.
        in_use = path.name.startswith(".") and path.name.removeprefix(".") > old
        if path.name not in kept and not (folder.name == PROJECT_SOURCE and in_use):
            shutil.rmtree(path, ignore_errors=True)
