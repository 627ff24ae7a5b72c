"""The page of an executed notebook, read in a real browser as a reviewer does."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import nbformat
import pandas as pd
import pytest
from browser import DESKTOP, PHONE, Visit, browser_page
from dashboard_helpers import write
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from projects import make_project, markdown, parameters

from dataflow.project import Project
from dataflow.runs.html import write_page
from dataflow.runs.notebook_page import outputs
from dataflow.runs.record import RunRecord
from dataflow.stages.execute import execute_stage
from dataflow.stages.notebook import Stage

CELLS = [
    markdown("# Prices\n\nSee [the checks](#The-checks)."),
    parameters("rows: int = 20  # how many"),
    "import pandas as pd\nfrom dataflow import stage\nprint('loaded', rows)",
    markdown("## The checks"),
    "stage.record('prices', rows=rows)\nstage.check('there are rows', rows > 0, rows=rows)\n"
    "stage.check('enough rows', rows > 100, severity='warn')",
    "block = bytearray(150_000_000)\nimport time; time.sleep(0.2)",
    "pd.DataFrame({f'column {i}': range(rows) for i in range(30)})",
    markdown("## The end"),
    "def total(frame):\n    return frame['no such column'].sum()\n\ntotal(pd.DataFrame())",
    "print('never reached')",
]


def page_of_run(project: Project, nb: nbformat.NotebookNode | Path, checks: Sequence = ()) -> Path:
    """The page of a stage in a run that has this executed notebook."""
    stage = "ingest"
    run = RunRecord(project, "quakes", "0f4e5ac7")
    run.begin(
        [{"name": stage, "kind": "stage"}],
        trigger="schedule",
        git={"commit": "84a2d9b84a2d9b", "dirty": True},
    )
    path = run.executed_notebook(stage)
    if isinstance(nb, Path):
        shutil.copy(nb, path)
    else:
        nbformat.write(nb, path)
    run.step_ended(stage, "failed", notebook=path.name, values={"rows": 40}, checks=list(checks))
    return write_page(path)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a stage that really ran and failed."""
    root = tmp_path_factory.mktemp("failed")
    project = make_project(root, {"quakes": {"ingest": CELLS}})
    stage = Stage("quakes", "ingest", root / "notebooks" / "quakes" / "ingest.ipynb")
    executed = root / "executed.ipynb"
    outcome = execute_stage(project, stage, {"rows": 40}, run_id="0f4e5ac7", output=executed)
    return page_of_run(project, executed, outcome.report.checks)


def page_with(root: Path, *cells: nbformat.NotebookNode) -> Path:
    write(root / "pyproject.toml", "[tool.dataflow]\n")
    nb = new_notebook()
    nb.cells = list(cells)
    return page_of_run(Project(root), nb)


def showing(*bundles: dict[str, object]) -> nbformat.NotebookNode:
    """A cell that put out these bundles, valid or not."""
    cell = new_code_cell("show()")
    cell.outputs = [
        nbformat.from_dict({"output_type": "display_data", "data": each, "metadata": {}})
        for each in bundles
    ]
    return cell


@contextmanager
def opened(page: Path, anchor: str = "", size: tuple[int, int] = DESKTOP) -> Iterator[Visit]:
    with browser_page(size) as visit:
        visit.page.goto(page.as_uri() + anchor)
        visit.page.locator("html.script").wait_for()
        yield visit
        assert visit.errors == []


@pytest.mark.browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_happened_stands_on_top_and_leads_to_its_cells(failed, size):
    """Status, run, parameters, failure and checks are read without scrolling, each with a link."""
    with opened(failed, size=size) as visit:
        head = visit.page.locator("header").inner_text()
        for fact in ("ingest failed", "quakes", "0f4e5ac7", "schedule", "84a2d9b8 and changes",
                     "rows = 40", "KeyError: 'no such column'", "1 of 2 checks passed, 1 record"):  # fmt: skip
            assert fact in head
        check = visit.page.locator("header .result.warning")
        assert "enough rows" in check.inner_text()
        check.get_by_role("link", name="cell 5").click()
        assert visit.page.locator("#cell-5").bounding_box()["y"] < size[1] / 2
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0]

        visit.page.get_by_role("link", name="Cell 9", exact=True).click()
        box = visit.page.locator(".cell.failed").bounding_box()
        assert 0 <= box["y"] < size[1]


