"""Making workflows and stages in JupyterLab's panel, and what they write, wait for, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyterlab_helpers import panel
from projects import Workflow, copy_dbt, make_project, parameters

from dataflow.errors import ConfigurationError
from dataflow.lab.place import Places
from dataflow.lab.wire import (
    change_view,
    new_stage_view,
    new_workflow_view,
    settings_view,
    undo_view,
)
from dataflow.project import Project
from dataflow.runs.record import RunRecord
from dataflow.scaffold.workflow import ABOUT, template_names
from dataflow.workflows.registry import get_workflow

CONFIG = """\
workflow:
  name: Gauges
  # when the gauges report
  schedule: "0 6 * * *"
ingestion:
  source: {token: hidden-in-clear}
stages:
- notebook: levels.ipynb
  writes: [rivers]
- notebook: means.ipynb   # of a day
"""
LEVELS = "notebooks/gauges/levels.ipynb"
MEANS = "notebooks/gauges/means.ipynb"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    cells = {"levels": [parameters("limit: int = 3"), "1"], "means": ["2"], "scratch": ["3"]}
    project = make_project(tmp_path / "shop", {"gauges": Workflow(cells)})
    (project.notebooks / "gauges" / "config.yaml").write_text(CONFIG)
    monkeypatch.delenv("DATAFLOW_PROJECT", raising=False)
    return project


@pytest.fixture
def places(project: Project) -> Places:
    return Places(project.root)


def config(project: Project) -> str:
    return (project.notebooks / "gauges" / "config.yaml").read_text()


def changed(places: Places, path: str = MEANS, *, write: bool = False, **changes: Any) -> Any:
    seen = settings_view(places, path)["seen"]
    return change_view(places, {"path": path, "seen": seen, "write": write, **changes})


def test_a_stage_shows_what_config_yaml_says_and_what_it_wrote_without_saying_so(
    project: Project, places: Places
):
    record = RunRecord(project, "gauges", "1a2b3c4d" + "0" * 24)
    record.begin([{"name": "means", "kind": "stage", "after": []}], trigger="cli")
    columns = {"columns": {"day": "DATE"}}
    writes = {"gauges_raw.daily": columns, "other.totals": columns, "gauges_raw.gone": {}}
    record.step_ended("means", "succeeded", writes=writes)

    view = settings_view(places, MEANS)

    assert (view["schedule"], view["timezone"], view["can_undo"]) == ("0 6 * * *", "UTC", False)
    assert (view["stage"], view["stages"], view["writes"]) == ("means", ["levels"], [])
    assert (view["after"], view["waits_for"]) == (None, ["levels"])
    assert view["undeclared"] == ["daily", "other.totals"]
    assert settings_view(places, LEVELS)["undeclared"] == []
    assert settings_view(places, "notebooks/gauges/scratch.ipynb")["stage"] is None


def test_a_schedule_is_told_in_words_with_its_next_times_and_nothing_is_written(
    project: Project, places: Places
):
    answer = changed(places, schedule="30 7 * * 1-5", timezone="Europe/Berlin")

    assert answer["problems"] == {}
    assert answer["words"] == "At 07:30, Monday through Friday (Europe/Berlin)"
    assert len(answer["next"]) == 3
    assert all(time.endswith(", 07:30") for time in answer["next"])
    assert '+  schedule: "30 7 * * 1-5"' in answer["diff"]
    assert '+  timezone: "Europe/Berlin"' in answer["diff"]
    assert config(project) == CONFIG
    assert changed(places, schedule="0 0 30 2 *")["next"] == []
    nowhere = changed(places, schedule="@daily", timezone=" ")["problems"]
    assert nowhere["schedule"][0]["message"] == "`` is not a time zone"


def test_each_field_has_its_own_problems(project: Project, places: Places):
    answer = changed(
        places, schedule="0 6 * *", timezone="UTC", writes=["rivers"], after=["nowhere"], write=True
    )

    told = {field: problems[0]["message"] for field, problems in answer["problems"].items()}
    assert told == {
        "schedule": "`0 6 * *` is not a cron schedule: it has 4 fields, not 5",
        "writes": "table `gauges_raw.rivers` is written by `levels` and `means`",
        "after": "stage `means` comes after `nowhere`, which is not a stage",
    }
    assert (answer["diff"], answer["words"], answer["next"]) == ([], None, [])
    assert config(project) == CONFIG


def test_a_change_is_written_and_undone(project: Project, places: Places):
    answer = changed(places, schedule=None, writes=["daily"], after=[], write=True)

    assert answer["problems"] == {}
    assert config(project) == CONFIG.replace('  schedule: "0 6 * * *"\n', "").replace(
        "# of a day\n", "# of a day\n  writes: [daily]\n  after: []\n"
    )
    assert settings_view(places, LEVELS)["can_undo"]

    undo_view(places, {"path": LEVELS})

    assert config(project) == CONFIG
    with pytest.raises(ConfigurationError, match="cannot be undone"):
        undo_view(places, {"path": LEVELS})


def test_what_somebody_else_changed_is_neither_overwritten_nor_undone(
    project: Project, places: Places
):
    seen = settings_view(places, MEANS)["seen"]
    assert changed(places, writes=["daily"], write=True)["problems"] == {}
    path = project.notebooks / "gauges" / "config.yaml"
    theirs = path.read_text() + "# theirs\n"
    path.write_text(theirs)

    late = change_view(places, {"path": MEANS, "seen": seen, "writes": [], "write": True})

    assert "somebody has changed it" in late["problems"][""][0]["message"]
    assert not settings_view(places, MEANS)["can_undo"]
    with pytest.raises(ConfigurationError, match="cannot be undone"):
        undo_view(places, {"path": MEANS})
    assert config(project) == theirs


def test_secrets_in_clear_are_not_in_what_is_shown(places: Places):
    answer = changed(places, LEVELS, schedule="@daily", timezone="UTC")

    assert '+  schedule: "@daily"' in answer["diff"]
    assert any("source: {token: " in line for line in answer["diff"])
    assert "hidden-in-clear" not in str(answer)


def test_a_new_workflow_is_checked_and_made(project: Project, places: Places):
    body = {"path": "", "name": "gauges", "template": "api"}
    assert "is taken" in new_workflow_view(places, body)["problems"][0]["message"]
    wrong = new_workflow_view(places, {**body, "name": "Sea <b>", "write": True})["problems"]
    assert wrong[0]["message"].startswith("`Sea <b>` is not a name of lower-case letters")
    planned = new_workflow_view(places, {**body, "name": "sea"})
    assert (planned["problems"], planned["notebook"]) == ([], None)
    assert not (project.notebooks / "sea").exists()

    made = new_workflow_view(places, {**body, "name": "sea", "write": True})

    assert made["notebook"] == "notebooks/sea/ingest.ipynb"
    assert made["files"] == planned["files"]
    assert len(get_workflow(project, "sea").stages) == 2
    assert sorted(ABOUT) == template_names()


def test_a_new_stage_is_checked_and_made(project: Project, places: Places):
    body = {"path": LEVELS, "workflow": "gauges", "name": "report", "after": ["levels"]}
    taken = new_stage_view(places, {**body, "name": "means", "write": True})
    assert "is taken" in taken["problems"][0]["message"]
    planned = new_stage_view(places, body)
    assert (planned["problems"], planned["config"]) == ([], "notebooks/gauges/config.yaml")
    assert config(project) == CONFIG

    made = new_stage_view(places, {**body, "write": True})

    assert made == planned
    assert made["notebook"] == "notebooks/gauges/report.ipynb"
    assert "- notebook: report.ipynb\n  writes: [report]\n  after: [levels]\n" in config(project)


@pytest.mark.parametrize(
    ("view", "body", "words"),
    [
        (change_view, {"path": "pyproject.toml"}, "is in no workflow"),
        (change_view, {"path": "../x.ipynb"}, "there is no file"),
        (change_view, {"path": MEANS, "writes": "daily"}, "`writes` has to be a list of texts"),
        (change_view, {"path": MEANS, "schedule": 7}, "`schedule` has to be a text"),
        (new_workflow_view, {"path": None}, "is in no DATAFLOW project"),
        (new_stage_view, {"path": MEANS, "after": [1]}, "`after` has to be a list of texts"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    project: Project, places: Places, view, body, words
):
    with pytest.raises(ConfigurationError, match=words):
        view(places, {**body, "write": True})
    assert config(project) == CONFIG


@pytest.mark.slow
@pytest.mark.browser
def test_an_author_makes_a_workflow_and_a_stage_and_sets_a_schedule_in_the_panel(lab):
    copy_dbt(lab.project)
    home = lab.project.notebooks / "tides"
    with lab.visit() as visit:
        page = visit.page
        page.locator(".jp-LauncherCard", has_text="New Workflow").click()
        shown = panel(page)
        shown.get_by_label("Name").fill("Tides")
        visit.wait_for_text("`tides` would work.")
        shown.get_by_label("Name").fill("tides")
        shown.get_by_role("button", name="Create").click()
        page.wait_for_selector(".jp-NotebookPanel .df-mod-parameters")  # the cell's badge
        shown.get_by_role("heading", name="Tides").wait_for(timeout=120_000)  # dbt reads the models

        shown.get_by_role("button", name="New stage").click()
        shown.get_by_label("Name").fill("report")
        shown.locator(".df-Diff").wait_for()
        shown.get_by_role("button", name="Create").click()
        page.get_by_role("tab", name="report.ipynb").wait_for()
        visit.wait_for_text("tides_raw.report")
        before = (home / "config.yaml").read_text()
        assert before.endswith(
            "  - notebook: report.ipynb\n    writes: [report]\n    after: [ingest]\n"
        )

        # The schedule, with config.yaml open beside it.
        shown.get_by_role("button", name="config.yaml").click()
        editor = page.locator(".jp-FileEditor .cm-content")
        editor.wait_for()
        shown.locator("summary", has_text="Tables, order and schedule").click()
        shown.get_by_label("How often").select_option("weekdays")
        shown.get_by_label("Time", exact=True).fill("07:30")
        visit.wait_for_text("At 07:30, Monday through Friday (UTC)")
        save = shown.get_by_role("button", name="Save to config.yaml")
        save.click()
        undo = shown.get_by_role("button", name="Undo")
        undo.wait_for()
        assert (home / "config.yaml").read_text() == before.replace(
            "  # schedule:", '  schedule: "30 7 * * 1-5"\n  # schedule:'
        )
        page.wait_for_function(
            "() => document.querySelector('.jp-FileEditor').innerText.includes('30 7 * * 1-5')"
        )
        undo.click()
        undo.wait_for(state="detached")
        assert shown.get_by_label("How often").input_value() == "hand"
        page.wait_for_function(
            "() => !document.querySelector('.jp-FileEditor').innerText.includes('30 7 * * 1-5')"
        )
        assert (home / "config.yaml").read_text() == before

        # What somebody writes there is not overwritten.
        editor.click()
        page.keyboard.type("# mine ")
        shown.get_by_label("How often").select_option("hourly")
        save.click()
        visit.wait_for_text("config.yaml is open in a tab with changes that are not saved")
        assert (home / "config.yaml").read_text() == before
        assert "# mine " in editor.inner_text()

        # Another cell takes the parameters over, and gives them up.
        page.get_by_role("tab", name="report.ipynb").click()
        notebook = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        cell = notebook.locator(".jp-CodeCell").nth(2)
        cell.click(button="right")
        page.locator(".lm-Menu-item", has_text="Mark Cell as Parameters").click()
        page.wait_for_function(
            "() => document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) "
            ".jp-CodeCell')[2].classList.contains('df-mod-parameters')"
        )
        assert notebook.locator(".df-mod-parameters").count() == 1
        cell.locator(".cm-content").click()
        cell.locator('[data-command="dataflow:mark-parameters"]').click()
        notebook.locator(".df-mod-parameters").wait_for(state="detached")
        with page.expect_response(
            lambda one: one.request.method == "PUT" and "/api/contents/" in one.url
        ):
            page.keyboard.press("Control+s")
        visit.assert_clean()

    cells = nbformat.read(home / "report.ipynb", 4).cells
    assert [one.metadata for one in cells if one.metadata] == []
