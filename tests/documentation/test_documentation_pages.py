"""The documentation as a reader sees it: on the server, and from the disk."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import nbformat
import pytest
from browser import PHONE, browser_page
from dashboard_helpers import servers, write
from projects import Workflow, dataflow, make_project, markdown, parameters, write_notebook

from dataflow.errors import ConfigurationError, DataflowError
from dataflow.project import Project
from dataflow.runs.record import RunRecord
from dataflow.services.documentation import build_documentation

EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


ODD = "Ödd #1? 50% <b>"


def a_good_run(project: Project, workflow: str, stage: str, text: str) -> RunRecord:
    """A run that succeeded, with the executed notebook of one stage."""
    record = RunRecord(project, workflow, uuid.uuid4().hex)
    record.begin([{"name": stage, "kind": "stage"}], trigger="cli")
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    cell = nbformat.v4.new_code_cell("1", outputs=[output])
    write_notebook(record.executed_notebook(stage), [cell])
    record.step_started(stage)
    record.step_ended(stage, "succeeded", notebook=f"{stage}.ipynb")
    record.end()
    return record


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two workflows, one with hostile texts and odd names, and a broken one."""
    rivers = Workflow(
        {
            "ingest": [
                markdown(f"# Levels\n\nDaily means. {EVIL} [click](javascript:window.hacked=1)"),
                parameters(f"limit: int = 5  # rows {EVIL}"),
                f"x = '''{EVIL}'''",
            ]
        },
        [{"notebook": "ingest.ipynb", "writes": ["levels"]}],
        {"workflow": {"name": f"Rivers {EVIL}", "description": f"Water {EVIL}", "tags": [EVIL]}},
    )
    floods = {"report": ["'SELECT * FROM rivers.summary'"]}
    made = make_project(
        tmp_path_factory.mktemp("docs") / "pröject <i>", {"rivers": rivers, "floods": floods}
    )
    write(made.notebooks / "broken" / "config.yaml", "workflow: [\n")
    write(made.notebooks / ODD / "config.yaml", "workflow: {name: Odd}\n")
    write_notebook(made.notebooks / ODD / "ä 'b' <c>#?%.ipynb", [markdown("odd text")])
    models = made.dbt / "models" / "rivers"
    write(models / "summary.sql", f"-- {EVIL}\nselect 1 from rivers_raw.levels")
    columns = json.dumps(
        [{"name": f"gauge{EVIL}", "description": f"Which {EVIL}", "tests": [EVIL]}]
    )
    write(
        models / "m.yml",
        f"models: [{{name: summary, description: {json.dumps(EVIL)}, columns: {columns}}}]",
    )
    write(made.evidence / "sources" / "rivers" / "top.sql", "SELECT * FROM rivers.summary")
    page = f'---\ntitle: "Levels {EVIL}"\n---\n```sql all\nSELECT * FROM rivers.top\n```\n'
    write(made.evidence / "pages" / "rivers" / "index.md", page)
    a_good_run(made, "rivers", "ingest", "the first good outputs\n")
    a_good_run(made, "rivers", "ingest", "the newest good outputs\n")
    return made


@pytest.fixture(scope="module")
def url(project: Project) -> Iterator[str]:
    with servers() as start:
        yield start(project)


@pytest.mark.browser
def test_a_reader_finds_what_is_written_and_nothing_hostile_runs(url: str):
    """From the search to a stage's outputs, at a phone's width; texts of others stay texts."""
    with browser_page(PHONE) as visit:
        visit.open(f"{url}/docs/", "Rivers <script>")
        visit.page.fill("#q", "daily means")
        visit.page.keyboard.press("Enter")
        visit.wait_for_text("1 result")
        visit.page.click("text=ingest")
        visit.wait_for_text("Daily means.")
        assert visit.page.url.startswith(f"{url}/docs/rivers/")
        assert "#stage-ingest" in visit.page.url
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        visit.page.click("text=Outputs of the latest good run")
        frame = visit.page.frame_locator("iframe")
        frame.locator("text=the newest good outputs").wait_for(timeout=30_000)
        assert visit.page.evaluate("window.hacked") is None
        assert visit.page.eval_on_selector_all("a[href^=javascript]", "all => all.length") == 0
        visit.assert_clean()


@pytest.mark.browser
def test_lineage_is_followed_by_keyboard_across_workflows(url: str):
    """Each node of the drawing is a link that the keyboard reaches, also into other workflows."""
    with browser_page() as visit:
        visit.open(f"{url}/docs/floods/", "report")
        node = visit.page.locator("svg a", has_text="summary")
        node.focus()
        visit.page.keyboard.press("Enter")
        visit.wait_for_text("Tables")
        assert visit.page.url == f"{url}/docs/rivers/#table-rivers.summary"
        assert visit.page.locator("svg a", has_text="report").count() == 1
        visit.assert_clean()