@pytest.mark.browser
def test_the_failing_cell_is_reached_by_its_address_and_shows_the_authors_frames(failed):
    """`#failed` scrolls to it, its code is open, the frames of pandas are folded."""
    with opened(failed, "#failed") as visit:
        cell = visit.page.locator("#cell-9.failed")
        assert 0 <= cell.bounding_box()["y"] < DESKTOP[1]
        text = cell.inner_text()
        assert "def total(frame):" in text
        assert "cell 9, line 4" in text
        assert re.search(r"\d+ frames? of libraries", text)
        assert "site-packages" not in text
        cell.locator(".error summary").last.click()
        assert "pandas" in cell.inner_text()
        assert "did not run" in visit.page.locator("#cell-10").inner_text()


@pytest.mark.browser
def test_failed_leads_to_the_check_that_failed_where_every_cell_ran(tmp_path):
    """A stage whose check failed has failed, though its notebook got to its end."""
    checks = [
        {"kind": "check", "name": name, "passed": passed, "severity": "error", "metadata": {}, "cell_index": index}
        for index, (name, passed) in enumerate([("first", True), ("second", False)])
    ]  # fmt: skip
    nb = new_notebook(cells=[new_code_cell(f"x = {'1 + ' * 900}1\nx") for _ in range(2)])
    nb.metadata["dataflow"] = {"results": checks}
    nb.metadata["papermill"] = {"status": "completed"}
    write(tmp_path / "pyproject.toml", "[tool.dataflow]\n")
    with opened(page_of_run(Project(tmp_path), nb), "#failed") as visit:
        assert "ingest failed" in visit.text()
        assert "Failed checks: second" in visit.text()
        assert visit.page.locator("#cell-2 #failed").count() == 1


def test_a_runs_page_leads_from_a_check_to_its_cell(failed, serve):
    """run.json has the cell that made a check, and the run's page links to it."""
    project = Project(failed.parents[3])
    record = json.loads(failed.with_name("run.json").read_text())
    assert [check["cell"] for check in record["steps"]["ingest"]["checks"]] == [5, 5]
    page = httpx.get(f"{serve(project)}/runs/quakes/{failed.parent.name}/").text
    assert page.count('href="ingest.html#cell-5"') == 2


@pytest.mark.browser
def test_the_margin_has_each_cells_number_time_and_memory(failed):
    """Numbers are the author's, also behind the cell that sets this run's parameters."""
    with opened(failed) as visit:
        assert "rows = 40" in visit.page.locator("#set-parameters").inner_text()
        margin = visit.page.locator("#cell-6 .margin").inner_text().split("\n")
        assert margin[0] == "6"
        assert re.fullmatch(r"0\.[2-9] s|[1-9].* s", margin[1])
        grown = re.fullmatch(r"\+(\d+) MB", margin[-1])
        assert grown, margin
        assert 140 <= int(grown[1]) <= 200


@pytest.mark.browser
def test_code_is_folded_until_the_switch_shows_it_and_stays_so(failed, serve):
    """From disk the browser remembers it, of a served page, which has no origin, the server."""
    project = Project(failed.parents[3])
    served = f"{serve(project)}/runs/{failed.relative_to(project.runs).as_posix()}"
    for address in (failed.as_uri(), served):
        with browser_page() as visit:
            visit.page.goto(address)
            code = visit.page.get_by_text("print('loaded', rows)", exact=False).last
            assert "loaded 40" in visit.text()
            assert not code.is_visible()
            visit.page.get_by_label("Code").check()
            assert code.is_visible()
            visit.page.wait_for_timeout(300)
            assert visit.page.url == address

            visit.page.goto("about:blank")
            visit.page.goto(address)
            visit.page.locator("html.script").wait_for()
            assert code.is_visible()
            visit.page.get_by_label("Code").uncheck()
            assert not code.is_visible()
            visit.page.locator("#cell-3 summary").click()
            assert code.is_visible(), "one cell's code by itself"


