"""A small project with a warehouse, sources and pages, and a server for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from dashboard_helpers import VITE, mark_as_built, page_of, servers, write

from dataflow.dashboard.build import build_pages
from dataflow.dashboard.install import STAMP, packages_hash
from dataflow.dashboard.kept import forget_builds
from dataflow.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    write(root / "pyproject.toml", "[tool.dataflow]\n")
    write(root / "notebooks" / "quakes" / "config.yaml", "workflow:\n  name: Quakes\n")
    write(root / "evidence" / "sources" / "quakes" / "events.sql", "select * from quakes.events\n")
    return Project(root)


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the exports read."""
    path = tmp_path / "dataflow.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA quakes")
        connection.execute(
            "CREATE TABLE quakes.events AS SELECT i AS event_id, i / 10 AS magnitude, "
            "'region ' || (i % 3) AS region FROM range(50) AS t(i)"
        )
    monkeypatch.setenv("EVIDENCE_DUCKDB_PATH", str(path))
    return path


@pytest.fixture
def serve() -> Iterator[Callable[[Project], str]]:
    """Starts the dashboards' server for a project; answers with its address."""
    with servers() as start:
        yield start


@pytest.fixture
def site(project: Project) -> Project:
    """A project with pages that were built."""
    write(project.evidence / "package.json", "{}")
    write(project.evidence / "package-lock.json", "{}")
    write(project.evidence / "pages" / "index.md", "# Home\n")
    write(project.evidence / "pages" / "quakes" / "index.md", "# Quakes\n\nText\n\n{#if y}\n")
    mark_as_built(project)
    return project


@pytest.fixture
def several(site: Project) -> Project:
    """Pages of three workflows, built by what stands in for vite."""
    modules = site.evidence / "node_modules"
    write(modules / STAMP, packages_hash(site))
    write(modules / "@evidence-dev" / "evidence" / "template" / "package.json", "{}")
    write(modules / "vite" / "bin" / "vite.js", f"(() => {{ {VITE} }})()")
    for name in ("quakes", "sea_levels", "tides"):
        write(site.notebooks / name / "config.yaml", "workflow: {}\n")
        write(page_of(site, name), f"# {name}, first\n")
    build_pages(site)
    forget_builds(site)
    return site
