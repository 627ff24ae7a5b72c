"""Export published tables as the Parquet files that dashboards read; no Node involved.

Every `evidence/sources/<source>/<table>.sql` is run against the published warehouse. A
generation of a source is written to a folder of its own, and becomes visible when
`manifest.json` is replaced: a page that is loading meanwhile sees the old one or the new one.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataflow.dashboard.catalog import PROJECT_SOURCE, write_workflows
from dataflow.dashboard.database import open_published, schemas
from dataflow.dashboard.paths import MANIFEST, data_folder, lock_file, replace_text
from dataflow.dashboard.source_query import SourceQuery, write_table_files
from dataflow.errors import ConfigurationError
from dataflow.project import Project

# What Evidence's page engine turns into the address /data/…
_URL_PREFIX = "static/data"


@dataclass(frozen=True)
class ExportResult:
    """What `export_sources` wrote.

    Args:
        tables: rows by source and table.
        bytes: size of the Parquet files written.
        seconds: how long it took, waiting for another export included.
        skipped: sources of workflows that never were published.
    """

    tables: dict[str, dict[str, int]]
    bytes: int
    seconds: float
    skipped: list[str] = field(default_factory=list)


def export_sources(
    project: Project,
    workflow_ids: Iterable[str] | None = None,
    database: Path | None = None,
    *,
    workflows: Collection[Mapping[str, Any]] | None = None,
) -> ExportResult:
    """Run the source queries and put their results in front of the dashboards.

    Args:
        workflow_ids: the sources to export; the others stay as they are, and a workflow
            without a source folder has nothing to export. All sources when None, except those
            of workflows that never were published.
        database: the DuckDB file to read instead of the published warehouse. The environment
            variable `EVIDENCE_DUCKDB_PATH` wins over both.
        workflows: every workflow of the project, for the table `dataflow.workflows`; see
            `dataflow.dashboard.catalog.write_workflows` for the keys. None leaves it as it is.

    Raises:
        ConfigurationError: a source has the name of the project's own.
        DashboardError: there is no published warehouse, or a query failed; `where` says the
            file and line. What is shown stays as it was.
    """
    from filelock import FileLock

    start = time.monotonic()
    data = data_folder(project)
    data.mkdir(parents=True, exist_ok=True)
    names = _sources(project, workflow_ids)
    tables: dict[str, dict[str, int]] = {}
    skipped: list[str] = []
    written: dict[str, Path] = {}
    with FileLock(lock_file(project, "export")):
        old = read_manifest(project)
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"
        try:
            if names:
                with open_published(project, database) as connection:
                    present = schemas(connection)
                    for name in names:
                        if workflow_ids is None and _is_unpublished(project, name, present):
                            skipped.append(name)
                            continue
                        written[name] = _scratch(data, name, version)
                        tables[name] = {
                            query.table: write_table_files(connection, query, written[name])
                            for query in source_queries(project, name)
                        }
            if workflows is not None or PROJECT_SOURCE not in old:
                written[PROJECT_SOURCE] = _scratch(data, PROJECT_SOURCE, version)
                rows = write_workflows(project, workflows or [], written[PROJECT_SOURCE])
                tables[PROJECT_SOURCE] = {"workflows": rows}
        except BaseException:
            for folder in written.values():
                shutil.rmtree(folder, ignore_errors=True)
            raise
        size = sum(
            file.stat().st_size for folder in written.values() for file in folder.glob("*.parquet")
        )
        _show(project, written, old, version, everything=workflow_ids is None)
    return ExportResult(tables, size, time.monotonic() - start, skipped)


def source_queries(project: Project, source: str) -> list[SourceQuery]:
    """The queries of one source, by table name."""
    folder = project.evidence / "sources" / source
    return [
        SourceQuery(source, path.stem, path, project.relative(path))
        for path in sorted(folder.glob("*.sql"))
    ]


def read_manifest(project: Project) -> dict[str, list[str]]:
    """The files dashboards read now: addresses by source; empty before the first export."""
    try:
        text = (data_folder(project) / MANIFEST).read_text(encoding="utf-8")
        return dict(json.loads(text)["renderedFiles"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        # Every export writes all of it again, so a damaged one mends itself.
        return {}


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
            f"a source cannot be called {PROJECT_SOURCE}: the project's own tables are",
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


def _scratch(data: Path, source: str, version: str) -> Path:
    folder = data / source / f".{version}"
    folder.mkdir(parents=True)
    return folder


def _show(
    project: Project,
    written: dict[str, Path],
    old: dict[str, list[str]],
    version: str,
    *,
    everything: bool,
) -> None:
    """Make the new generation visible, then remove those before the last."""
    data = data_folder(project)
    shown = dict(old)
    for source, scratch in written.items():
        scratch.rename(scratch.with_name(version))
        files = sorted((data / source / version).glob("*.parquet"))
        shown[source] = [f"{_URL_PREFIX}/{source}/{version}/{file.name}" for file in files]
    if everything:
        known = {*_sources(project, None), PROJECT_SOURCE}
        shown = {source: urls for source, urls in shown.items() if source in known}
    manifest = json.dumps({"renderedFiles": shown}, indent=1, sort_keys=True)
    replace_text(data / MANIFEST, manifest + "\n")

    for source in written:
        # A page opened before the swap may still read the generation before this one.
        kept = {version, *(Path(url).parent.name for url in old.get(source, []))}
        for folder in (data / source).iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