@pytest.mark.browser
def test_a_search_leaves_the_cells_that_have_the_words(failed):
    """`/` begins it, folded code is searched and opened, Escape ends it."""
    with opened(failed) as visit:
        visit.page.keyboard.press("/")
        visit.page.keyboard.type("BYTEARRAY")
        visit.page.get_by_text("1 of 11 cells").wait_for()
        assert visit.page.locator(".cell:visible").count() == 1
        assert visit.page.get_by_text("block = bytearray").last.is_visible()
        assert visit.page.evaluate("[...CSS.highlights.get('found')].map(String)") == ["bytearray"]
        visit.page.keyboard.press("Escape")
        assert visit.page.locator(".cell:visible").count() == 11
        assert not visit.page.locator("#cell-6 details").get_attribute("open")


@pytest.mark.browser
def test_contents_lead_through_the_notebook(failed):
    """Headings and the failing cell are listed; a link in the text leads to its heading, too."""
    with opened(failed) as visit:
        contents = visit.page.get_by_role("navigation", name="Contents")
        contents.locator("summary").click()
        links = contents.get_by_role("link").all_inner_texts()
        assert links == ["Prices", "The checks", "The end", "Cell 9 failed"]
        for link in (
            contents.get_by_role("link", name="The checks"),
            visit.page.get_by_role("link", name="the checks", exact=True),
        ):
            visit.page.evaluate("scrollTo(0, 0)")
            link.click()
            assert visit.page.get_by_role("heading", name="The checks").is_visible()
            assert visit.page.evaluate("decodeURIComponent(location.hash)") == "#n-The-checks"


@pytest.mark.browser
def test_long_tables_keep_header_and_index_in_view(failed):
    """They scroll in a box of their own, and all of it is shown when asked for."""
    with opened(failed) as visit:
        box = visit.page.locator("#cell-7 .tall")
        before = box.bounding_box()
        assert before["height"] < 500
        box.evaluate("each => each.scrollTo(600, 600)")
        header, index = (
            box.locator("thead th").nth(3),
            box.locator("tbody tr").nth(30).locator("th"),
        )
        assert abs(header.bounding_box()["y"] - before["y"]) < 5
        assert abs(index.bounding_box()["x"] - before["x"]) < 5
        visit.page.get_by_text("All of it: 40 rows").click()
        assert box.bounding_box()["height"] > 800


@pytest.mark.browser
def test_on_paper_everything_is_open_and_nothing_is_a_control(failed):
    """Code, frames of libraries and all rows are printed, in black on white."""
    with opened(failed) as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        assert visit.page.get_by_text("block = bytearray").last.is_visible()
        assert not visit.page.locator("#search").is_visible()
        assert visit.page.locator("#cell-7 tbody tr").last.is_visible()
        assert visit.page.locator("#cell-7 .tall").bounding_box()["height"] > 500
        assert (
            visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
            == "rgb(255, 255, 255)"
        )
        pdf = visit.page.pdf(format="A4")
        table = visit.page.locator("#cell-7 table")
        assert table.evaluate("each => each.style.zoom") == "", "as it was, after it was printed"
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") <= 8


@pytest.mark.browser
def test_without_its_script_the_page_is_read_all_the_same(failed):
    """Details open by themselves; what needs the script is not offered."""
    bare = failed.with_name("bare.html")
    bare.write_text(failed.read_text("utf-8").replace("<script nonce", "<script type=off nonce"))
    with browser_page() as visit:
        visit.page.goto(bare.as_uri())
        assert not visit.page.locator("#search").is_visible()
        visit.page.locator("#cell-3 summary").click()
        assert visit.page.get_by_text("print('loaded', rows)").last.is_visible()
        assert "KeyError" in visit.text()
    bare.unlink()


