"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from browser import chromium
from missing import NOT_TESTED, not_tested
from once import MakeOnce, make_once  # noqa: F401 - a fixture
from projects import REPOSITORY, copy_repository, dataflow

from dataflow.dashboard.build import build_pages, built_hash, pages_hash
from dataflow.project import Project

# A shell that puts the tests into the background has them ignore Ctrl-C, and what they start
# inherits that; how commands end on Ctrl-C is tested, so it has to be as in a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def outside_of_any_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that are started from a run or a project's shell behave as from a plain one."""
    for name in list(os.environ):
        if name.startswith(("DATAFLOW_", "DAGSTER_HOME")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def built_pages(make_once: MakeOnce) -> Path:  # noqa: F811
    """A project whose `evidence/build` holds the built pages."""

    def make(folder: Path) -> None:
        project = copy_repository(folder)
        if built_hash(Project(REPOSITORY)) == pages_hash(project):
            shutil.copytree(REPOSITORY / "evidence" / "build", project.evidence / "build")
        build_pages(project)

    return make_once("built", make)


@pytest.fixture(scope="session")
def clone(make_once: MakeOnce, built_pages: Path) -> Project:  # noqa: F811
    """A clone of the repository in which the workflow `earthquakes` has run.

    What that printed is beside it, in `stdout.txt` and `stderr.txt`.
    """

    def make(folder: Path) -> None:
        project = copy_repository(folder, built_pages)
        for command in (
            ["init", "-q"],
            ["add", "-A", "."],
            ["-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", "A clone"],
        ):
            subprocess.run(["git", *command], cwd=project.root, check=True, capture_output=True)
        ran = dataflow(project, "workflow", "run", "earthquakes", timeout=400)
        assert ran.returncode == 0, ran.stderr
        (folder.parent / "stdout.txt").write_text(ran.stdout, "utf-8")
        (folder.parent / "stderr.txt").write_text(ran.stderr, "utf-8")

    return Project(make_once("clone", make))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without a browser what needs one is skipped; in CI that is a failure."""
    if item.get_closest_marker("browser") and chromium() is None:
        not_tested("what pages look like, as this machine has no chromium")


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line says loudly what a machine could not test."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    reasons = Counter(report.longrepr[2].partition(f"{NOT_TESTED}: ")[2] for report in skipped)
    for reason, number in reasons.items():
        if reason:
            print(f"\n!!! {NOT_TESTED} ({number} tests): {reason} !!!", file=sys.stderr)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: many tests wait for a service, a clock or a lock."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that the processes end at about the same time."""
    for item in items:
        expensive = {"built_pages", "clone"} & set(item.fixturenames)  # type: ignore[attr-defined]
        if expensive or item.get_closest_marker("browser"):
            item.add_marker("slow")
        if expensive:
            item.add_marker(pytest.mark.timeout(1_800))  # the first one makes them
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
