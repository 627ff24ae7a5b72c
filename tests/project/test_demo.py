"""The whole way, as `make demo` goes it: from the notebooks to numbers in a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest
from browser import browser_page
from projects import dataflow, free_port

from dataflow.project import Project
from dataflow.runs.record import Run, newest_first

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def demo(clone: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the clone in which the workflow has run once."""
    root = tmp_path_factory.mktemp("demo") / "project"
    shutil.copytree(clone.root, root, symlinks=True)
    return Project(root)


@pytest.fixture(scope="module")
def site(demo: Project) -> Iterator[str]:
    """The dashboards of the demo, served by the service in the background."""
    port = str(free_port())
    started = dataflow(demo, "service", "start", "evidence", "-d", "--port", port)
    assert started.returncode == 0, started.stderr
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stopped = dataflow(demo, "service", "stop", "evidence")
        assert stopped.returncode == 0, stopped.stderr


def the_run(project: Project) -> Run:
    return next(newest_first(project, "earthquakes"))


def wait_for_count(visit, count: str) -> None:
    visit.page.wait_for_function(
        "count => (document.body?.innerText ?? '').replace(/\\n+/g, '\\n').includes(`Earthquakes\\n${count}\\n`)",
        arg=count,
        timeout=60_000,
    )


def test_the_run_tells_each_step_as_it_goes_by_and_then_where_to_look(clone):
    told = (clone.root.parent / "stderr.txt").read_text("utf-8")
    for step in ("ingest", "transform", "explore", "dbt", "publish", "dashboard"):
        assert f"▶ {step}" in told
        assert f"✓ {step}" in told
    assert "ingest │" in told  # what the notebooks print
    printed = (clone.root.parent / "stdout.txt").read_text("utf-8")
    assert "http://127.0.0.1:9000/earthquakes" in printed
    assert "runs/earthquakes/" in printed


def test_the_run_is_archived_with_all_its_notebooks(clone):
    run = the_run(clone)

    assert run.status == "succeeded"
    assert [path.stem for path in run.notebooks] == ["ingest", "transform", "explore"]
    assert run.steps["ingest"]["rows"] == {"events": 1707}
    assert run.steps["transform"]["rows"] == {"events_clean": 1679}
    assert all(check["passed"] for check in run.steps["dbt"]["checks"])
    assert len(run.steps["dbt"]["checks"]) > 40
    for path in run.notebooks:
        text = path.read_text("utf-8")
        assert str(clone.root) not in text, "an executed notebook names no folder of the machine"
        assert path.with_suffix(".html").is_file()


def test_dagster_knows_the_run_and_its_tables(demo, monkeypatch):
    from dagster import AssetKey, DagsterInstance

    monkeypatch.setenv("DAGSTER_HOME", str(demo.dagster_home))
    with DagsterInstance.get() as instance:
        assert instance.get_run_by_id(the_run(demo).run_id).is_success
        for key in (
            ["earthquakes_raw", "events"],
            ["earthquakes_raw", "events_clean"],
            ["notebooks", "earthquakes", "explore"],
            ["earthquakes", "daily_events"],
            ["published", "earthquakes_published"],
            ["dashboard", "earthquakes_dashboard"],
        ):
            assert instance.get_latest_materialization_event(AssetKey(key)) is not None, key


def test_the_dashboard_shows_the_week_and_filters_it(site):
    with browser_page() as visit:
        visit.open(f"{site}/earthquakes", "Depth km")
        wait_for_count(visit, "1,679")
        assert visit.page.locator("canvas:visible, svg[width]:visible").count() >= 3
        visit.page.get_by_role("button", name="5", exact=True).click()
        wait_for_count(visit, "39")
        visit.page.get_by_role("button", name="any", exact=True).click()
        visit.page.get_by_role("combobox", name="Region").click()
        visit.page.get_by_role("option", name="California").click()
        wait_for_count(visit, "817")
        visit.assert_clean()


def test_the_list_of_workflows_leads_to_the_dashboard_and_to_the_run(site, demo):
    with browser_page() as visit:
        visit.open(site, "Earthquakes")
        visit.page.get_by_role("link", name="Executed notebooks").click()
        visit.wait_for_text(the_run(demo).run_id)
        visit.page.get_by_role("link", name="explore", exact=True).click()
        visit.wait_for_text("what the catalogue says")
        visit.assert_clean()


def test_other_parameters_change_the_numbers_without_a_rebuild(site, demo):
    with browser_page() as visit:
        visit.open(f"{site}/earthquakes", "Depth km")
        wait_for_count(visit, "1,679")
        before = the_run(demo)

        result = dataflow(
            demo,
            *("workflow", "run", "earthquakes", "-p", "min_magnitude", "4.5", "--json"),
            timeout=400,
        )

        assert result.returncode == 0, result.stderr
        run = json.loads(result.stdout)
        assert run["parameters"] == {"ingest": {"min_magnitude": 4.5}}
        assert run["steps"]["dashboard"]["built"] is False
        visit.page.reload()
        wait_for_count(visit, "85")
        visit.assert_clean()
    runs = list(newest_first(demo, "earthquakes"))
    assert len(runs) == 2
    assert all(len(run.notebooks) == 3 for run in runs)
    assert before.folder.is_dir()
    listed = dataflow(demo, "runs", "list")
    assert all(run.run_id[:8] in listed.stdout for run in runs)