def plots() -> dict[str, dict[str, object]]:
    """What notebooks put out for plots of each library, by what is to be found in its frame."""
    alt = pytest.importorskip("altair")
    px = pytest.importorskip("plotly.express")
    renderer = pytest.importorskip("plotly.io").renderers["plotly_mimetype"]
    pytest.importorskip("vl_convert")
    figure = pytest.importorskip("bokeh.plotting").figure
    from bokeh.embed.notebook import notebook_content

    frame = pd.DataFrame({"x": range(2000), "y": range(2000)})
    plotly = px.scatter(frame, x="x", y="y", title="by plotly")  # so many points are WebGL's
    plot = figure(title="by bokeh", height=250)
    plot.line([1, 2], [1, 2])
    script, div, _ = notebook_content(plot)
    chart = alt.Chart(frame.head(10)).mark_bar().encode(x="x:O", y="y:Q")
    with alt.renderers.enable("mimetype"):
        as_json = chart._repr_mimebundle_()[0]
    return {
        ".js-plotly-plot .scatterlayer": renderer.to_mimebundle(plotly.to_dict()),
        ".js-plotly-plot .main-svg": {"text/html": plotly.to_html(full_html=False)},
        ".vega-embed :is(svg, canvas)": dict(chart._repr_mimebundle_()),
        "#plot.vega-embed :is(svg, canvas)": as_json,
        ".bk-Figure": {
            "application/vnd.bokehjs_exec.v0+json": "",
            "text/html": div,
            "application/javascript": script,
        },
    }


@pytest.mark.browser
def test_plots_by_plotly_altair_and_bokeh_are_interactive_without_a_network(tmp_path, serve):
    """Each library is in the page once, draws in its frame, and asks nobody for anything."""
    wanted = plots()
    page = page_with(tmp_path, *(showing(bundle) for bundle in wanted.values()))
    assert page.read_text("utf-8").count('data-library="plotly"') == 1
    project = Project(tmp_path)
    for address in (
        page.as_uri(),
        f"{serve(project)}/runs/{page.relative_to(project.runs).as_posix()}",
    ):
        with browser_page() as visit:
            visit.page.goto(address)
            found = list(zip(visit.page.locator(".frame").all(), wanted, strict=True))
            # As served, one of each library; how else its data came makes no difference there.
            for place, inside in found if address == page.as_uri() else found[::2]:
                place.scroll_into_view_if_needed()
                place.frame_locator("iframe").locator(inside).first.wait_for(timeout=30_000)
            place.get_by_text("Large").click()
            assert place.bounding_box()["width"] >= DESKTOP[0] - 20
            visit.page.keyboard.press("Escape")
            assert place.bounding_box()["width"] < DESKTOP[0] - 20
            assert visit.left == []
            assert visit.errors == []


def test_a_plot_without_its_library_shows_its_picture_or_text_and_says_so(tmp_path, monkeypatch):
    """Nothing is loaded from elsewhere in its place."""
    monkeypatch.setattr(outputs, "library", lambda name: None)
    figure = {"application/vnd.plotly.v1+json": {"data": [{"type": "bar"}], "layout": {}}}
    page = page_with(
        tmp_path, showing({**figure, "text/plain": "Figure(bars)"}, {**figure, "image/png": "AAAA"})
    )
    text = page.read_text("utf-8")
    assert "Figure(bars)" in text
    assert 'src="data:image/png;base64,AAAA"' in text
    assert text.count("interactive where plotly is installed") == 2
    assert "<iframe" not in text.partition("</main>")[0]


