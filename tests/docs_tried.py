"""Fixtures: the pages of the documentation, every snippet tried; once for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from docs_pages import pages, snippets
from docs_runner import PageRunner
from projects import dataflow
from repository import REPOSITORY, copy_repository

from dataflow.project import Project


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory, built_pages: Path) -> Project:
    """A clone of the repository in which the workflow `earthquakes` has run."""
    project = copy_repository(tmp_path_factory.mktemp("docs") / "project", built_pages)
    for command in (
        ["init", "-q"],
        ["add", "-A", "."],
        ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", "A clone"],
    ):
        subprocess.run(["git", *command], cwd=project.root, check=True, capture_output=True)
    ran = dataflow(project, "workflow", "run", "earthquakes", "--quiet", timeout=300)
    assert ran.returncode == 0, ran.stderr
    return project


@pytest.fixture(scope="session")
def tried(
    clone: Project, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Project]]]:
    """The clone in which each page's snippets were tried, by the page's name.

    As many pages at once as there are cores, each in a clone of its own; only the pages that
    the chosen tests ask for, by the parameter or the mark `page`.
    """
    names = set()
    for item in request.session.items:
        if isinstance(item, pytest.Function) and "tried" in item.fixturenames:
            mark = item.get_closest_marker("page")
            names.add(mark.args[0] if mark else item.callspec.params["page"].name)
    chosen = [page for page in pages(REPOSITORY.root) if page.name in names]
    longest_first = sorted(chosen, key=lambda page: -len(snippets(page)))
    folder = tmp_path_factory.mktemp("pages")
    with ThreadPoolExecutor(max_workers=min(len(chosen), os.cpu_count() or 1, 4)) as pool:
        yield {
            page.name: pool.submit(_try_page, page, clone, folder / page.stem)
            for page in longest_first
        }
        pool.shutdown(wait=True, cancel_futures=True)


def _try_page(page: Path, clone: Project, folder: Path) -> Project:
    shutil.copytree(clone.root, folder, symlinks=True)
    project = Project(folder)
    runner = PageRunner(project)
    try:
        for snippet in snippets(page):
            if snippet.is_tried:
                runner.try_out(snippet)
    finally:
        runner.close()
    return project
