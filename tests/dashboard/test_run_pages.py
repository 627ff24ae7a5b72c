"""The pages at `/runs`: how workflows stand, finding runs, a run beside what is usual."""

from __future__ import annotations

import datetime
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import DESKTOP, PHONE, browser_page
from dashboard_helpers import servers, write
from projects import Workflow, dataflow, make_project, run_data, run_folder

from dataflow.project import Project
from dataflow.runs import index as index_module

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
HOUR = datetime.timedelta(hours=1)


@pytest.fixture(autouse=True)
def _from_now_on() -> None:
    """Hours are counted from the test's own start: the suite may have begun half an hour ago."""
    global NOW
    NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def moment(hours: float) -> str:
    return (NOW - hours * HOUR).isoformat()


def step(hours: float, seconds: float = 10, **facts: Any) -> dict[str, Any]:
    begun = NOW - hours * HOUR
    return {
        "kind": "stage",
        "status": "succeeded",
        "started_at": begun.isoformat(),
        "ended_at": (begun + datetime.timedelta(seconds=seconds)).isoformat(),
        **facts,
    }


def put(project: Project, hours: float, workflow: str = "quakes", **facts: Any) -> str:
    """Write the record of a run that began so many hours ago; returns its folder's name."""
    begun = NOW - hours * HOUR
    run_id = f"{round(hours * 3600):08x}-{len(workflow):04}"
    name = f"{begun:%Y%m%dT%H%M%SZ}_{run_id[:8]}"
    data = {
        "format": 2,
        "run_id": run_id,
        "workflow": workflow,
        "started_at": begun.isoformat(),
        "ended_at": (begun + datetime.timedelta(seconds=20)).isoformat(),
        "status": "succeeded",
        "trigger": "cli",
        "user": "ana",
        "steps": {"ingest": step(hours, rows={"events": 1000 + round(hours)})},
        **facts,
    }
    folder = project.runs / workflow / name
    draft = write(folder / ".draft", json.dumps(data))
    draft.replace(folder / "run.json")
    return name


def failed(hours: float, message: str = "cell 3: KeyError: 'mag'") -> dict[str, Any]:
    steps = {
        "ingest": step(
            hours,
            status="failed",
            notebook="ingest.ipynb",
            error={"cell": 3, "message": message, "source": "d['mag']"},
        )
    }
    return {"status": "failed", "steps": steps}


@pytest.fixture
def site(project: Project, serve) -> httpx.Client:
    return httpx.Client(base_url=serve(project), timeout=120)


def shown(text: str) -> list[str]:
    """The folders of the runs in a page's list, in order."""
    listed = text.partition('<ol class="runs">')[2].partition("</ol>")[0]
    return re.findall(
        r'<span class="result"><a class="[\w-]+" href="/runs/[^/]+/([^/"]+)/"', listed
    )


def strip(text: str) -> list[tuple[str, str]]:
    """The runs in a page's first strip, each with its colour's class and its folder."""
    part = text.partition('<ol class="strip"')[2].partition("</ol>")[0]
    return re.findall(r'<li class="([\w-]+)"><a href="/runs/[^/]+/([^/"]+)/"', part)


def words(text: str) -> str:
    """What a page says, without its tags."""
    body = text.partition("<main")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_a_workflow_shows_its_last_fifty_runs_its_trends_and_how_it_stands(project, site):
    """The strip is the last fifty, the newest last; its links say result and time."""
    names = [
        put(project, hours, **(failed(hours) if hours == 3 else {})) for hours in range(60, 2, -1)
    ]
    names.append(put(project, 2, status="awaiting review"))

    text = site.get("/runs/").text

    assert [name for _, name in strip(text)] == names[-50:]
    assert [colour for colour, _ in strip(text)][-3:] == ["succeeded", "failed", "awaiting-review"]
    assert f'aria-label="failed, {NOW - 3 * HOUR:%d %b %Y, %H:%M} UTC"' in text
    said = words(text)
    assert "Quakes awaiting review" in said
    assert f"Last good run {NOW - 4 * HOUR:%Y-%m-%d %H:%M} UTC , 4 h ago" in said
    assert "Duration of the last 48 good runs: 20.0 s to 20.0 s, the last 20.0 s" in text
    assert "Rows of the last 48 good runs: 1,004 to 1,051, the last 1,004" in text