@pytest.mark.browser
def test_the_files_are_read_from_the_disk_as_from_the_server(project: Project, tmp_path: Path):
    """Search, links, drawing and outputs work without a server, and nothing hostile runs."""
    target = tmp_path / "docs for you #1"
    done = dataflow(project, "docs", "build", "--output", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(target / "index.html")
    for path in target.rglob("*.html"):
        text = path.read_text("utf-8")
        assert "Content-Security-Policy" in text[:1000], path
        assert str(project.root) not in text

    with browser_page(PHONE) as visit:
        visit.open((target / "index.html").as_uri(), "Rivers <script>")
        visit.page.fill("#q", "daily means")
        visit.wait_for_text("1 result")
        visit.page.click("#results a")
        visit.wait_for_text("Daily means.")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        visit.page.click("text=Outputs of the latest good run")
        frame = visit.page.frame_locator("iframe")
        frame.locator("text=the newest good outputs").wait_for(timeout=30_000)
        visit.page.click("nav >> text=Docs")
        visit.wait_for_text("Which workflow reads whose tables")
        visit.page.click("h2 a >> text=Odd")
        visit.wait_for_text("odd text")
        assert visit.page.evaluate("window.hacked") is None
        visit.assert_clean()


def test_broken_workflows_are_listed_with_what_is_wrong(url: str):
    """A broken workflow has a card and a page that name the problem, its file and its line."""
    home = httpx.get(f"{url}/docs/")
    odd = httpx.get(f"{url}/docs/{quote(ODD)}", follow_redirects=True)
    assert odd.status_code == 200
    assert "is not a name of lower-case letters" in odd.text
    page = httpx.get(f"{url}/docs/broken", follow_redirects=True)

    assert "Broken: 1 problem" in home.text
    assert page.status_code == 200
    assert "notebooks/broken/config.yaml:2" in page.text
    assert "does not run" in page.text


def test_pages_have_a_policy_without_scripts_and_unknown_ones_say_so(url: str):
    """Served pages run no script at all; a workflow that is not there is 404, with the others."""
    for path in ("/docs/", "/docs/rivers/", "/docs/?q=levels"):
        answer = httpx.get(url + path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "script-src" not in answer.headers["content-security-policy"]
        assert "<script" not in answer.text
    missing = httpx.get(f"{url}/docs/%3Cb%3Ex/")
    assert missing.status_code == 404
    assert "&lt;b&gt;x" in missing.text
    assert "<b>x" not in missing.text
    assert "/docs/" in httpx.get(f"{url}/runs/").text


def test_a_page_follows_the_files(tmp_path: Path):
    """What is written into a notebook shows at the next request."""
    project = make_project(tmp_path, {"flow": {"a": [markdown("before")]}})
    with servers() as start:
        address = f"{start(project)}/docs/flow/"
        assert "before" in httpx.get(address).text
        write_notebook(project.notebooks / "flow" / "a.ipynb", [markdown("after that")])
        assert "after that" in httpx.get(address).text
        shutil.rmtree(project.notebooks / "flow")
        assert httpx.get(address).status_code == 404


def test_a_build_replaces_its_own_folder_and_no_other(project: Project, tmp_path: Path):
    """An earlier build goes as a whole; a folder with something else in it stays."""
    target = tmp_path / "site"
    build_documentation(project, target)
    write(target / "gone" / "index.html", "of a workflow that was removed")
    for left in (".site.4194305.draft", ".site.4194305-old.draft"):  # of a build that was killed
        write(tmp_path / left / "index.html", "half")
    others = write(tmp_path / f".site.{os.getppid()}.draft" / "index.html", "of one that goes on")
    assert build_documentation(project, target) == target / "index.html"
    folders = sorted(path.name for path in target.iterdir() if path.is_dir())
    assert folders == ["broken", "floods", "rivers", ODD]
    assert {path.name for path in tmp_path.iterdir()} == {"site", others.parent.name}

    mine = write(tmp_path / "mine" / "notes.txt", "mine")
    for folder in (mine.parent, mine, project.root, project.root.parent):
        with pytest.raises(ConfigurationError):
            build_documentation(project, folder)
    assert mine.read_text() == "mine"
    with pytest.raises(DataflowError, match="cannot be written"):
        build_documentation(project, Path("/proc/docs"))
