"""The project's own dashboards, really built, in a real browser, on data with known numbers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import httpx
import pytest
from browser import DESKTOP, PHONE, Visit, browser_page
from dashboard_helpers import servers, write
from projects import copy_repository, write_notebook

from dataflow.dashboard.build import build_pages, built_hash, is_stale
from dataflow.dashboard.catalog import workflows_for_pages
from dataflow.dashboard.check import check_pages
from dataflow.dashboard.export import export_sources, exported_files
from dataflow.dashboard.paths import build_folder
from dataflow.errors import DashboardError
from dataflow.project import Project
from dataflow.runs.record import RunRecord
from dataflow.warehouse.versions import Metadata

pytestmark = pytest.mark.browser
PUBLISHED = "2024-03-07T12:00:00+00:00"

EVENTS = """
    select
        'e' || i as event_id,
        timestamp '2024-03-01 00:00:00' + to_hours(cast(i * 2 as integer)) as occurred_at,
        cast(timestamp '2024-03-01 00:00:00' + to_hours(cast(i * 2 as integer)) as date) as local_day,
        cast(i % 6 + 0.5 as decimal(9, 2)) as magnitude,
        ['below 1', '1 to 2', '2 to 3', '3 to 4', '4 to 5', '5 and more'][i % 6 + 1] as magnitude_band,
        'ml' as magnitude_type,
        'Place ' || i as place,
        case when i < 40 then 'Alaska' else 'Côte d''Ivoire' end as region,
        1.0 as latitude, 2.0 as longitude, 1679.0 as depth_km, 7::hugeint as significance,
        true as is_reviewed, i = 0 as has_tsunami_flag,
        'https://example.invalid/' || i as url
    from range(60) as t(i)
    where cast(i % 6 + 0.5 as decimal(9, 2)) >= {least}