def test_a_schedule_is_told_with_its_next_time_and_data_that_misses_one_is_late(project, site):
    """Late is what no good run followed in time; a failed run does not make it fresh."""
    write(
        project.notebooks / "quakes" / "config.yaml",
        "workflow:\n  name: Quakes\n  schedule: '0 * * * *'\n  timezone: Asia/Tokyo\n",
    )
    put(project, 5)
    put(project, 1, **failed(1))
    late = words(site.get("/runs/").text)
    put(project, 0.1)
    fresh = words(site.get("/runs/").text)

    assert re.search(
        r"Every hour \(Asia/Tokyo\) ?; next \w{3} \d\d \w{3}, \d\d:00 JST, in \d+ min", late
    )
    assert re.search(r"late: it was due \w{3} \d\d \w{3}, \d\d:00 JST", late)
    assert "late" not in fresh
    assert "Schedules start nothing now, since Dagster is not running here" in fresh


def test_what_somebody_should_look_at_comes_first(project, site):
    """Failed workflows are above those that are well, whatever their names."""
    for workflow, facts in (
        ("a_good", {}),
        ("m_bad", failed(2)),
        ("z_waits", {"status": "awaiting review"}),
    ):
        put(project, 2, workflow, **facts)

    text = site.get("/runs/").text

    assert re.findall(r'<h2><a href="/runs/(\w+)/">', text) == [
        "m_bad",
        "z_waits",
        "a_good",
        "quakes",
    ]


def test_of_many_workflows_those_to_look_at_have_a_card_and_the_others_a_line(project, site):
    """A page stays small however many workflows there are, and hides none that failed."""
    for number in range(30):
        put(project, 2, f"flow_{number:02}", **(failed(2) if number > 26 else {}))

    text = site.get("/runs/").text

    cards = re.findall(r'<h2><a href="/runs/(\w+)/">', text)
    lines = re.findall(r'<li><a href="/runs/(\w+)/">', text)
    assert cards[:4] == ["flow_27", "flow_28", "flow_29", "flow_00"]
    assert sorted(cards + lines) == [*(f"flow_{number:02}" for number in range(30)), "quakes"]
    assert len(cards) == text.count('<ol class="strip"') == 20


@pytest.fixture
def varied(project: Project) -> dict[str, str]:
    return {
        "api": put(project, 1, parameters={"ingest": {"source": "api", "limit": 4.5}}),
        "bad": put(project, 2, trigger="schedule", user="ben", **failed(2)),
        "commit": put(project, 30, git={"commit": "4dd0ad2f77", "dirty": False}),
        "other": put(project, 3, "sales", status="killed"),
    }


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("/runs/?status=unsuccessful", ["bad", "other"]),
        ("/runs/?status=killed&status=failed&since=150m", ["bad"]),
        ("/runs/?parameter=limit%3D4.50&parameter=ingest.source%3Dapi", ["api"]),
        ("/runs/?trigger=schedule&user=ben", ["bad"]),
        ("/runs/?commit=4dd0", ["commit"]),
        ("/runs/?since=1d", ["api", "bad", "other"]),
        ("/runs/sales/?user=ana", ["other"]),
        ("/runs/sales/?user=ben", []),
    ],
)
def test_runs_are_found_by_an_address_that_can_be_passed_on(varied, site, address, found):
    """An address says what it asks for, and answers with that only."""
    answer = site.get(address)

    assert answer.status_code == 200
    assert shown(answer.text) == [varied[name] for name in found]
    assert '<ol class="strip"' not in answer.text, "the results come first"
    assert ("No run is like this." in words(answer.text)) == (not found)


