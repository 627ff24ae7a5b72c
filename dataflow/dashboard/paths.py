"""Where the dashboard's parts are on disk."""

from __future__ import annotations

from pathlib import Path

from dataflow.project import Project
from dataflow.workflows.ids import slug_of

BUILD_STAMP = ".dataflow-build.json"
MANIFEST = "manifest.json"


def build_folder(project: Project) -> Path:
    """The built pages, what the server serves at `/`."""
    return project.evidence / "build"


def data_folder(project: Project) -> Path:
    """The exported tables, what the server serves at `/data`; a rebuild leaves them alone."""
    return project.state / "dashboard" / "data"


def preview_folder(project: Project, workflow_id: str, run_id: str) -> Path:
    """The tables of a run that awaits review, as the dashboard would show them."""
    return data_folder(project) / "_preview" / workflow_id / run_id


def work_folder(project: Project) -> Path:
    """Where a build happens, so that it neither meets `evidence dev` nor the served build."""
    return project.state / "dashboard" / "work"


def build_log(project: Project) -> Path:
    """Everything the last build printed."""
    return project.state / "dashboard" / "build.log"


def lock_file(project: Project, name: str) -> Path:
    """The lock file `name`; its folder is made when missing."""
    folder = project.state / "dashboard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.lock"


def has_dashboard(project: Project, workflow_id: str) -> bool:
    """Whether the project has a page for the workflow."""
    page = project.evidence / "pages" / slug_of(workflow_id)
    return (page / "index.md").is_file() or page.with_suffix(".md").is_file()


def has_sources(project: Project, workflow_id: str) -> bool:
    """Whether the workflow has something to show: queries in `evidence/sources/<workflow>/`."""
    return any((project.evidence / "sources" / workflow_id).glob("*.sql"))
