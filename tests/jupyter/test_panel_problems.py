"""Problems while writing: at their cells in a real JupyterLab, and in the panel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jupyterlab_helpers import Lab, panel
from playwright.sync_api import expect
from projects import Workflow, make_project, parameters

from dataflow.lab.place import Places
from dataflow.lab.problems import LARGEST, problems_view
from dataflow.project import Project

WELLS = Workflow(
    {
        "levels": [parameters('least: float = 0.5\nunit: Literal["cm", "m"] = "cm"'), "rows = [1]"],
        "means": ["print(1)"],
    },
    [
        {"notebook": "levels.ipynb", "parameters": {"least": 1}, "writes": ["levels"]},
        {"notebook": "means.ipynb", "writes": ["means"]},
    ],
    {"ingestion": {"url": "${WELLS_URL:-http://localhost}"}},
)

LEVELS = "notebooks/wells/levels.ipynb"


def cell(source: str, *tags: str) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in a folder from which JupyterLab is started."""
    monkeypatch.delenv("DATAFLOW_PROJECT", raising=False)
    return make_project(tmp_path / "Brünn <b>", {"wells": WELLS})


def ask(project: Project, path: str, *cells: dict[str, Any]) -> Any:
    home = project.root.name
    body = {"path": f"{home}/{path}", "content": {"cells": list(cells)}}
    return problems_view(Places(project.root.parent), body)["problems"]


def test_problems_come_in_the_order_in_which_one_reads(project: Project):
    config = project.notebooks / "wells/config.yaml"
    config.write_text(config.read_text().replace("least: 1", "lest: 1"))

    found = ask(
        project,
        LEVELS,
        cell("least: int = 2", "parameters"),
        cell("if"),
        cell("x", "injected-parameters"),
    )

    shown = [(one["severity"], one["cell"], one["line"], one["file"]) for one in found]
    assert shown == [
        ("error", 2, 1, None),
        ("warning", 3, None, None),
        ("error", None, 8, "Brünn <b>/notebooks/wells/config.yaml"),
    ]
    assert [one["fix"] and one["fix"]["kind"] for one in found] == [None, "delete", "replace"]


def test_of_files_that_are_no_stages_nothing_is_said(project: Project):
    (project.notebooks / "wells/scratch.ipynb").write_text("{}")

    assert ask(project, "notebooks/wells/scratch.ipynb", cell("if")) is None
    assert ask(project, LEVELS, cell("least: float = 1", "parameters")) == []


def test_of_very_many_problems_the_first_are_shown(project: Project):
    found = ask(project, LEVELS, cell("least: float = 1\n" + "go()\n" * 1_000, "parameters"))

    assert [one["line"] for one in found[:200]] == list(range(2, 202))
    assert [one["message"] for one in found[200:]] == ["there are 800 more problems"]


@pytest.fixture(scope="module")
def wells(lab: Lab) -> Lab:
    """JupyterLab with the workflow."""
    lab.add("wells", WELLS)
    return lab


@pytest.mark.slow
def test_a_request_too_large_or_without_a_notebook_is_refused_in_words(wells: Lab):
    odd = wells.api("POST", "problems", json={"path": LEVELS, "content": {"cells": 3}})
    large = wells.api("POST", "problems", content=json.dumps({"path": "x" * LARGEST}))

    assert (odd.status_code, odd.json()["message"]) == (422, "this is no notebook")
    assert large.status_code == 413


@pytest.mark.browser
def test_a_mistake_is_shown_at_its_cell_while_one_types_and_its_fix_can_be_undone(wells: Lab):
    file = wells.project.root / LEVELS
    with wells.visit(LEVELS) as visit:
        page = visit.page
        side = panel(page)
        expect(side.get_by_text("None found.")).to_be_visible(timeout=30_000)

        first = page.locator(".jp-Cell").first
        first.locator(".cm-content").click()
        page.keyboard.press("Control+End")
        page.keyboard.type("\nmany: flaot = 3")
        wrong = page.locator(".jp-Cell:has-text('flaot')")
        expect(wrong.locator(".df-Note")).to_contain_text(
            "line 3: the type of `many`", timeout=15_000
        )
        expect(wrong.locator(".df-Underline")).to_have_text("flaot")

        # A cell above it: what is shown stays with its cell.
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        expect(side.get_by_role("button", name="cell 2, line 3")).to_be_visible(timeout=15_000)
        expect(wrong.locator(".df-Note")).to_have_count(1)
        expect(page.locator(".df-Note")).to_have_count(1)

        side.get_by_role("button", name="Replace `flaot` by `float`").click()
        expect(page.locator(".jp-Cell").nth(1).locator(".cm-content")).to_contain_text(
            "many: float = 3"
        )
        expect(side.get_by_text("None found.")).to_be_visible(timeout=15_000)
        expect(page.locator(".df-Note, .df-Underline")).to_have_count(0)

        page.keyboard.press("Control+z")
        expect(wrong.locator(".df-Note")).to_be_visible(timeout=15_000)
        page.keyboard.press("Control+s")
        expect(page.locator(".jp-mod-dirty")).to_have_count(0, timeout=15_000)
        side.get_by_role("button", name="cell 2, line 3").click()
        expect(page.locator(".jp-Cell.jp-mod-active")).to_contain_text("flaot")

        visit.assert_clean()
    saved = json.loads(file.read_text("utf-8"))
    assert "many: flaot = 3" in "".join(saved["cells"][1]["source"])
    assert saved["cells"][1]["metadata"] == {"tags": ["parameters"]}
    assert "df-" not in file.read_text("utf-8")
