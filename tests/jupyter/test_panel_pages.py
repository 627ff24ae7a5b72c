"""What JupyterLab shows beside a notebook: comparisons, the stage's tables; and trying again."""

from __future__ import annotations

import json
import re
import threading
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyterlab_helpers import panel
from made_runs import executed, shows
from projects import Workflow, make_project, parameters, write_notebook

from dataflow.errors import ConfigurationError
from dataflow.lab.pages import again_view, comparison_view, tables_view
from dataflow.lab.place import Places
from dataflow.project import Project
from dataflow.runs.record import RunRecord
from dataflow.shared.db import get_duckdb_connection, write_table
from dataflow.warehouse import preview as look
from dataflow.warehouse.lock import acquire
from dataflow.warehouse.store import has_development_copy, publish

PATH = "notebooks/shop/ingest.ipynb"
DECLARED = 'region: str = "north"\ndiscount: float = 0.1'
LOAD = "load(region)"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HOSTILE = "<img src=x onerror=\"parent.document.title='taken'\"><script>parent.document.title='taken'</script>"


def notebook(sold: int = 3, *, code: str = LOAD, declared: str = DECLARED) -> Any:
    """A notebook that was run: parameters, a table, what was printed."""
    table = (
        f"<table><tr><th>shop</th><th>sold</th></tr><tr><td>Köln</td><td>{sold}</td></tr></table>"
    )
    nb = executed(
        nbformat.v4.new_code_cell(declared, metadata={"tags": ["parameters"]}, execution_count=1),
        shows(code, {"text/html": table}),
        shows("print(sold)", f"{sold} sold\n"),
    )
    for cell in nb.cells:
        cell["id"] = f"cell-{nb.cells.index(cell)}"
    return nb