@pytest.mark.browser
def test_a_large_output_is_read_only_when_it_is_opened(tmp_path):
    """It is compressed in the page until then, and has its header in view in its frame."""
    frame = pd.DataFrame({f"column {i}": range(4000) for i in range(8)})
    page = page_with(tmp_path, showing({"text/html": frame.to_html(max_rows=None)}))
    assert page.stat().st_size < 200_000
    bare = page.with_name("bare.html")
    bare.write_text(page.read_text("utf-8").replace("<script nonce", "<script type=off nonce"))
    with browser_page() as visit:
        visit.page.goto(bare.as_uri())
        assert "large outputs are drawn by this page's own script" in visit.text()
    with opened(page) as visit:
        assert visit.page.locator("iframe").count() == 0
        assert "drawn by this page's own script" not in visit.text()
        visit.page.get_by_text("4,000 rows, ").click()
        inside = visit.page.frame_locator("iframe")
        inside.locator("tbody tr").nth(3999).wait_for(state="attached")
        header = inside.locator("thead th").nth(1)
        top = header.bounding_box()["y"]
        inside.locator("tbody tr").nth(3000).scroll_into_view_if_needed()
        assert (
            abs(header.bounding_box()["y"] - visit.page.locator("iframe").bounding_box()["y"]) < 15
        )
        assert top > 0


@pytest.mark.browser
def test_a_picture_opens_large_on_a_click_and_closes_again(tmp_path):
    """A click, or the space bar, and Escape."""
    svg = "<svg width='80' height='40'><rect width='80' height='40' fill='teal'/></svg>"
    page = page_with(tmp_path, showing({"image/svg+xml": svg, "text/plain": "a bar"}))
    with opened(page) as visit:
        picture = visit.page.get_by_alt_text("a bar")
        assert picture.bounding_box()["width"] == 80
        picture.click()
        assert picture.bounding_box()["width"] > 600
        visit.page.keyboard.press("Escape")
        assert picture.bounding_box()["width"] == 80
        visit.page.keyboard.press("Space")
        assert picture.bounding_box()["width"] > 600


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"dataflow": [1], "papermill": "x"},
        {
            "dataflow": {
                "results": [3, {}, {"kind": "check"}],
                "run_id": 7,
                "peak_memory_bytes": "x",
            }
        },
        {"dataflow": {"results": {"a": 1}}, "papermill": {"status": 3, "start_time": "never"}},
        {"language_info": {"pygments_lexer": "no such language"}},
    ],
)
@pytest.mark.parametrize("record", ["", "{", "[]", '{"steps": [], "git": 3, "user": {}}'])
def test_a_page_is_written_whatever_a_notebook_and_its_run_say_about_themselves(
    tmp_path, metadata, record
):
    """Files that somebody changed, and those of earlier versions, are shown as far as they can be."""
    path = tmp_path / "runs" / "quakes" / "r1" / "ingest.ipynb"
    cells = [
        new_markdown_cell("# Über <b> & ![x](attachment:none.png)"),
        new_code_cell("1 +", metadata={"papermill": 3, "dataflow": {"peak_memory_bytes": "much"}}),
        showing({"application/vnd.plotly.v1+json": {"data": 3}, "text/plain": "so be it"}, {}),
        showing({"text/html": "<b>no plot</b> Plotly.newPlot(x, [1"}),
    ]
    nb = new_notebook(cells=cells)
    nb.metadata = metadata
    nb.cells[-1].outputs[0].data["x/y"] = {"a": [1]}
    nb.cells[-1].outputs.append({"output_type": "display_data", "data": {"image/png": 3}})
    write(path, json.dumps(nb))
    if record:
        write(path.with_name("run.json"), record)

    text = write_page(path).read_text("utf-8")
    assert "so be it" in text
    assert "1 +" in re.sub("<[^>]*>", "", text)


def test_a_page_that_has_not_changed_is_not_sent_again(failed, serve):
    """A reader who comes back asks for it, and is told that it is the same."""
    project = Project(failed.parents[3])
    address = f"{serve(project)}/runs/{failed.relative_to(project.runs).as_posix()}"
    first = httpx.get(address)
    again = httpx.get(address, headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert first.text.endswith("</html>\n") or first.text.endswith("</html>")
    other = httpx.get(
        address, headers={"if-none-match": first.headers["etag"], "cookie": "dataflow_code=shown"}
    )
    assert 'data-code="shown"' in other.text
    assert httpx.get(f"{address.partition('/runs')[0]}/_dataflow/code/x").status_code == 404
