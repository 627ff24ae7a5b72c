"""What JupyterLab's panel is told: where a file lies, its workflow's steps, fields of a form."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from projects import Workflow, make_project, parameters

from dataflow.errors import ConfigurationError
from dataflow.lab.archive import executed_notebook
from dataflow.lab.notebook import field, notebook_view, options_of, plan_view, stale_view
from dataflow.lab.place import Places, variables_of
from dataflow.project import Project
from dataflow.runs.record import RunRecord
from dataflow.stages.notebook import declared_parameters

CELL = """
share: float = 0.05  # the greatest
unit: Literal["cm", "m"] = "cm"
is_on: bool = True
day: date | None = None
names: list[str] = ["a"]
given: int
kind: Literal["a", "b"] | None = "a"
key: Annotated[str, "secret"] = "hidden"
"""
NOTEBOOK = "notebooks/gauges/levels.ipynb"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in a folder beside another one, `loose`, that is none."""
    project = make_project(
        tmp_path / "shop",
        {
            "gauges": Workflow(
                {"levels": [parameters(CELL), "print(share)"], "means": ["1 / 0"]},
                [
                    {"notebook": "levels.ipynb", "parameters": {"given": 3}, "writes": ["rivers"]},
                    {"notebook": "means.ipynb"},
                ],
            )
        },
    )
    (tmp_path / "loose").mkdir()
    monkeypatch.delenv("DATAFLOW_PROJECT", raising=False)
    return project


def failed_run(project: Project) -> RunRecord:
    record = RunRecord(project, "gauges", "1a2b3c4d" + "0" * 24)
    record.begin(
        [
            {"name": "levels", "kind": "stage", "after": []},
            {"name": "means", "kind": "stage", "after": ["levels"]},
        ],
        trigger="cli",
    )
    record.step_started("levels")
    record.step_ended(
        "levels", "succeeded", rows={"rivers": 12}, values={"share": 0.5}, notebook="levels.ipynb"
    )
    record.step_started("means")
    error = {"name": "ZeroDivisionError", "message": "division by zero", "cell": 1}
    record.step_ended("means", "failed", error=error, notebook="means.ipynb")
    record.end()
    for name in ("levels", "means"):
        text = (project.notebooks / "gauges" / f"{name}.ipynb").read_bytes()
        (record.folder / f"{name}.ipynb").write_bytes(text)
    return record


@pytest.mark.parametrize(
    ("root", "path", "home"),
    [("shop", NOTEBOOK, ""), ("", f"shop/{NOTEBOOK}", "shop"), ("shop/notebooks/gauges", "levels.ipynb", "")],
)  # fmt: skip
def test_a_notebook_is_found_wherever_jupyterlab_was_started(project, tmp_path, root, path, home):
    failed_run(project)
    places = Places(tmp_path / root)

    view = notebook_view(places, path)

    assert (view["workflow"], view["stage"], view["project"]["home"]) == ("gauges", "levels", home)
    assert view["steps"][0]["source"] == path
    executed = view["steps"][0]["executed"]
    assert executed_notebook(places, executed)["content"].cells[-1].source == "print(share)"
    folder = executed_notebook(places, executed.rpartition("/")[0])
    assert (folder["type"], folder["content"]) == ("directory", [])


def test_files_without_a_project_or_workflow_say_so(project, tmp_path):
    above, inside = Places(tmp_path), Places(project.root)

    assert notebook_view(above, "loose/x.ipynb") == {"project": None}
    assert notebook_view(above, "") == {"project": None}
    for path in ("", "pyproject.toml", "notebooks/none/x.ipynb"):
        view = notebook_view(inside, path)
        assert view["workflow"] is None
        assert [one["id"] for one in view["workflows"]] == ["gauges"]
    assert notebook_view(inside, "notebooks/gauges/other.ipynb")["stage"] is None
    with pytest.raises(ConfigurationError, match=r"no file `\.\./loose/x.ipynb`"):
        notebook_view(inside, "../loose/x.ipynb")


def test_a_broken_configuration_is_shown_with_its_place(project):
    config = project.notebooks / "gauges" / "config.yaml"
    config.write_text(config.read_text("utf-8") + "stagez: 1\nworkflow: 2\n", "utf-8")

    [problem] = notebook_view(Places(project.root), NOTEBOOK)["broken"]

    assert problem["where"].startswith("notebooks/gauges/config.yaml:")
    assert "`workflow` is given twice" in problem["message"]


def test_steps_and_runs_show_what_became_of_them(project):
    record = failed_run(project)

    view = notebook_view(Places(project.root), "notebooks/gauges/means.ipynb")

    levels, means, publish = view["steps"]
    assert (levels["status"], levels["rows"], levels["after"]) == ("succeeded", {"rivers": 12}, [])
    assert (means["status"], means["error"], means["cell"]) == ("failed", "division by zero", 1)
    assert publish["status"] is None
    stale = stale_view(Places(project.root), NOTEBOOK)
    assert stale == {"stale": ["levels", "means", "publish"]}
    [run] = view["runs"]
    assert (run["run"], run["result"], run["trigger"]) == (record.run_id, "failed", "cli")
    assert run["executed"].endswith("/means (1a2b3c4d).ipynb")
    assert view["going_on"] is None