def record(project: Project, number: int, nb: Any, status: str = "succeeded", **facts: Any) -> str:
    """A run of the stage, as its folder has it; returns its id."""
    made = RunRecord(project, "shop", f"{number:08}" + "a" * 24)
    made.begin([{"name": "ingest", "kind": "stage"}, {"name": "publish", "kind": "publish"}])
    made.step_started("ingest", notebook="ingest.ipynb")
    made.step_ended("ingest", status, **facts)
    made.end()
    (made.folder / "ingest.ipynb").write_text(nbformat.writes(nb), "utf-8")
    data = json.loads((made.folder / "run.json").read_text("utf-8"))
    data |= {"started_at": f"2026-11-26T10:{number:02}:00+00:00", "status": status}
    (made.folder / "run.json").write_text(json.dumps(data), "utf-8")
    return made.run_id


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a stage `ingest`, two good runs of it, and one that failed."""
    stage = {"notebook": "ingest.ipynb", "writes": ["sales"]}
    cells = [parameters(DECLARED), LOAD, "print(sold)"]
    project = make_project(tmp_path / "project", {"shop": Workflow({"ingest": cells}, [stage])})
    monkeypatch.delenv("DATAFLOW_PROJECT", raising=False)
    return project


def compare(project: Project, **body: Any) -> dict[str, Any]:
    return comparison_view(Places(project.root), {"path": PATH, **body}, "/")


def words(html: str) -> str:
    """What is to be read in a page, in one line."""
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(text).split())


def test_the_notebook_in_the_editor_is_compared_with_the_last_run(shop):
    record(shop, 1, notebook(3))
    last = record(shop, 2, notebook(4), "failed", values={"region": "south"})

    found = compare(shop, notebook=notebook(5, code="load(region, 1)"), theme="dark")

    assert (found["before"], found["after"]) == (last, None)
    assert [run["status"] for run in found["runs"]] == ["failed", "succeeded"]
    text = words(found["html"])
    assert "1 parameter, 1 cell's code and 2 outputs differ." in text
    assert "ingest. region south north default" in text
    assert "4 5 +1 (+25.0 %)" in text
    assert "injected" not in text
    assert '<html lang="en" data-theme="dark">' in found["html"]
    assert "<script" not in found["html"]
    assert 'http-equiv="Content-Security-Policy"' in found["html"]
    page = f"%2Fruns%2Fshop%2F20{'.*'}_00000002%2Fingest.html#cell-2"
    assert re.search(f'href="/dataflow/runs\\?home=&amp;page={page}"', found["html"])


def test_the_last_good_run_and_any_other_can_be_chosen(shop):
    first, good = record(shop, 1, notebook(3)), record(shop, 2, notebook(4))
    last = record(shop, 3, notebook(5), "failed")

    assert compare(shop, before="good")["before"] == good
    assert compare(shop, before=first)["before"] == first
    two = compare(shop, after=last)
    assert (two["before"], two["after"]) == (good, last)
    assert "1 step's result and 2 outputs differ" in words(two["html"])
    assert "The rest of the runs: nothing differs" in words(two["html"])
    swapped = compare(shop, after=first, before=last)
    assert (swapped["before"], swapped["after"]) == (first, last)


def test_a_notebook_that_was_not_run_by_hand_is_compared_by_its_code(shop):
    record(shop, 1, notebook(3))

    found = words(compare(shop)["html"])

    assert "Nothing differs." in found
    assert "This notebook has no outputs here, so only its code is compared." in found


def test_secrets_and_paths_in_the_editor_do_not_differ_from_their_names_in_a_run(shop):
    config = shop.notebooks / "shop" / "config.yaml"
    config.write_text(config.read_text("utf-8") + "# ${SHOP_KEY}\n", "utf-8")
    (shop.root / ".env").write_text("SHOP_KEY=correct-horse-battery\n", "utf-8")
    run, here = notebook(3), notebook(3)
    run.cells[2].outputs[0].text = "${SHOP_KEY} in ${DATAFLOW_PROJECT}/x\n"
    here.cells[2].outputs[0].text = f"correct-horse-battery in {shop.root}/x\n"
    record(shop, 1, run)

    found = compare(shop, notebook=here)["html"]

    assert "Nothing differs." in words(found)
    assert "correct-horse" not in found


def test_what_cannot_be_compared_is_said_in_words(shop):
    with pytest.raises(ConfigurationError, match="ingest has not run yet"):
        compare(shop)
    run = record(shop, 1, notebook(3), "failed")
    with pytest.raises(ConfigurationError, match="no run of ingest succeeded"):
        compare(shop, before="good")
    for name in ("../../x", "<b>", "0" * 32, ["a"], "*"):
        with pytest.raises(ConfigurationError, match="there is no run `"):
            compare(shop, before=name)
    nb = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    cell = {"cell_type": "code", "metadata": {"tags": 5}, "source": "x", "outputs": [], "id": "a"}
    for broken in ([], "x", {"cells": 3}, {**nb, "cells": [1]}, {**nb, "cells": [cell]}, {**nb, "cells": [{}]}):  # fmt: skip
        with pytest.raises(ConfigurationError, match="not a valid notebook"):
            compare(shop, notebook=broken)
    with pytest.raises(ConfigurationError, match="is not a stage"):
        comparison_view(Places(shop.root), {"path": "notebooks/shop/other.ipynb"}, "/")
    next((shop.runs / "shop").glob(f"*_{run[:8]}")).joinpath("ingest.ipynb").unlink()
    with pytest.raises(ConfigurationError, match="the executed notebook is gone"):
        compare(shop)


def tables(project: Project) -> str:
    return tables_view(Places(project.root), {"path": PATH}, "/")["html"]


def fill(project: Project, sold: int, database: Any = "working") -> None:
    with get_duckdb_connection(project=project, database=database) as conn:
        write_table(conn, [{"shop": f"{HOSTILE} {sold}", "sold": sold}], "shop_raw.sales")


def test_the_tables_of_a_stage_are_shown_as_they_were_written_last(shop):
    assert "It has not been written yet." in words(tables(shop))
    record(shop, 1, notebook(3), writes={"shop_raw.<b>Tür</b>": {"columns": {"<i>": "INTEGER"}}})
    fill(shop, 3)
    assert "1 row, 2 columns in the working warehouse, written" in words(tables(shop))

    fill(shop, 4, "development")
    html = tables(shop)

    assert "in your development copy, written" in words(html)
    assert "by hand" in words(html)
    assert "&lt;img src=x onerror=" in html
    assert "<img" not in html
    assert "<script" not in html
    assert "&lt;b&gt;Tür&lt;/b&gt;" in html
    assert "It is in no database now. When the stage ran last it had 1 column: &lt;i&gt;." in html
    assert "What the columns hold" in html
    fill(shop, 5)
    assert "in the working warehouse" in words(tables(shop))


def test_secrets_in_tables_are_shown_as_names(shop, monkeypatch):
    config = shop.notebooks / "shop" / "config.yaml"
    config.write_text(config.read_text("utf-8") + "# ${SHOP_KEY}\n", "utf-8")
    monkeypatch.setenv("SHOP_KEY", "correct-horse-battery")
    with get_duckdb_connection(project=shop, database="working") as conn:
        rows = [{"key": "correct-horse-battery", "long": "x" * 5_000}]
        write_table(conn, rows, "shop_raw.sales")

    html = tables(shop)

    assert "correct-horse" not in html
    assert "${SHOP_KEY}" in html
    assert "x" * 201 not in html


def test_a_look_waits_for_nobody_and_shows_what_is_published(shop, monkeypatch):
    fill(shop, 3)
    publish(shop, "shop")
    fill(shop, 4)
    monkeypatch.setattr(look, "WAIT_SECONDS", 0.05)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with acquire(shop.warehouse, holder="run 1a2b3c4d"):
            taken.set()
            done.wait(120)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert taken.wait(60)
        shown = words(tables(shop))
    finally:
        done.set()
        holder.join()

    assert "The warehouse is in use by run 1a2b3c4d" in shown
    assert "1 row, 2 columns in the published version" in shown
    assert "in the working warehouse" in words(tables(shop))


def test_a_broken_warehouse_costs_its_tables_only(shop):
    shop.warehouse.parent.mkdir(parents=True)
    shop.warehouse.write_bytes(b"no database" * 1000)

    assert "The working database cannot be read" in words(tables(shop))


def test_of_big_tables_a_sample_is_read(shop, monkeypatch):
    monkeypatch.setattr(look, "SAMPLE_VALUES", 4_000)
    monkeypatch.setattr(look, "MOST_PROFILED", 20)
    columns = ", ".join(f"range + {number} AS c{number}" for number in range(30))
    with get_duckdb_connection(project=shop, database="working") as conn:
        conn.execute("CREATE SCHEMA shop_raw")
        conn.execute(f"CREATE TABLE shop_raw.sales AS SELECT {columns} FROM range(20000)")

    shown = words(tables(shop))

    assert "20,000 rows, 30 columns" in shown
    assert re.search(r"What the first 20 columns hold, in a sample of (\d,\d{3}|\d{3}) rows", shown)
    assert "The first 20 rows." in shown


def test_a_stage_is_tried_again_with_a_runs_values_once_its_author_agrees(shop):
    places = Places(shop.root)
    run = record(shop, 1, notebook(3), "failed", values={"region": "south"})
    fill(shop, 3)
    fill(shop, 4, "development")
    body = {"path": PATH, "run": run}

    asked = again_view(places, body)
    assert "will replace your development copy" in asked["question"]
    assert not (shop.notebooks / "shop" / "debug").exists()
    kept = again_view(places, {**body, "answer": "keep"})
    assert "in your development copy" in words(tables(shop))
    record(shop, 2, notebook(3))
    write_notebook(shop.notebooks / "shop" / "ingest.ipynb", [parameters(DECLARED), "1"])
    made = again_view(places, {**body, "answer": "replace"})

    assert kept["path"] == made["path"] == "notebooks/shop/debug/ingest-00000001.ipynb"
    assert 'region = "south"' in (shop.root / made["path"]).read_text("utf-8").replace("\\", "")
    assert [note.split()[0] for note in made["notes"]] == ["ingest.ipynb", "Run"]
    assert "Run 00000002 began later" in (shop.root / made["path"]).read_text("utf-8")
    assert "in the working warehouse" in words(tables(shop))
    assert has_development_copy(shop)


@pytest.mark.browser
def test_comparison_and_tables_are_seen_beside_the_notebook(lab):
    """Light and dark, with hostile outputs and values, and the question before data is replaced."""
    stage = {"notebook": "ingest.ipynb", "writes": ["sales"]}
    lab.add("shop", Workflow({"ingest": [parameters(DECLARED), LOAD, "print(sold)"]}, [stage]))
    record(lab.project, 1, notebook(3))
    record(lab.project, 2, notebook(4), "failed", values={"region": "south"})
    fill(lab.project, 3)
    fill(lab.project, 4, "development")
    nb = notebook(5)
    nb.cells[1].outputs.append(nbformat.v4.new_output("display_data", {"text/html": HOSTILE}))
    nb.cells[2].outputs[0].text = HOSTILE
    nb.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(nb, lab.project.notebooks / "shop" / "ingest.ipynb")
    with lab.visit(PATH) as visit:
        page = visit.page
        panel(page).get_by_role("button", name="Compare", exact=True).first.click()
        frame = page.frame_locator(".df-Page iframe")
        frame.get_by_text("1 parameter and 3 outputs differ.").wait_for()
        assert "south" in frame.locator("body").inner_text()
        page.get_by_label("Run", exact=True).select_option(index=1)
        frame.get_by_text("3 outputs differ.", exact=True).wait_for()
        assert "south" not in frame.locator("body").inner_text()

        is_light = page.evaluate("document.body.dataset.jpThemeLight") == "true"
        for theme in ("Dark", "Light") if is_light else ("Light", "Dark"):
            page.click('.lm-MenuBar-itemLabel:text-is("Settings")')
            page.hover('.lm-Menu-item:has-text("Theme")')
            page.click(f'.lm-Menu-item:has-text("JupyterLab {theme}")')
            frame.locator(f"html[data-theme={theme.lower()}]").wait_for()
            colour = frame.locator("body").evaluate("one => getComputedStyle(one).backgroundColor")
            assert colour == {"Dark": "rgb(18, 18, 18)", "Light": "rgb(255, 255, 255)"}[theme]

        panel(page).get_by_role("button", name="Tables").click()
        tables = page.frame_locator('iframe[title="ingest: tables"]')
        tables.get_by_text("in your development copy").wait_for()
        assert "<img src=x onerror=" in tables.locator("body").inner_text()
        assert page.locator("iframe:visible").count() == 1

        panel(page).get_by_role("button", name="Try again").first.click()
        question = panel(page).get_by_role("group", name="Try again")
        question.get_by_role("button", name="Keep my copy as it is").click()
        page.get_by_text("Copy of ingest.ipynb with the parameters of run 00000002").wait_for()
        assert "taken" not in page.title()
        assert visit.left == []