def test_the_form_leads_to_an_address_without_what_was_left_empty(varied, site):
    """The workflow is a part of the path, and empty fields are gone."""
    form = "workflow=quakes&status=failed&since=&parameter=&trigger=&user=+&commit="

    answer = site.get(f"/runs/?{form}", follow_redirects=True)

    assert str(answer.url).endswith("/runs/quakes/?status=failed")
    assert shown(answer.text) == [varied["bad"]]
    assert "<option selected>failed</option>" in answer.text
    assert "<option selected>quakes</option>" in answer.text
    assert '<a href="/runs/quakes/" title="Remove this">status: failed ✕</a>' in answer.text


@pytest.mark.parametrize(
    "query", ["since=soon", "status=faild", "parameter=%3D4", "before=x,y", "since=%3Cb%3E"]
)
def test_a_mistake_in_a_search_is_said_and_never_looks_like_an_empty_result(varied, site, query):
    """The page says what is wrong, with the form to correct it."""
    answer = site.get(f"/runs/?{query}")

    assert answer.status_code == 400
    assert '<p class="alert" role="alert">' in answer.text
    assert "No run is like this" not in answer.text
    assert "<b>" not in answer.text


def test_paging_shows_each_run_once_also_while_new_ones_begin(project, site):
    """A page begins where the one before ended, not at a number that shifts."""
    for number in range(120):
        put(project, 1 + number / 3600, **(failed(1) if number % 2 else {}))
        put(project, 1 + number / 3600, "sales")  # a run of both

    for address in ("/runs/", "/runs/quakes/", "/runs/?status=failed"):
        pages, seen = site.get(address).text, []
        while True:
            seen.append(re.findall(r'<a class="id" href="/runs/([^"]+)/"', pages))
            put(project, 0.5 - len(seen) / 3600)
            older = re.search(r'href="([^"]+)" rel="next"', pages)
            if older is None:
                break
            pages = site.get(unescape(older[1])).text
        names = [name for page in seen for name in page]
        expected = {"/runs/": 240, "/runs/quakes/": 120, "/runs/?status=failed": 60}[address]
        assert len(names) == len(set(names)) >= expected
        began = [name.partition("/")[2][:16] for name in names]
        assert began == sorted(began, reverse=True)
        assert all(len(page) == 50 for page in seen[:-1])


def test_of_ten_thousand_runs_a_page_reads_the_few_it_shows_and_those_once(
    project, site, monkeypatch
):
    """The first page of many runs costs what the first page of few does; a search reads all, once."""
    for number in range(10_000):
        begun = NOW - datetime.timedelta(seconds=number)
        folder = project.runs / "quakes" / f"{begun:%Y%m%dT%H%M%SZ}_{number:08}"
        folder.mkdir(parents=True)
        user = "ben" if number == 9_999 else "ana"
        (folder / "run.json").write_text(
            f'{{"run_id": "r{number}", "workflow": "quakes", "started_at": "{begun.isoformat()}", '
            f'"status": "succeeded", "user": "{user}", "steps": {{}}}}'
        )
    read: list[Path] = []
    whole = index_module._read
    monkeypatch.setattr(index_module, "_read", lambda folder: read.append(folder) or whole(folder))

    assert len(shown(site.get("/runs/").text)) == 50
    assert len(read) <= 51
    address = "/runs/?user=ben"
    while not shown(text := site.get(address).text):  # a slow machine looks in several goes
        address = unescape(re.search(r'href="([^"]+)" rel="next"', text)[1])
    assert len(read) == 10_000
    assert len(shown(site.get(address).text)) == 1
    assert len(read) == 10_000


