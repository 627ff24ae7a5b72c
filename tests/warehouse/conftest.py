from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
from dataflow.warehouse.connect import Connection

SMALL = 24 * 2**20
RUN_VARIABLES = (
    "DATAFLOW_PROJECT",
    "DATAFLOW_WORKFLOW",
    "DATAFLOW_RUN_ID",
    "DATAFLOW_STAGE",
    "DATAFLOW_WAREHOUSE",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project with one workflow, `quakes`; the current folder is the workflow's."""
    for name in RUN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pyproject.toml").write_text("[tool.dataflow]\n")
    folder = tmp_path / "notebooks" / "quakes"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return Project(tmp_path)


@pytest.fixture
def sql(project):
    """Run statements in the working warehouse."""

    def run(*statements: str) -> None:
        with get_duckdb_connection(database="working", project=project) as conn:
            for statement in statements:
                conn.execute(statement)

    return run


@pytest.fixture
def in_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same project, seen from a stage's kernel in a run."""
    monkeypatch.setenv("DATAFLOW_PROJECT", str(project.root))
    monkeypatch.setenv("DATAFLOW_WORKFLOW", "quakes")
    monkeypatch.setenv("DATAFLOW_RUN_ID", "20240101T000000-abcd")
    monkeypatch.setenv("DATAFLOW_STAGE", "ingest")
    return project


@pytest.fixture
def conn(in_run: Project) -> Iterator[Connection]:
    with get_duckdb_connection() as connection:
        yield connection


@pytest.fixture
def rows(project: Project) -> Callable[..., list[tuple[Any, ...]]]:
    """Run a query on a database of the project: `rows("FROM quakes_raw.events")`."""

    def query(sql: str, database: str = "working") -> list[tuple[Any, ...]]:
        with get_duckdb_connection(database=database, project=project) as connection:  # type: ignore[arg-type]
            return connection.execute(sql).fetchall()

    return query


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """`.duckdb` on a disk of 24 MB; without the right to mount, files of at most that size."""
    folder = project.root / ".duckdb"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Python:
    """Other Python processes; all are gone when the test ends."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.started: list[subprocess.Popen[str]] = []

    def start(self, code: str, *args: object, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
            env=os.environ | {"DATAFLOW_PROJECT": str(self._project.root)} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def start_and_wait_for(self, line: str, code: str, *args: object, **env: str):  # type: ignore[no-untyped-def]
        """Start a process and wait until it has printed `line`."""
        process = self.start(code, *args, **env)
        assert process.stdout is not None
        seen = process.stdout.readline().strip()
        assert seen == line, process.stderr.read() if process.stderr and not seen else seen
        return process

    def finish(self, process: subprocess.Popen[str]) -> str:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out


@pytest.fixture
def python(project: Project) -> Iterator[Python]:
    processes = Python(project)
    yield processes
    for process in processes.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