"""


@dataclass
class Site:
    """A served project and the warehouse it is fed from."""

    project: Project
    url: str
    warehouse: Path

    def publish(self, least: float, run: str = "run-one") -> None:
        """Make the warehouse anew from events of this magnitude on, by a run, and export it."""
        self.warehouse.unlink(missing_ok=True)
        origin = {"workflow": "earthquakes", "run_id": run, "published_at": PUBLISHED}
        Metadata(1, PUBLISHED, "", schemas={"earthquakes": origin}).write(self.warehouse.parent)
        with duckdb.connect(self.warehouse) as connection:
            connection.execute("CREATE SCHEMA earthquakes")
            connection.execute(f"CREATE TABLE earthquakes.events AS {EVENTS.format(least=least)}")
            connection.execute(
                "CREATE TABLE earthquakes.regions AS SELECT region, count(*) AS events, "
                "max(magnitude) AS max_magnitude, avg(magnitude) AS mean_magnitude, "
                "max(occurred_at) AS last_event_at FROM earthquakes.events GROUP BY region"
            )
            connection.execute(
                "CREATE TABLE earthquakes.daily_events AS SELECT local_day AS day, magnitude_band, "
                "count(*) AS events, max(magnitude) AS max_magnitude, avg(depth_km) AS mean_depth_km "
                "FROM earthquakes.events GROUP BY ALL"
            )
            connection.execute(
                "CREATE TABLE earthquakes.largest_events AS SELECT row_number() OVER "
                "(ORDER BY magnitude DESC, event_id) AS rank, * FROM earthquakes.events"
            )
        workflows = [
            {
                **workflows_for_pages(self.project)[0],
                "run_id": "run-one",
                "finished_at": PUBLISHED,
            },
            {"id": "added_later", "name": "Added later"},
            {"id": "mistyped", "problem": "`workflow.name` is missing"},
        ]
        export_sources(self.project, ["earthquakes"], workflows=workflows)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, built_pages: Path) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("dashboards")
    project = copy_repository(root / "project", built_pages)
    assert not is_stale(project)
    run = RunRecord(project, "earthquakes", "run-one")
    run.begin([{"name": "ingest", "kind": "stage"}])
    run.step_ended("ingest", "succeeded", notebook="ingest.ipynb")
    write_notebook(run.executed_notebook("ingest"), ["print('Executed ingest')"])
    with servers() as start, pytest.MonkeyPatch.context() as patch:
        ready = Site(project, start(project), root / "warehouse" / "dataflow.duckdb")
        ready.warehouse.parent.mkdir()
        patch.setenv("EVIDENCE_DUCKDB_PATH", str(ready.warehouse))
        ready.publish(least=0)
        httpx.get(f"{ready.url}/data/manifest.json")  # a server begins by listing the workflows
        ready.publish(least=0)
        yield ready


def number(visit: Visit, title: str) -> str:
    """What the big value called `title` shows."""
    match = re.search(rf"^{re.escape(title)}\n+([^\n]+)$", visit.text(), re.MULTILINE)
    assert match, f"no {title} in {visit.text()[:500]}"
    return match[1]


def wait_for_number(visit: Visit, title: str, value: str) -> None:
    visit.page.wait_for_function(
        "([title, value]) => document.body.innerText.replace(/\\n+/g, '\\n')"
        ".includes(`${title}\\n${value}\\n`)",
        arg=[title, value],
        timeout=30_000,
    )


def open_earthquakes(visit: Visit, site: Site) -> None:
    visit.open(f"{site.url}/earthquakes", "Depth km")
    visit.page.wait_for_load_state("networkidle")


def test_no_page_brings_the_logos_of_all_data_sources(site):
    scripts = list((build_folder(site.project) / "_app" / "immutable").rglob("*.js"))

    assert max(path.stat().st_size for path in scripts) < 3_000_000, "Evidence's own has 4.8 MB"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_dashboard_shows_its_numbers_charts_and_table(site, size):
    with browser_page(size) as visit:
        open_earthquakes(visit, site)

        wait_for_number(visit, "Earthquakes", "60")
        assert number(visit, "Strongest") == "5.5"
        assert number(visit, "Regions") == "2"
        assert number(visit, "Median depth") == "1,679 km"
        assert "from 1 March 2024 to 5 March 2024" in visit.text()
        assert visit.page.locator("canvas:visible, svg[width]:visible").count() >= 3
        assert "Place 59" in visit.text()
        assert visit.page.get_by_role("cell", name="1,679", exact=True).count() == 15
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        visit.assert_clean()


def test_the_filters_change_every_number(site):
    with browser_page() as visit:
        open_earthquakes(visit, site)
        wait_for_number(visit, "Earthquakes", "60")

        visit.page.get_by_role("button", name="4", exact=True).click()
        wait_for_number(visit, "Earthquakes", "20")
        assert "Place 3\n" not in visit.text(), "the table is filtered too"

        visit.page.get_by_role("combobox", name="Region").click()
        visit.page.get_by_role("option", name="Côte d'Ivoire").click()
        wait_for_number(visit, "Earthquakes", "8")
        assert number(visit, "Regions") == "1"
        assert number(visit, "Tsunami flags") == "0"

        visit.page.get_by_role("button", name="any", exact=True).click()
        wait_for_number(visit, "Earthquakes", "20")
        visit.assert_clean()


def test_the_table_can_be_searched(site):
    with browser_page() as visit:
        open_earthquakes(visit, site)
        assert "Place 59" in visit.text()
        visit.page.get_by_role("textbox", name="Search").fill("Place 42")
        visit.wait_for_text("Place 42")
        visit.page.wait_for_function("() => !document.body.innerText.includes('Place 59')")
        visit.assert_clean()


def test_new_data_shows_after_a_reload_without_a_rebuild(site):
    with browser_page() as visit:
        open_earthquakes(visit, site)
        wait_for_number(visit, "Earthquakes", "60")
        before = built_hash(site.project)
        try:
            site.publish(least=4.5)
            visit.page.reload()
            wait_for_number(visit, "Earthquakes", "20")
        finally:
            site.publish(least=0)
        assert built_hash(site.project) == before
        visit.assert_clean()


def test_days_are_the_same_wherever_the_reader_is(site):
    """The browser is in New York; midnight in UTC must not become the evening before."""
    with browser_page() as visit:
        open_earthquakes(visit, site)
        rows = visit.page.get_by_role("row")
        texts = [rows.nth(index).inner_text() for index in range(rows.count())]
        assert any("Place 59" in text and "5 Mar, 22:00" in text for text in texts), texts[:5]
        visit.assert_clean()


def test_the_first_page_lists_the_workflows_and_leads_to_their_dashboards(site):
    with browser_page() as visit:
        visit.open(site.url, "Added later")
        assert "7 March 2024, 12:00 UTC" in visit.text()
        assert "At 06:00, every day (UTC)" in visit.text()
        assert "not published yet" in visit.text()
        assert "It does not run: `workflow.name` is missing" in visit.text()
        assert "dataflow workflow validate mistyped" in visit.text()

        visit.page.get_by_role("link", name="Dashboard", exact=True).click()
        wait_for_number(visit, "Earthquakes", "60")
        assert visit.page.url.rstrip("/").endswith("/earthquakes")
        visit.assert_clean()


def test_the_dashboard_leads_to_the_executed_notebooks_it_was_made_from(site):
    with browser_page() as visit:
        open_earthquakes(visit, site)
        visit.page.get_by_role("link", name="run-one").click()
        visit.wait_for_text("succeeded")
        visit.page.get_by_role("link", name="ingest", exact=True).click()
        visit.wait_for_text("Executed ingest")
        visit.assert_clean()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_page_says_which_run_made_its_data_and_that_a_newer_one_failed(site, size):
    """Without anything of the author's: an open page as well as the card on the first page."""
    with browser_page(size) as visit:
        open_earthquakes(visit, site)
        visit.wait_for_text("Made by run run-one,")
        assert "(7 March 2024, 12:00 UTC)" in visit.text()
        assert "The last run" not in visit.text()
        failed = RunRecord(site.project, "earthquakes", f"bad{size[0]:05}-one")
        failed.begin([{"name": "ingest", "kind": "stage"}], trigger="schedule")
        failed.step("ingest", status="failed", error={"message": "cell 3: <b>no</b> answer"})
        failed.end()
        try:
            visit.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            visit.wait_for_text("The last run failed just now; this is the data before it.")
            assert "cell 3: <b>no</b> answer" in visit.text()
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0]

            visit.open(site.url, "The last run failed just now")
            assert "Made by run run-one," in visit.text()
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0]
            visit.page.get_by_role("link", name="See why").click()
            visit.wait_for_text("cell 3: <b>no</b> answer")
            assert failed.folder.name in visit.page.url
        finally:
            shutil.rmtree(failed.folder)
        visit.assert_clean()


