"""Show what was published: everything between a workflow's tables and its dashboard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dataflow.dashboard.build import built_slugs, staged_pages
from dataflow.dashboard.catalog import workflows_for_pages
from dataflow.dashboard.check import check_pages, warnings_of
from dataflow.dashboard.export import StagedExport, read_manifest, staged_export
from dataflow.dashboard.kept import forget_builds
from dataflow.dashboard.paths import preview_folder
from dataflow.errors import DashboardError
from dataflow.project import Project
from dataflow.workflows.ids import slug_of


def refresh_dashboard(
    project: Project,
    workflow_id: str,
    *,
    build: bool = True,
    on_line: Callable[[str], None] = lambda line: None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Show the published tables of a workflow: export, try the pages' queries, build, swap.

    Data and pages are swapped in together at the end; when anything fails, what is shown stays.
    Where the setting `build_pages` is false, the pages stay as they are: a test of a workflow needs data and
    checks, and can do without Node.

    Args:
        project: the project.
        workflow_id: whose dashboard it is; one without source queries has nothing to export.
        build: whether pages are built if their files changed; otherwise they stay as they are.
        on_line: called with each line that the build of the pages prints.
        on_progress: told in words that pages are built, and every few seconds that it goes on.

    Returns:
        What was done: `rows` by table, `bytes`, `export_seconds`, `built`, `build_seconds`,
        and `warnings`.

    Raises:
        DashboardError: a source query or a page's query fails, or the build does.
    """
    everyone = workflows_for_pages(project)
    with staged_export(project, [workflow_id], workflows=everyone) as export:
        facts = _checked(project, workflow_id, export) | {
            "bytes": export.bytes,
            "export_seconds": round(export.seconds, 3),
            "built": False,
            "build_seconds": 0.0,
        }
        if not (build and project.settings.build_pages):
            on_line("the pages were not built")
            export.show()
            return facts
        with staged_pages(project, workflow_id, on_line=on_line, on_progress=on_progress) as pages:
            export.show(pages.shown)
            facts["warnings"] += list(pages.warnings)
            if pages.built:
                facts |= {"built": True, "build_seconds": round(pages.seconds, 3)}
    return facts


def preview_dashboard(
    project: Project, workflow_id: str, run_id: str, database: Path
) -> dict[str, Any]:
    """Export what a dashboard would show of a version that nobody sees yet, and try its queries.

    Args:
        project, workflow_id: whose dashboard it is.
        run_id: the run that made the version.
        database: the version's DuckDB file.

    Returns:
        `rows` by table, and `warnings`.

    Raises:
        DashboardError: a source query or a page's query fails on it.
    """
    folder = preview_folder(project, workflow_id, run_id)
    shutil.rmtree(folder, ignore_errors=True)
    everyone = workflows_for_pages(project)
    with staged_export(project, [workflow_id], workflows=everyone, database=database) as export:
        facts = _checked(project, workflow_id, export)
        export.keep_aside(folder)
    return facts


def remove_previews(project: Project, workflow_id: str, runs: Iterable[str]) -> None:
    """Remove what was exported to preview these runs of a workflow."""
    for run_id in runs:
        shutil.rmtree(preview_folder(project, workflow_id, run_id), ignore_errors=True)


def _checked(project: Project, workflow_id: str, export: StagedExport) -> dict[str, Any]:
    """Try the pages' queries on an export; returns its `rows` by table, and `warnings`."""
    files = export.files()
    if problems := check_pages(project, [workflow_id], files):
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DashboardError(first.message + more, where=first.where(project.root), hint=first.hint)
    return {
        "rows": export.tables.get(workflow_id, {}),
        "warnings": [
            f"{found.where(project.root)}: {found.message}. {found.hint}"
            for found in warnings_of(project, workflow_id, files.get(workflow_id, {}))
        ],
    }


def withdraw_dashboard(
    project: Project,
    workflow_id: str,
    *,
    build: bool = True,
    on_progress: Callable[[str], None] = lambda text: None,
) -> None:
    """Take a workflow that is gone out of the dashboards: data, the list of workflows, pages.

    Its data goes first, and at once; the pages of the others are built anew without its own.

    Args:
        project: the project, in which its page's files are gone already.
        workflow_id: the workflow.
        build: whether the pages are built without its own; otherwise the next build does it.
        on_progress: as `refresh_dashboard` takes it.

    Raises:
        ConfigurationError: the pages have to be built, and there is no Node for that.
        DashboardError: a page does not compile; its pages are served until the next build.
    """
    shutil.rmtree(preview_folder(project, workflow_id, ""), ignore_errors=True)
    everyone = [one for one in workflows_for_pages(project) if one["id"] != workflow_id]
    if read_manifest(project):
        with staged_export(project, [], workflows=everyone) as export:
            export.show(without=workflow_id)
    if not (build and project.settings.build_pages):
        return
    if slug_of(workflow_id) not in built_slugs(project):
        return
    with staged_pages(project, workflow_id, on_progress=on_progress) as pages, pages.shown():
        pass
    forget_builds(project)  # which have its pages