def test_what_runs_and_workflows_are_called_stays_text(project, site):
    """Names, parameters, errors and users from anywhere are shown, and never markup."""
    odd = "ü <b>&\"' %2F"
    bad = failed(1, message="cell 3: <script>alert(1)</script>")
    bad["steps"] = {"<i>step</i>": bad["steps"]["ingest"]}
    put(project, 1, odd, user="<u>", parameters={"<s>": {"<p>": "<img src=x>"}}, **bad)
    write(
        project.notebooks / "quakes" / "config.yaml",
        "workflow:\n  name: '<h1>Quakes</h1>'\n  schedule: '0 6 * * *'\n",
    )

    pages = [site.get("/runs/").text, site.get("/runs/?user=%3Cu%3E").text]
    address = unescape(re.search(r'<a class="failed" href="([^"]+)"', pages[0])[1])
    pages += [site.get(address).text, site.get(address.rpartition("/2")[0] + "/").text]

    for text in pages:
        for tag in ("<b>&", "<script>alert", "<i>step", "<u>", "<s>", "<img", "<h1>Quakes"):
            assert tag not in text
    assert "<script>alert(1)</script>" in words(
        pages[2].replace("&lt;", "&amp;lt;").replace("&amp;lt;", "&lt;")
    )
    assert all("&lt;b&gt;" in text for text in pages)


def test_a_page_runs_its_own_script_only_and_each_time_by_another_word(project, site):
    """The policy names the page's script by a nonce, and nothing from elsewhere."""
    put(project, 1)
    answers = [site.get("/runs/"), site.get("/runs/")]

    policies = [answer.headers["content-security-policy"] for answer in answers]
    nonces = [re.search(r"script-src 'nonce-([\w-]{20,})';", policy)[1] for policy in policies]
    assert nonces[0] != nonces[1]
    for nonce, policy, answer in zip(nonces, policies, answers, strict=True):
        assert re.findall("<script[^>]*>", answer.text) == [f'<script nonce="{nonce}">']
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy.partition("style-src")[0]


def good_runs(project: Project, number: int = 12) -> None:
    for n in range(number):
        checks = [{"name": "there are events", "passed": True, "metadata": {"share": 0.1}}]
        steps = {
            "ingest": step(
                30 + n, 10 + n % 3, rows={"events": 1000 + n, "places": 7}, checks=checks
            )
        }
        put(project, 30 + n, steps=steps)


def test_a_run_is_shown_beside_the_last_good_ones_and_what_is_unusual_is_marked(project, site):
    """Rows, checks and times have their median beside them; what is far from it is said first."""
    good_runs(project)
    put(project, 20, **failed(20))
    checks = [{"name": "another", "passed": True, "metadata": {"share": 0.1}}]
    steps = {"ingest": step(1, 40, rows={"events": 300}, checks=checks)}
    name = put(project, 1, steps=steps)

    said = words(site.get(f"/runs/quakes/{name}/").text)

    assert "ingest took 40.0 s, usually 11.0 s" in said
    assert "events has 300 rows, usually 1,006" in said
    assert "ingest usually has the table places" in said
    assert "ingest usually has the check there are events" in said
    assert "40.0 s long, usually 11.0 s" in said
    assert "300 few, usually 1,006 rows in events" in said
    assert "the median of the last 12 good runs with the same parameters" in said


def test_a_usual_run_has_nothing_marked_and_few_runs_make_nothing_usual(project, site):
    """Small differences are no news, nor is anything among four runs."""
    good_runs(project)
    usual = put(project, 1, steps={"ingest": step(1, 12, rows={"events": 1100, "places": 7})})
    few = put(project, 1, "sales", steps={"ingest": step(1, 900, rows={"events": 3})})
    for n in range(4):
        put(project, 9 + n, "sales")

    for workflow, name in (("quakes", usual), ("sales", few)):
        text = site.get(f"/runs/{workflow}/{name}/").text
        assert 'class="unusual"' not in text.replace('<span class="unusual">no check', "")
    assert "(usually 11.0 s)" in site.get(f"/runs/quakes/{usual}/").text


def test_a_run_with_other_parameters_is_beside_runs_with_the_same(project, site):
    """A thousand rows are few with one value of a parameter, and usual with another."""
    for n in range(6):
        put(project, 30 + n, steps={"ingest": step(30, rows={"events": 1000})})
        steps = {"ingest": step(50, rows={"events": 9})}
        put(project, 50 + n, steps=steps, parameters={"ingest": {"source": "file"}})
    same = put(
        project, 1, steps={"ingest": step(1, rows={"events": 9})},
        parameters={"ingest": {"source": "file"}},
    )  # fmt: skip

    assert "few, usually" not in words(site.get(f"/runs/quakes/{same}/").text)


