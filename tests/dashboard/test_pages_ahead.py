"""Pages that are built while a run's stages go on, and builds that are kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from dashboard_helpers import build_for, page_of, served, write
from projects import dataflow, run_data, wait_until, write_notebook

from dataflow.base.memory import free_memory
from dataflow.dashboard import ahead, kept
from dataflow.dashboard.ahead import pages_built_ahead
from dataflow.dashboard.build import is_stale, staged_pages
from dataflow.dashboard.export import exported_files
from dataflow.dashboard.kept import kept_folder
from dataflow.dashboard.paths import work_folder
from dataflow.errors import DashboardError
from dataflow.project import Project


@pytest.fixture(autouse=True)
def enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "free_memory", lambda: ahead.NEEDED)


def kept_builds(project: Project) -> list[Path]:
    return list(kept_folder(project).glob("*"))


def builders(project: Project) -> list[psutil.Process]:
    """The processes of builds that go on."""
    found = []
    for process in psutil.process_iter(["cwd"]):
        if str(process.info["cwd"] or "").startswith(str(work_folder(project))):
            found.append(process)
    return found


def no_more_builds(project: Project) -> None:
    write(project.evidence / "node_modules" / "vite" / "bin" / "vite.js", "process.exit(1)")


def test_pages_built_ahead_are_seen_when_the_step_shows_them_and_not_built_again(several):
    write(page_of(several, "quakes"), "# quakes, second\n")
    said: list[str] = []
    with pages_built_ahead(several, "quakes", said.append):
        wait_until(lambda: kept_builds(several))
        no_more_builds(several)
        assert served(several, "quakes") == "# quakes, first\n"
        with staged_pages(several, "quakes") as pages, pages.shown():
            assert pages.built

    assert served(several, "quakes") == "# quakes, second\n"
    assert not is_stale(several)
    assert said == []
    assert len(kept_builds(several)) == 1, "the one that was served before"


def test_the_step_waits_for_pages_that_are_being_built_and_says_so(several):
    write(page_of(several, "quakes"), "# PATIENCE\n")
    said: list[str] = []
    with pages_built_ahead(several, "quakes", said.append):
        wait_until(lambda: builders(several))
        with staged_pages(several, "quakes", on_progress=said.append) as pages, pages.shown():
            pass

    assert served(several, "quakes") == "# PATIENCE\n"
    assert [text.split(" (")[0] for text in said] == [
        "  … waiting for the dashboard's pages, which are being built"
    ]


def test_a_run_that_ends_early_ends_the_build_and_leaves_nothing(several):
    write(page_of(several, "quakes"), "# SLOW\n")
    with pages_built_ahead(several, "quakes", print):
        (builder, *_) = wait_until(lambda: builders(several))
        assert builder.nice() == min(psutil.Process().nice() + 10, 19)

    assert not builder.is_running()
    assert not work_folder(several).exists()
    assert kept_builds(several) == []
    assert served(several, "quakes") == "# quakes, first\n"


def test_a_killed_run_takes_its_build_along_and_the_next_one_builds(several):
    write(page_of(several, "quakes"), "# SLOW\n")
    code = (
        "from pathlib import Path; import sys, time\n"
        "from dataflow.dashboard import ahead\n"
        "from dataflow.project import Project\n"
        "ahead.free_memory = lambda: ahead.NEEDED\n"
        "with ahead.pages_built_ahead(Project(Path(sys.argv[1])), 'quakes', print): time.sleep(99)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(several.root)])
    wait_until(lambda: builders(several))
    os.kill(run.pid, signal.SIGKILL)
    run.wait()

    wait_until(lambda: not builders(several))
    write(page_of(several, "quakes"), "# quakes, second\n")
    build_for(several, "quakes")
    assert served(several, "quakes") == "# quakes, second\n"
    assert not work_folder(several).exists()


def test_a_page_that_changes_meanwhile_ends_the_build_ahead(several):
    write(page_of(several, "quakes"), "# SLOW\n")
    with pages_built_ahead(several, "quakes", print):
        wait_until(lambda: builders(several))
        write(page_of(several, "quakes"), "# quakes, second\n")
        build_for(several, "quakes")

    assert served(several, "quakes") == "# quakes, second\n"


def test_a_page_that_changes_while_it_is_built_is_built_by_the_next_run(several):
    page = page_of(several, "quakes")
    vite = several.evidence / "node_modules" / "vite" / "bin" / "vite.js"
    edit = f"require('fs').writeFileSync({str(page)!r}, '# quakes, third\\n');\n"
    vite.write_text(edit + vite.read_text())
    write(page, "# quakes, second\n")

    build_for(several, "quakes")

    assert served(several, "quakes") == "# quakes, second\n"
    assert is_stale(several, "quakes")
    build_for(several, "quakes")
    assert served(several, "quakes") == "# quakes, third\n"


def test_a_page_that_does_not_compile_is_told_early_and_fails_the_step_at_once(several):
    write(page_of(several, "quakes"), "# BROKEN\n")
    said: list[str] = []
    with pages_built_ahead(several, "quakes", said.append):
        wait_until(lambda: said)
        no_more_builds(several)
        with pytest.raises(DashboardError, match="'y' is not defined") as caught:
            build_for(several, "quakes")

    assert "will fail" in said[0]
    assert "evidence/pages/quakes/index.md" in said[0]
    assert caught.value.where == "evidence/pages/quakes/index.md"
    assert served(several, "quakes") == "# quakes, first\n"


def test_with_too_little_memory_pages_are_built_at_the_end(several, monkeypatch):
    monkeypatch.setattr(ahead, "free_memory", lambda: ahead.NEEDED - 1)
    write(page_of(several, "quakes"), "# quakes, second\n")
    said: list[str] = []
    with pages_built_ahead(several, "quakes", said.append):
        assert kept_builds(several) == []

    assert "GB of memory are free" in said[0]


def test_pages_that_changed_back_are_not_built_again(several):
    write(page_of(several, "quakes"), "# quakes, second\n")
    build_for(several, "quakes")
    write(page_of(several, "quakes"), "# quakes, first\n")
    no_more_builds(several)

    build_for(several, "quakes")

    assert served(several, "quakes") == "# quakes, first\n"
    assert not is_stale(several)


def test_few_builds_are_kept_and_half_of_one_is_none(several, monkeypatch):
    monkeypatch.setattr(kept, "MOST", 2)
    for number in range(4):
        write(page_of(several, "quakes"), f"# quakes, number {number}\n")
        build_for(several, "quakes")
    assert len(kept_builds(several)) == 2

    (kept_folder(several) / ".half").mkdir()
    for path in kept_builds(several):
        (path / ".dataflow-build.json").unlink(missing_ok=True)
    write(page_of(several, "quakes"), "# quakes, number 2\n")
    build_for(several, "quakes")
    assert served(several, "quakes") == "# quakes, number 2\n"
    assert not (kept_folder(several) / ".half").exists()


def test_a_run_builds_its_pages_beside_its_stages_and_shows_them_with_its_data(several):
    if free_memory() < ahead.NEEDED:
        pytest.skip("there is too little memory to build beside stages")
    stage = (
        "import time\nfrom pathlib import Path\n"
        "from dataflow.shared.db import get_duckdb_connection\n"
        f"while not list(Path({str(kept_folder(several))!r}).glob('[0-9a-f]*')):\n"
        "    time.sleep(0.1)\n"
        "with get_duckdb_connection() as connection:\n"
        "    connection.execute('CREATE SCHEMA IF NOT EXISTS quakes')\n"
        "    connection.execute('CREATE OR REPLACE TABLE quakes.events AS SELECT 1.5 AS magnitude')\n"
    )
    folder = several.notebooks / "quakes"
    write_notebook(folder / "events.ipynb", [stage])
    one = {"notebook": "events.ipynb", "writes": ["quakes.events"], "timeout": 60}
    write(folder / "config.yaml", json.dumps({"workflow": {"name": "Quakes"}, "stages": [one]}))
    write(page_of(several, "quakes"), "# quakes, second\n")

    done = dataflow(several, "workflow", "run", "quakes")

    assert done.returncode == 0, done.stderr
    assert served(several, "quakes") == "# quakes, second\n"
    assert [path.stem for path in exported_files(several)["quakes"].values()] == ["events"]
    assert run_data(several, "quakes")["steps"]["dashboard"]["built"] is True
    assert not work_folder(several).exists()
