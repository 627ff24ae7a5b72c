"""The page that compares two runs, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from browser import DESKTOP, PHONE, Visit, browser_page
from dashboard_helpers import servers
from made_runs import Made, executed, shows

from dataflow.api import Run
from dataflow.project import Project
from dataflow.runs.record import RunRecord

FAVICON = "favicon.ico"  # the browser asks for it by itself


@pytest.fixture(scope="module")
def site(shop: Project) -> Iterator[str]:
    """The address of a server of the shop's runs."""
    with servers() as start:
        yield start(shop)


def page_of(run: Run) -> str:
    """The address of a run's page."""
    return f"/runs/{run.workflow_id}/{run.folder.name}/"


def fits(visit: Visit) -> bool:
    """Whether nothing on the page makes all of it scroll sideways."""
    return bool(visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def assert_quiet(visit: Visit) -> None:
    """Nothing went elsewhere, no script failed, and nothing of the page was missing."""
    assert visit.left == []
    assert [one for one in visit.failed if FAVICON not in one] == []
    assert [one for one in visit.errors if "404" not in one] == []


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_differs_is_one_click_from_the_run(site: str, runs: list[Run], size: tuple[int, int]):
    """From a run's page one click leads to what differs from the last good run."""
    with browser_page(size) as visit:
        visit.open(site + page_of(runs[1]), "succeeded")
        visit.page.get_by_role("link", name="Compare with the last good run").click()
        visit.wait_for_text("2 parameters, 2 cells' code, 3 outputs")
        text = visit.text()
        assert re.search(r"ingest\.region\s+(before\s+)?north\s+default\s+(after\s+)?south", text)
        assert "+1 (+33.3 %)" in text
        assert "Trier <b>has</b> a shop" in text
        assert "<b>Bonn</b>" in text
        assert fits(visit)
        before, after = (
            visit.page.get_by_alt_text(f"The image {one}") for one in ("before", "after")
        )
        boxes = before.bounding_box(), after.bounding_box()
        beside = boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
        assert beside == (size == DESKTOP)

        visit.page.get_by_label("Slider").check()
        assert before.bounding_box() == after.bounding_box()
        visit.page.get_by_role("slider").focus()
        shown = after.evaluate("image => getComputedStyle(image).clipPath")
        visit.page.keyboard.press("End")
        assert shown == "inset(0px 0px 0px 50%)"
        assert (
            after.evaluate("image => getComputedStyle(image).clipPath") == "inset(0px 0px 0px 100%)"
        )
        assert_quiet(visit)


@pytest.mark.browser
def test_another_run_can_be_chosen_and_noise_shown(site: str, runs: list[Run]):
    """The page compares with any run of the workflow, and shows on demand what it left out."""
    with browser_page() as visit:
        visit.open(f"{site}{page_of(runs[3])}compare", "2 steps' results")
        visit.page.get_by_label("Compare run").select_option(runs[0].run_id)
        visit.page.get_by_role("button", name="Compare").click()
        visit.wait_for_text(f"{runs[0].run_id[:8]} succeeded")
        assert "Not executed in the later run: cells 7, 8." in visit.text()

        visit.open(f"{site}{page_of(runs[2])}compare", "Nothing differs.")
        visit.page.get_by_role("link", name="Show it").click()
        visit.wait_for_text("1 output differs.")
        assert_quiet(visit)


def test_the_page_says_why_it_compares_nothing(site: str, shop: Project, runs: list[Run]):
    """Without a good run before, or with one that is not there, the page offers the others."""
    first = httpx.get(f"{site}{page_of(runs[0])}compare")
    unknown = httpx.get(f"{site}{page_of(runs[0])}compare", params={"with": "<b>"})
    gone = httpx.get(f"{site}/runs/shop/20200101T000000Z_00000000/compare")

    assert first.status_code == 200
    assert re.search("No run of shop before .* succeeded", first.text)
    assert f'value="{runs[1].run_id}"' in first.text
    assert unknown.status_code == 404
    assert "There is no run `&lt;b&gt;`" in unknown.text
    assert gone.status_code == 404
    assert "default-src 'none'" in first.headers["content-security-policy"]


HOSTILE = [
    "<script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">",
    "<table><tr><td><script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
    "&lt;script&gt;document.title='taken'&lt;/script&gt; {}</td></tr></table>",
    "<a href=\"javascript:document.title='taken'\">link {}</a>",
    "<style>body {{ display: none }}</style> styled {}",
    "</code></div></details><form action=/x><button>send {}</button></form>",
]  # fmt: skip
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9' onload=\"document.title='taken'\">{}</svg>"


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_in_a_notebook_is_more_than_text_on_the_page(made: Made, size: tuple[int, int]):
    """Hostile code, outputs, images, checks, parameters and names come to nothing."""

    def notebook(word: str):  # fmt: skip
        outputs = [{"text/html": html.replace("{}", word)} for html in HOSTILE]
        outputs += [{"text/plain": f"{html} {word}"} for html in HOSTILE]
        outputs += [{"image/svg+xml": SVG.replace("{}", word)}, {"image/png": f"'onerror='{word}"}]
        outputs += [{"application/vnd.plotly.v1+json": {"<script>": word}}]
        return executed(shows(f"# </code><script>document.title = 'taken'</script> {word}", *outputs,
                              "<script>document.title = 'taken'</script>" + "x" * 3_000 + word))  # fmt: skip

    bad = "<script>document.title = 'taken'</script>"
    check = {"name": bad, "severity": bad, "passed": True}
    for word in ("one", "two"):
        run = made.run(
            notebook(word),
            values={bad: word},
            rows={bad: word},
            recorded={bad: {bad: word}},
            checks=[{**check, "metadata": {bad: word}}],
            writes={bad: {"columns": {bad: word}}},
        )
    with servers() as start, browser_page(size) as visit:
        visit.open(f"{start(made.project)}{page_of(run)}compare", "styled two")
        assert "compared" in visit.page.title()
        assert visit.page.locator("form").count() == 1
        assert visit.page.get_by_text("document.title = 'taken'").count() > 5
        assert fits(visit)
        visit.page.get_by_label("Difference").check()
        assert "compared" in visit.page.title()
        assert_quiet(visit)


def test_the_page_of_a_run_whose_record_is_odd_answers(made: Made, tmp_path: Path):
    """A run without an end, of a workflow with an odd name, is compared as far as it goes."""
    record = RunRecord(made.project, "räder & <b>", "c" * 32)
    for number in ("c", "d"):
        record = RunRecord(made.project, "räder & <b>", number * 32)
        record.begin([{"name": "lesen?", "kind": "stage"}])
        record.step_started("lesen?", notebook="lesen?.ipynb")
    with servers() as start:
        address = (
            f"{start(made.project)}/runs/r%C3%A4der%20&%20%3Cb%3E/{record.folder.name}/compare"
        )
        answer = httpx.get(address, params={"with": "c" * 32})

    assert answer.status_code == 200
    assert "the executed notebook is gone" in answer.text
    assert "räder &amp; &lt;b&gt;: what differs" in answer.text