def test_an_open_page_says_that_newer_data_is_there(site):
    """It goes on naming the run whose data it shows."""
    with browser_page() as visit:
        open_earthquakes(visit, site)
        visit.wait_for_text("Made by run run-one,")
        try:
            site.publish(least=4.5, run="run-two")
            visit.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            visit.wait_for_text("Newer data was published")
            assert "Made by run run-one," in visit.text()
            visit.page.get_by_role("link", name="Reload").click()
            visit.wait_for_text("Made by run run-two,")
            assert "Newer data" not in visit.text()
        finally:
            site.publish(least=0)
        visit.assert_clean()


def test_a_page_loads_its_own_tables_and_no_others(site):
    """Nineteen more workflows of ten tables, of which one has lost its files."""
    sources = site.project.evidence / "sources"
    for number in range(19):
        for table in range(10):
            write(sources / f"w{number}" / f"t{table}.sql", f"select {table} as events")
    export_sources(site.project, [f"w{number}" for number in range(19)])
    for path in exported_files(site.project)["w7"].values():
        path.unlink()
    try:
        with browser_page() as visit:
            requests: list[str] = []
            visit.page.on("request", lambda request: requests.append(urlsplit(request.url).path))
            encodings: list[str | None] = []
            visit.page.on(
                "response",
                lambda answer: (
                    answer.url.endswith(".wasm")
                    and encodings.append(answer.headers.get("content-encoding"))
                ),
            )
            open_earthquakes(visit, site)
            wait_for_number(visit, "Earthquakes", "60")
            data = [path for path in requests if path.startswith("/data/")]
            # Who made the data is asked for beside it, sooner or later.
            own = {path.split("/")[2] for path in data} - {"provenance.json"}
            assert own == {"manifest.json", "earthquakes"}
            assert len(data) < 12, data
            assert encodings == ["gzip"], "18 MB of wasm come as 4"
            visit.assert_clean()
    finally:
        for number in range(19):
            shutil.rmtree(sources / f"w{number}")


def test_no_earthquakes_at_all_is_a_dashboard_too(site):
    with browser_page() as visit:
        try:
            site.publish(least=100)
            visit.open(f"{site.url}/earthquakes", "Busiest regions: no earthquake matches")
            wait_for_number(visit, "Earthquakes", "0")
            boxes = visit.page.locator("p.border-dashed")
            assert boxes.count() == 4, "three charts and the table"
            assert all(box.bounding_box()["height"] > 100 for box in boxes.all()), "with a picture"
            assert "Dataset is empty" not in visit.text()
        finally:
            site.publish(least=0)
        assert visit.left == []
        assert visit.failed == []


def test_a_page_that_does_not_compile_leaves_the_served_pages_alone(site):
    page = write(
        site.project.evidence / "pages" / "broken.md", "# Broken\n\n<Value data={nothing}/>\n"
    )
    before = (site.project.evidence / "build" / "index.html").read_text()
    try:
        with pytest.raises(DashboardError, match="'nothing' is not defined") as caught:
            build_pages(site.project)
    finally:
        page.unlink()

    assert caught.value.where == "evidence/pages/broken.md:3"
    assert (site.project.evidence / "build" / "index.html").read_text() == before
    assert not build_pages(site.project).built


def test_the_queries_of_the_projects_own_pages_run(site):
    assert check_pages(site.project) == []
