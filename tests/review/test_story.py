"""One story in a real browser: a run fails, is understood, fixed, reviewed, and published."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from browser import DESKTOP, PHONE, browser_page
from dashboard_helpers import servers
from projects import dataflow, environment

from dataflow.project import Project
from dataflow.runs.record import AWAITING, find_run
from dataflow.services.decision import token

pytestmark = [pytest.mark.browser, pytest.mark.slow]

# As the schedule would run it, without its daemon.
SCHEDULED = """
from dataflow.orchestration.options import RunOptions
from dataflow.orchestration.run import run_workflow
from dataflow.project import Project
run_workflow(Project.find(), "earthquakes", RunOptions({"min_magnitude": 6}, trigger="schedule"))
"""
ALL, FIXED = "1,679", "438"  # events of the example's week, and those of magnitude 2 and more


def reviewed(clone: Project, folder: Path) -> Project:
    """A copy of the example in which runs are reviewed, and few events are too few."""
    shutil.copytree(clone.root, folder, symlinks=True)
    project = Project(folder)
    home = project.notebooks / "earthquakes"
    config = home / "config.yaml"
    config.write_text(
        config.read_text().replace("workflow:\n", "workflow:\n  review: required\n", 1)
    )
    notebook = nbformat.read(home / "explore.ipynb", as_version=4)
    strict = 'if len(events) < 100:\n    raise ValueError(f"only {len(events)} events")'
    notebook.cells.append(nbformat.v4.new_code_cell(strict))
    nbformat.write(notebook, home / "explore.ipynb")
    return project


def test_from_a_failed_run_to_the_dashboard(clone, tmp_path):
    """The reviewer finds the failing cell in three clicks on a phone, sees what differs from the
    last good run, previews the fixed run's dashboard while readers see the old one, and approves.
    """
    project = reviewed(clone, tmp_path / "project")
    subprocess.run(
        [sys.executable, "-c", SCHEDULED], cwd=project.root, env=environment(), check=True
    )
    assert find_run(project, "last").status == "failed"
    fixing = ["workflow", "run", "earthquakes", "-q", "-p", "min_magnitude=2"]
    fixed = dataflow(project, *fixing, timeout=300)
    assert fixed.returncode == 0, fixed.stderr
    run = find_run(project, "last")
    assert run.status == AWAITING

    with servers() as serve:
        base = serve(project)
        with browser_page(PHONE) as visit:
            page = visit.page
            visit.open(f"{base}/runs/", "Earthquakes")
            page.click("#runs >> text=failed")
            visit.wait_for_text("only 5 events")
            assert "schedule" in visit.text()
            page.click("text=Open the failing cell")
            page.wait_for_url("**/explore.html#failed")
            page.wait_for_function("scrollY > 0")
            place = page.get_by_text("ValueError: only 5 events").last.bounding_box()
            assert 0 <= place["y"] < PHONE[1]  # it is scrolled to
            page.go_back()
            page.click("text=Compare with the last good run")
            visit.wait_for_text("min_magnitude")
            assert "1,707" in page.locator("section:has(#data)").inner_text()
            assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
            visit.assert_clean()

        with browser_page(DESKTOP) as visit:
            page = visit.page
            visit.open(f"{base}/earthquakes", ALL)
            page.goto(f"{base}/runs/earthquakes/{run.folder.name}/decide?token={token(project)}")
            with page.expect_popup() as opened:
                page.click("text=Preview the dashboard")
            preview = opened.value
            preview.wait_for_function("document.body?.innerText.includes('Preview of run')")
            preview.wait_for_function(f"document.body.innerText.includes('{FIXED}')")
            assert ALL not in preview.inner_text("body")
            visit.open(f"{base}/earthquakes", ALL)
            assert "Preview of run" not in visit.text()

            page.goto(f"{base}/runs/earthquakes/{run.folder.name}/decide")
            page.fill("[name=comment]", "weak events are left out on purpose")
            page.click("text=Approve and publish")
            visit.wait_for_text("weak events are left out on purpose")
            page.wait_for_function(
                "() => document.querySelector('h1').innerText.includes('succeeded')"
                " || (setTimeout(() => location.reload(), 1000), false)",
                timeout=120_000,
                polling=2_000,
            )
            visit.open(f"{base}/earthquakes", FIXED)
            preview.reload()  # there is nothing to preview any more
            preview.wait_for_function(f"document.body.innerText.includes('{FIXED}')")
            assert "Preview of run" not in preview.inner_text("body")
            assert visit.left == []
