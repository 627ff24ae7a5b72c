"""JupyterLab in a real browser: the tiles lead on, a notebook runs top to bottom by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import browser_page
from projects import REPOSITORY, dataflow, free_port, make_project

from dataflow.project import Project
from dataflow.shared.explore import query, tables

pytestmark = pytest.mark.browser
NOTEBOOK = "notebooks/earthquakes/ingest.ipynb"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project with the shipped workflow, JupyterLab and the dashboards' server."""
    project = make_project(tmp_path / "project", {})
    shutil.copytree(
        REPOSITORY / "notebooks" / "earthquakes",
        project.notebooks / "earthquakes",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "debug"),
    )
    try:
        for service in ("jupyter", "evidence"):
            port = str(free_port())
            started = dataflow(project, "service", "start", service, "-d", "--port", port)
            assert started.returncode == 0, started.stderr
        yield project
    finally:
        dataflow(project, "service", "stop", "all")


def address(project: Project, service: str) -> str:
    state = project.state / "services" / f"{service}.json"
    return str(json.loads(state.read_text("utf-8"))["url"])


def test_tiles_lead_to_the_services_and_a_notebook_runs_by_hand(project, monkeypatch):
    url = address(project, "jupyter")
    with browser_page((1400, 950)) as visit:
        page = visit.page
        page.goto(url)
        page.wait_for_selector(".jp-Launcher", timeout=60_000)

        for tile in ("Dagster", "Dashboards", "Runs"):
            card = page.locator(f'.jp-LauncherCard:has-text("{tile}")')
            assert card.locator("img").evaluate("image => image.naturalWidth") > 0
        with page.expect_popup() as opened:
            page.click('.jp-LauncherCard:has-text("Runs")')
        opened.value.wait_for_load_state()
        assert opened.value.url == f"{address(project, 'evidence')}/runs/"
        with page.expect_popup() as opened:
            page.click('.jp-LauncherCard:has-text("Dagster")')
        opened.value.wait_for_selector("text=Dagster is not running")
        assert opened.value.locator("button").inner_text() == "Start Dagster"
        # Nobody without the token can start anything.
        door = f"http://127.0.0.1:{urlsplit(url).port}/dataflow/dagster"
        stranger = page.context.browser.new_context()
        assert "/login" in stranger.request.get(door).url
        assert stranger.request.post(door).status == 403

        page.goto(url.replace("/lab?", f"/lab/tree/{NOTEBOOK}?"))
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_selector(".jp-NotebookPanel-toolbar >> text=Python 3", timeout=60_000)
        page.click('.lm-MenuBar-itemLabel:text-is("Run")')
        page.click('.lm-Menu-item:has-text("Run All Cells")')
        page.wait_for_selector(".jp-OutputArea >> text=✓ there are events", timeout=90_000)
        assert "rows 1,707" in page.inner_text(".jp-Notebook")
        assert visit.left == []
        assert visit.errors == []

    # What it wrote is in its author's copy, and nobody else's.
    monkeypatch.chdir(project.notebooks / "earthquakes")
    assert list(tables()["table"]) == ["earthquakes_raw.events"]
    assert query("select count(*) as n from earthquakes_raw.events").n[0] == 1707
    assert not project.warehouse.exists()