HOLD = """
from dataflow.project import Project
from dataflow.shared.db import get_duckdb_connection
with get_duckdb_connection(project=Project.find(), database="working") as conn:
    conn.execute("create schema s")
    print("held", flush=True)
    input()
"""


def test_nobody_who_looks_waits_for_somebody_who_writes(project):
    failed_run(project)
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(
        command, cwd=project.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"held\n"
        begun = time.monotonic()
        view = notebook_view(Places(project.root), NOTEBOOK)
        stale = stale_view(Places(project.root), NOTEBOOK)
        waited = time.monotonic() - begun
        writer.communicate(b"\n")

    assert view["steps"][0]["status"] == "succeeded"
    assert stale == {"stale": None}
    assert waited < 60, "the writer goes on until it is told"


def test_a_run_that_goes_on_is_named(project):
    record = RunRecord(project, "gauges", "5" * 32)
    record.begin([{"name": "levels", "kind": "stage", "after": []}])
    record.step_started("levels")

    view = notebook_view(Places(project.root), NOTEBOOK)

    assert view["going_on"] == record.run_id
    assert stale_view(Places(project.root), NOTEBOOK) == {"stale": None}
    assert view["runs"][0]["status"] == "running"


def test_each_type_has_its_field(project):
    declared = declared_parameters(project.root / NOTEBOOK).parameters
    fields = {name: field(parameter, {"given": 3}) for name, parameter in declared.items()}

    assert {name: found["widget"] for name, found in fields.items()} == {
        "share": "number", "unit": "choice", "is_on": "choice", "day": "date", "names": "yaml",
        "given": "number", "kind": "choice", "key": "text",
    }  # fmt: skip
    assert fields["unit"]["choices"] == ["cm", "m"]
    assert fields["kind"]["choices"] == ["a", "b"]
    assert [name for name, found in fields.items() if found["nullable"]] == ["day", "kind"]
    assert (fields["given"]["otherwise"], fields["given"]["origin"]) == (3, "config.yaml")
    assert not fields["given"]["required"]
    assert field(declared["given"], {})["required"]
    assert fields["share"]["help"] == "the greatest"
    assert (fields["key"]["secret"], fields["key"]["otherwise"]) == (True, None)


def test_a_plan_says_what_is_wrong_at_its_field_and_what_would_be_done(project):
    places = Places(project.root)

    def plan(**body):
        return plan_view(places, {"path": NOTEBOOK, **body})

    wrong = plan(parameters={"share": "much", "given": "2.5"})
    assert {problem["parameter"] for problem in wrong["problems"]} == {"share", "given"}
    assert wrong["steps"] == []
    assert plan(parameters={"share": "0.2", "day": "null"})["steps"] == ["levels"]
    whole = plan(scope="all")
    assert (whole["steps"], whole["publishes"]) == (["levels", "means", "publish"], True)
    assert plan(scope="start")["steps"] == ["levels", "means", "publish"]
    assert "not what a run" in plan(scope="rm -rf")["problems"][0]["message"]


def test_a_run_of_the_form_is_for_its_stage_only(project):
    place = Places(project.root).find(NOTEBOOK)

    workflow, options = options_of(place, {"parameters": {"share": "1"}, "scope": "start"})

    assert workflow.id == "gauges"
    assert (options.start, options.only, options.trigger) == ("levels", None, "jupyterlab")
    assert options.parameters == {"levels.share": "1"}


@pytest.mark.parametrize(
    "path",
    [
        "runs/gauges/../../pyproject.ipynb",
        "runs/../notebooks/levels (1).ipynb",
        "runs/gauges/link/levels (1a2b3c4d).ipynb",
        "runs/gauges/run/.hidden.ipynb",
        "../shop/runs/gauges/run/levels.ipynb",
        "runs/gauges/run/levels.ipynb",
        "notebooks/gauges/levels.ipynb",
    ],
)
def test_only_executed_notebooks_are_read_from_the_runs(project, path):
    (project.runs / "gauges").mkdir(parents=True)
    (project.runs / "gauges" / "link").symlink_to(project.notebooks / "gauges")

    with pytest.raises(ConfigurationError):
        executed_notebook(Places(project.root), path)


def test_the_variables_of_a_project_are_in_the_environment_for_as_long_as_they_are_needed(project):
    file = project.root / ".env"
    file.write_text("PANEL_KEY=old\nHOME=/elsewhere\n", "utf-8")
    home = os.environ["HOME"]

    with variables_of(project), variables_of(project):
        assert (os.environ["PANEL_KEY"], os.environ["HOME"]) == ("old", home)
    assert "PANEL_KEY" not in os.environ

    # A kernel that starts after a change of the file gets what it says then.
    file.write_text("PANEL_KEY=new\n", "utf-8")
    with variables_of(project):
        assert os.environ["PANEL_KEY"] == "new"


def test_two_projects_never_share_their_variables(project, tmp_path):
    other = make_project(tmp_path / "other", {})
    (project.root / ".env").write_text("PANEL_KEY=one\n", "utf-8")
    (other.root / ".env").write_text("PANEL_KEY=two\n", "utf-8")
    seen = []

    def look():
        with variables_of(other):
            seen.append(os.environ["PANEL_KEY"])

    with variables_of(project):
        waiting = threading.Thread(target=look)
        waiting.start()
        waiting.join(0.2)
        assert (waiting.is_alive(), os.environ["PANEL_KEY"]) == (True, "one")
    waiting.join(60)
    assert seen == ["two"]