def test_steps_are_drawn_with_what_they_wait_for_and_old_records_as_a_line(project, site):
    """A step says after which it came; its bar begins when it began."""
    steps = {
        "ingest": step(1, 10, after=[]),
        "left": step(1 - 10 / 3600, 10, after=["ingest"]),
        "right": step(1 - 10 / 3600, 5, after=["ingest"]),
        "join": {"kind": "stage", "status": "not run", "after": ["left", "right"]},
    }
    name = put(project, 1, steps=steps)
    old = {n: {k: v for k, v in s.items() if k != "after"} for n, s in steps.items()}
    old_name = put(project, 2, steps=old)

    text = site.get(f"/runs/quakes/{name}/").text

    assert "join not run after left, right" in words(text)
    bars = re.findall(r'<i style="left: ([\d.]+)%; width: ([\d.]+)%"', text)
    assert bars == [("0.0", "50.0"), ("50.0", "50.0"), ("50.0", "25.0")]
    assert text.count('class="dot') == 4
    assert site.get(f"/runs/quakes/{old_name}/").text.count('class="dot') == 4


def test_a_run_leads_to_the_one_it_repeats_to_dagster_and_to_the_dashboard(project, site):
    """What belongs to a run is one click away; what is gone is said."""
    first = put(project, 9)
    again = put(project, 8, parent=f"{9 * 3600:08x}-0006", trigger="re-execution")
    lost = put(project, 7, parent="ffffffff-0000", trigger="retry")
    write(project.evidence / "pages" / "quakes.md", "# Quakes")

    text = site.get(f"/runs/quakes/{again}/").text

    assert f'<a href="/runs/quakes/{first}/">run 00007e90</a>' in text
    assert f'/runs/{8 * 3600:08x}-0006" title="While Dagster runs">In Dagster</a>' in text
    assert '<a href="/quakes">Dashboard</a>' in text
    assert "repeats run ffffffff, which was removed" in words(
        site.get(f"/runs/quakes/{lost}/").text
    )


CLEAN = """
from dataflow import stage
stage.check("there are places", True, rows=3)
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A real workflow that ran well, and then failed in its second stage."""
    stages = {
        "ingest": ["print('three rows')"],
        "transform": [CLEAN, "row = {'place': 'Quito'}", "row['magnitude']"],
    }
    project = make_project(
        tmp_path_factory.mktemp("story") / "project", {"quakes": Workflow(stages)}
    )
    broken = project.notebooks / "quakes" / "transform.ipynb"
    whole = broken.read_text("utf-8")
    broken.write_text(whole.replace("row['magnitude']", "row['place']"), "utf-8")
    assert dataflow(project, "workflow", "run", "quakes").returncode == 0
    broken.write_text(whole, "utf-8")
    assert dataflow(project, "workflow", "run", "quakes").returncode == 1
    return project


def test_a_run_notes_which_steps_each_step_waits_for(story):
    """The record alone is enough to draw the run's graph, whatever becomes of the workflow."""
    steps = run_data(story, "quakes")["steps"]

    assert {name: step["after"] for name, step in steps.items()} == {
        "ingest": [],
        "transform": ["ingest"],
        "publish": ["transform"],
    }


@pytest.mark.browser
def test_on_a_phone_the_failing_cell_is_three_clicks_from_the_list_of_runs(story):
    """A reviewer opens /runs, the failed run, and its failing cell; nothing scrolls sideways."""
    folder = run_folder(story, "quakes").name
    with servers() as serve, browser_page(PHONE) as visit:
        page = visit.page
        visit.open(f"{serve(story)}/runs/", "quakes")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        card = page.locator(".card").first
        assert "transform: cell 3: KeyError: 'magnitude'" in card.inner_text()

        card.get_by_role("link", name="failed", exact=True).click()
        visit.wait_for_text("Open the failing cell")
        assert page.url.endswith(f"/runs/quakes/{folder}/")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        button = page.get_by_role("link", name="Open the failing cell")
        assert button.bounding_box()["y"] < PHONE[1], "the result is on the first screen"

        button.click()
        page.wait_for_url("**/transform.html#failed")
        assert "KeyError" in visit.text()
        assert 0 <= page.locator("#failed").bounding_box()["y"] < PHONE[1]
        assert visit.left == []


