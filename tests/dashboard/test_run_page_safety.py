"""Pages of executed notebooks in a real browser: what a hostile output tries comes to nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import nbformat
import pytest
from browser import DESKTOP, PHONE, Visit, browser_page
from dashboard_helpers import write

from dataflow.project import Project
from dataflow.runs.html import page_of, write_page
from dataflow.runs.record import RunRecord

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SVG = "<svg xmlns='http://www.w3.org/2000/svg' width='20' height='20' onload=\"{}\"></svg>"


def hostile(away: str) -> list[str]:
    """Outputs that would run code, ask the server `away` for something, or lead there."""
    return [
        "<script>document.title = 'taken'</script>",
        f"<script src='{away}/a.js'></script>",
        f"<img src='{away}/a.png' onerror=\"document.title = 'taken'\">",
        "<img src='/data/manifest.json'>",
        SVG.format("document.title = 'taken'"),
        f"<svg><image href='{away}/b.png'/><use href='{away}/c.svg#x'/></svg>",
        f"<iframe src='{away}/frame'></iframe>",
        "<iframe srcdoc=\"<script>parent.document.title = 'taken'</script>\"></iframe>",
        f"<object data='{away}/o'></object><embed src='{away}/e'>",
        f"<meta http-equiv='refresh' content='0;url={away}/refreshed'>",
        "<META HTTP-EQUIV=refresh CONTENT='0;url=/runs/'>",
        f"<base href='{away}/'>",
        f"<link rel=stylesheet href='{away}/a.css'><link rel=preconnect href='{away}'>",
        f"<style>@import url({away}/b.css); body {{ background: url({away}/bg.png) }}"
        f"@font-face {{ font-family: x; src: url({away}/f.woff) }} p {{ font-family: x }}</style>",
        f"<form action='{away}/send'><input name=q value=1><button id=send>send</button></form>",
        "<a id=script href=\"javascript:document.title='taken'\">script</a>",
        "<a id=data href='data:text/html,<title>taken</title>'>data</a>",
        f"<video src='{away}/v.mp4' poster='{away}/p.png'></video><audio src='{away}/a.mp3'></audio>",
        "<details open ontoggle=\"document.title='taken'\"><summary>x</summary>y</details>",
    ]


WIDGET = "application/vnd.jupyter.widget-view+json"


def shown(*bundles: dict[str, object]) -> object:
    """A cell that put out these bundles."""
    outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in bundles]
    return nbformat.v4.new_code_cell("show()", outputs=outputs)


def notebook(away: str) -> nbformat.NotebookNode:
    nb = nbformat.v4.new_notebook()
    nb.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"version_major": 2, "state": {}}
    }
    outputs = hostile(away)
    nb.cells = [
        nbformat.v4.new_markdown_cell("\n\n".join(outputs)),
        shown(*({"text/html": html} for html in outputs)),
        shown({"text/markdown": "\n\n".join(outputs)}),
        shown(
            {"application/javascript": "document.title = 'taken'", "text/plain": "<Javascript>"},
            {"image/svg+xml": SVG.format("parent.document.title = 'taken'")},
            {"image/png": PNG},
            {WIDGET: {"model_id": "1"}, "text/plain": "IntSlider(value=3)"},
            {"text/html": "<div id=p1></div><script>Plotly.newPlot('p1')</script>"},
            {"text/html": "<script>draw()</script>", "image/png": PNG, "text/plain": "Figure"},
            {"application/vnd.plotly.v1+json": {"data": []}, "text/plain": "Figure()"},
            {"text/html": "<style scoped>td {color: teal}</style><table><td>a frame</td></table>"},
        ),
        nbformat.v4.new_markdown_cell("# The end"),
    ]
    return nb


class Away:
    """A server that remembers who connected to it."""

    def __init__(self) -> None:
        self.connections: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(1)
                    try:
                        self.connections.append(connection.recv(100).decode(errors="replace"))
                    except OSError:
                        self.connections.append("nothing was asked")
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def away() -> Iterator[Away]:
    server = Away()
    yield server
    server.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, away: Away) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    write(root / "pyproject.toml", "[tool.dataflow]\n")
    run = RunRecord(Project(root), "quakes", "r1")
    run.begin([{"name": "ingest", "kind": "stage"}])
    run.step_ended("ingest", "succeeded", notebook="ingest.ipynb")
    path = run.executed_notebook("ingest")
    nbformat.write(notebook(away.url), path)
    return write_page(path)


@contextmanager
def opened(address: str, size: tuple[int, int] = DESKTOP) -> Iterator[Visit]:
    """The page in a browser."""
    with browser_page(size) as visit:
        visit.page.goto(address)
        visit.page.get_by_role("heading", name="The end").first.wait_for()
        visit.page.wait_for_timeout(500)
        yield visit


@pytest.fixture(params=["served", "from disk"])
def address(request: pytest.FixtureRequest, page: Path, serve) -> str:
    if request.param == "from disk":
        return page.as_uri()
    project = Project(page.parents[3])
    return f"{serve(project)}/runs/{page.relative_to(project.runs).as_posix()}"


@pytest.mark.browser
@pytest.mark.browser
def test_a_hostile_output_runs_nothing_loads_nothing_and_leads_nowhere(address, away):
    with browser_page() as visit:
        made: list[str] = []
        visit.page.on("response", lambda answer: made.append(answer.url))
        visit.page.goto(address)
        visit.page.get_by_role("heading", name="The end").wait_for()
        visit.page.wait_for_timeout(500)
        for thing in ("a#script", "a#data", "button#send"):
            for one in visit.page.locator(thing).all():
                one.click()
        visit.page.wait_for_timeout(500)

        assert visit.page.title() == "quakes · ingest"
        assert visit.page.url.split("#")[0] == address
        assert [url for url in made if url != address and not url.startswith("data:")] == []
    assert away.connections == []


@pytest.mark.browser
@pytest.mark.browser
def test_the_same_page_without_its_policy_would(page, away, tmp_path):
    """What the test above does not find would be found."""
    bare = write(tmp_path / "bare.html", page.read_text().replace("Content-Security-Policy", "x"))
    with browser_page() as visit:
        visit.page.goto(bare.as_uri())
        visit.page.wait_for_timeout(1000)
        assert visit.page.title() == "taken"
    assert len(away.connections) > 5
    away.connections.clear()


@pytest.mark.browser
@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_plots_tables_and_the_text_of_widgets_show(page, size):
    with opened(page.as_uri(), size) as visit:
        images = visit.page.locator("img[src^='data:image/png']")
        assert images.count() == 2, "a plot, and what stands for an interactive one"
        text = visit.text()
        assert "IntSlider(value=3)" in text
        assert "a frame" in text
        assert "td {" not in text
        assert text.count("this page runs no scripts") >= 4
        assert visit.page.locator("#p1").count() == 0, (
            "nothing is left of a plot without its script"
        )


def test_every_file_of_a_run_comes_with_a_policy_without_scripts(page, serve):
    project = Project(page.parents[3])
    write(page.with_name("report.html"), "<script>1</script>")
    write(page.with_name("plot.svg"), SVG.format("1"))
    site = serve(project)
    for name in ("ingest.html", "report.html", "plot.svg", "ingest.ipynb"):
        policy = httpx.get(f"{site}/runs/quakes/{page.parent.name}/{name}").headers[
            "content-security-policy"
        ]
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert "sandbox" in policy
    for name in ("", "quakes/", f"quakes/{page.parent.name}/"):
        policy = httpx.get(f"{site}/runs/{name}").headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy


def test_a_page_that_an_older_version_wrote_is_written_again(page):
    path = page.with_suffix(".ipynb")
    page.write_text("<script>1</script>")
    os.utime(page, (time.time() + 5, time.time() + 5))

    assert "Content-Security-Policy" in page_of(path).read_text()[:500]
    written = page.stat().st_mtime_ns
    page_of(path)
    assert page.stat().st_mtime_ns == written
