"""An author's hour: from a new workflow to its dashboard in JupyterLab, without a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from browser import Visit
from jupyterlab_helpers import Lab, panel, running_lab
from playwright.sync_api import Page, expect
from projects import copy_repository, free_port

from dataflow.api import Project as Api
from dataflow.project import Project

pytestmark = [pytest.mark.browser, pytest.mark.slow]
NOTEBOOK = "notebooks/rainfall/ingest.ipynb"
RUN = 120_000  # milliseconds that a run may take beside other tests
BUILD = 480_000  # one that builds the pages


@pytest.fixture
def lab(tmp_path: Path, built_pages: Path) -> Iterator[Lab]:
    """JupyterLab on a clone of the repository; the dashboards' server is not started yet."""
    project = copy_repository(tmp_path / "project", built_pages)
    port = str(free_port())
    with running_lab(project, tmp_path / "settings", DATAFLOW_EVIDENCE_PORT=port) as lab:
        yield lab


def run(page: Page, scope: str) -> None:
    """Choose what to run in the open form, and run it."""
    panel(page).get_by_label(scope, exact=True).check()
    button = panel(page).locator(".df-Form button[type=submit]")
    expect(button).to_be_enabled(timeout=RUN)
    button.click()


def ended(page: Page, how: str, timeout: int = RUN) -> None:
    """Wait until the run that the panel follows ended like this."""
    expect(panel(page).locator(".df-Progress [role=status]")).to_contain_text(how, timeout=timeout)


def source(page: Page):
    """The author's notebook."""
    return page.locator(".jp-NotebookPanel:not(.df-Executed)")


def type_at_end(page: Page, cell: int, text: str) -> None:
    source(page).locator(".jp-CodeCell .cm-content").nth(cell).click()
    page.keyboard.press("Control+End")
    page.keyboard.type(text)


def make_a_workflow(visit: Visit) -> None:
    page = visit.page
    page.locator(".jp-LauncherCard", has_text="New Workflow").click()
    form = panel(page).get_by_role("region", name="New workflow")
    form.get_by_label("Name").fill("Rainfall")
    expect(form.get_by_role("alert")).to_contain_text("`rainfall` would work")
    assert form.get_by_role("button", name="Create").is_disabled()
    form.get_by_label("Name").fill("rainfall")
    form.get_by_role("button", name="Create").click()
    source(page).get_by_role("heading", name="Ingest: temperatures").wait_for(timeout=RUN)
    expect(panel(page).get_by_role("heading", name="Rainfall")).to_be_visible()
    expect(panel(page).get_by_label("Steps of the workflow")).to_contain_text("ingest")


def run_the_stage(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("button", name="Run as Stage").click()
    days = panel(page).get_by_label("days")
    days.fill("many")
    expect(panel(page).locator(".df-Field", has_text="days").get_by_role("alert")).to_contain_text(
        "'many' is not of type int"
    )
    assert panel(page).locator(".df-Form button[type=submit]").is_disabled()
    days.fill("3")
    expect(panel(page)).to_contain_text("Will do: ingest. Nothing is published.", timeout=RUN)
    run(page, "only ingest")
    ended(page, "succeeded")
    executed = page.locator(".df-Executed")
    executed.get_by_text("days = 3").first.wait_for(timeout=RUN)
    expect(panel(page).locator(".df-Run").first).to_contain_text("jupyterlab")
    expect(panel(page).locator(".df-Run").first).to_contain_text("216 rows")


def see_a_problem_come_and_go(visit: Visit) -> None:
    page = visit.page
    note = source(page).get_by_text("not valid Python")
    type_at_end(page, 2, "\n1 / (days - 3")
    expect(note.first).to_be_visible(timeout=RUN)
    expect(panel(page).get_by_label("Problems")).to_contain_text("cell 5")
    page.keyboard.type(")")
    expect(note).to_have_count(0, timeout=RUN)


def fail_and_compare(visit: Visit) -> None:
    page = visit.page
    run(page, "only ingest")
    ended(page, "failed")
    failed = page.locator(".df-Executed", has_text="ZeroDivisionError")
    expect(failed.get_by_text("ZeroDivisionError").first).to_be_in_viewport(timeout=RUN)
    expect(panel(page).locator(".df-Run").first).to_contain_text(
        "cell 5: ZeroDivisionError: division by zero"
    )
    good = panel(page).locator(".df-Run").nth(1)
    good.get_by_role("button", name="Compare").click()
    shown = page.frame_locator(".df-Page iframe")
    shown.get_by_text("1 / (days - 3)").first.wait_for(timeout=RUN)


def fix_and_publish(visit: Visit) -> None:
    page = visit.page
    page.locator(".lm-TabBar-tabLabel", has_text="ingest.ipynb").first.click()
    for _ in range(len("\n1 / (days - 3)")):
        type_at_end(page, 2, "")
        page.keyboard.press("Backspace")
    panel(page).get_by_label("days").fill("20")
    expect(panel(page)).to_contain_text("Will do: ingest.", timeout=RUN)
    run(page, "the whole workflow")
    expect(panel(page).locator(".df-Progress")).to_contain_text("running", timeout=RUN)


def reload_while_it_runs(visit: Visit) -> None:
    page = visit.page
    page.reload()
    source(page).locator(".jp-Cell").first.wait_for(timeout=RUN)
    expect(panel(page).locator(".df-Printed")).to_contain_text("ingest", timeout=RUN)


def see_it_in_a_second_tab(visit: Visit) -> None:
    """Whoever looks sees the run go on, and its executed notebook opens in the first tab only."""
    other = visit.page.context.new_page()
    other.goto(visit.page.url)
    source(other).locator(".jp-Cell").first.wait_for(timeout=RUN)
    expect(panel(other).locator(".df-Progress")).to_contain_text("running", timeout=RUN)
    assert other.locator(".df-Executed", has_text="days = 20").count() == 0
    other.close()


def open_the_dashboard(visit: Visit) -> Page:
    page = visit.page
    with page.expect_popup() as opened:
        panel(page).get_by_role("link", name="Dashboard").click()
    dashboard = opened.value
    dashboard.get_by_role("button", name="Start").click()
    dashboard.wait_for_url("**/rainfall", timeout=RUN)
    return dashboard


def test_from_a_new_workflow_to_its_dashboard_without_a_terminal(lab):
    with lab.visit() as visit:
        make_a_workflow(visit)
        run_the_stage(visit)
        see_a_problem_come_and_go(visit)
        fail_and_compare(visit)
        fix_and_publish(visit)
        reload_while_it_runs(visit)
        see_it_in_a_second_tab(visit)
        ended(visit.page, "succeeded", BUILD)
        dashboard = open_the_dashboard(visit)
        dashboard.get_by_text("sensor").first.wait_for(timeout=RUN)
        assert visit.left == []
        kernels = httpx.get(f"{lab.base}/api/kernels", headers=lab.headers).json()

    assert len(kernels) == 1  # the author's; executed notebooks have none
    newest, failed, first = Api(Project(lab.project.root)).runs("rainfall")
    assert [run.status for run in (newest, failed, first)] == ["succeeded", "failed", "succeeded"]
    assert {run.data["trigger"] for run in (newest, failed, first)} == {"jupyterlab"}
    assert newest.steps["ingest"]["values"]["days"] == 20
    assert newest.steps["dashboard"]["built"] is True