@pytest.mark.browser
def test_a_page_follows_a_run_and_leaves_alone_who_types_and_where_they_are(project, serve):
    """The list and the run's page change by themselves; focus, and half a search, stay."""
    going = {"process": {"host": "elsewhere", "pid": 1}, "status": None, "ended_at": None}
    at_work = {"ingest": step(0.01, status="running", ended_at=None)}
    other = put(project, 1)
    name = put(project, 0.01, steps=at_work, **going)
    with browser_page(DESKTOP) as visit:
        page = visit.page
        visit.open(f"{serve(project)}/runs/", "running")
        page.locator(f'.runs .id[href*="{other}"]').focus()
        put(project, 0.01, **failed(0.01))
        visit.wait_for_text("cell 3: KeyError", 15)
        assert other in page.evaluate("document.activeElement.getAttribute('href')")
        assert page.evaluate("performance.getEntriesByType('navigation').length") == 1

        put(project, 0.01, steps=at_work, **going)
        visit.open(page.url, "running")
        page.get_by_text("Find runs").click()
        page.get_by_label("User").fill("an")
        put(project, 0.01)
        page.wait_for_timeout(3000)
        assert page.get_by_label("User").input_value() == "an"
        assert "running" in page.locator("#runs").inner_text()

        put(project, 0.01, steps=at_work, **going)
        visit.open(f"{page.url}quakes/{name}/", "so far")
        put(project, 0.01)
        visit.wait_for_text("took 20.0 s", 15)
        assert "running" not in page.inner_text("h1")
        visit.assert_clean()


@pytest.mark.browser
def test_a_strip_is_one_stop_of_the_tab_key_and_arrows_move_in_it(project, serve):
    """Fifty runs are in nobody's way, and each can be opened without a mouse."""
    names = [put(project, hours) for hours in range(9, 0, -1)]
    with browser_page(DESKTOP) as visit:
        visit.open(f"{serve(project)}/runs/", "Quakes")
        keys = visit.page.keyboard
        focused = "document.activeElement.getAttribute('href')"
        visit.page.locator(".card .head a").last.focus()
        keys.press("Tab")
        assert visit.page.evaluate(focused) == f"/runs/quakes/{names[-1]}/"
        keys.press("ArrowLeft")
        keys.press("ArrowLeft")
        assert visit.page.evaluate(focused) == f"/runs/quakes/{names[-3]}/"
        keys.press("Home")
        keys.press("ArrowLeft")
        assert visit.page.evaluate(focused) == f"/runs/quakes/{names[0]}/"
        keys.press("Enter")
        visit.wait_for_text("Steps")
        assert visit.page.url.endswith(f"/runs/quakes/{names[0]}/")


@pytest.mark.browser
def test_with_long_names_and_many_steps_nothing_scrolls_sideways_on_a_phone(project, serve):
    """Names, values and errors of any length wrap; the graph stays narrow."""
    long = "a_workflow_with_a_name_that_is_longer_than_a_phone_is_wide_by_far"
    steps = {"start": step(1, after=[])}
    for n in range(40):
        steps[f"one_of_many_stages_beside_each_other_{n}"] = step(
            1, after=["start"], rows={long: 10**9}
        )
    steps["end"] = step(
        1, status="failed", after=list(steps)[1:],
        error={"cell": 1, "message": "x" * 300, "source": "y" * 300},
    )  # fmt: skip
    name = put(project, 1, long, status="failed", steps=steps, parameters={"s": {"p": "z" * 300}})
    with browser_page(PHONE) as visit:
        base = serve(project)
        for address in ("", f"{long}/", f"{long}/{name}/", f"?parameter=p%3D{'z' * 300}"):
            visit.open(f"{base}/runs/{address}", "failed")
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0], address
        visit.assert_clean()
