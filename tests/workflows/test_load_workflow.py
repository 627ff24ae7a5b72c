"""config.yaml: what it becomes, and how its mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import write_notebook

from dataflow.errors import ConfigurationError, WorkflowNotFound
from dataflow.project import Project
from dataflow.shared.config import load_config
from dataflow.workflows.load import load_workflow
from dataflow.workflows.registry import get_workflow, read_workflows


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "pyproject.toml").write_text("[tool.dataflow]\n")
    return Project(tmp_path)


def workflow(project: Project, config: str, *notebooks: str, name: str = "sales") -> Path:
    folder = project.notebooks / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config)
    for notebook in notebooks:
        write_notebook(folder / notebook, ["1 + 1"])
    return folder


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("0 6 * * *", "At 06:00, every day (Europe/Berlin)"),
        ("30 7 * * mon", "At 07:30, only on Monday (Europe/Berlin)"),
        (
            "*/15 8-18 * * 1-5",
            "Every 15 minutes, between 08:00 and 18:59, Monday through Friday (Europe/Berlin)",
        ),
        ("0 9 L * *", "At 09:00, on the last day of the month (Europe/Berlin)"),
        ("@daily", "At 00:00, every day (Europe/Berlin)"),
        ("* * * * *", "Every minute (Europe/Berlin)"),
        ("0 *,6 * * *", "0 *,6 * * * (Europe/Berlin)"),
    ],
)
def test_a_schedule_is_told_in_words_with_its_time_zone(project, schedule, words):
    """What has no words stays a cron line."""
    config = f"workflow: {{name: S, schedule: '{schedule}', timezone: Europe/Berlin}}"
    found, problems = load_workflow(workflow(project, config, "a.ipynb"))

    assert problems == []
    assert found.config.workflow.schedule_in_words == words


def test_without_stages_the_notebooks_run_in_the_order_of_their_names(project):
    folder = workflow(project, "workflow: {name: Sales}", "b.ipynb", "a.ipynb", "c.ipynb")

    found, problems = load_workflow(folder)

    assert problems == []
    assert [(s.name, s.after) for s in found.stages] == [("a", ()), ("b", ("a",)), ("c", ("b",))]


def test_stages_come_after_what_they_depend_on(project):
    config = """
workflow: {name: Sales}
stages:
  - {notebook: report.ipynb, after: [orders, prices], writes: [other.totals]}
  - {notebook: orders.ipynb, after: [], writes: [orders]}
  - {notebook: prices.ipynb, after: []}
"""
    folder = workflow(project, config, "report.ipynb", "orders.ipynb", "prices.ipynb")

    found, _ = load_workflow(folder)

    assert [stage.name for stage in found.stages][-1] == "report"
    assert found.stage("orders").writes == (("sales_raw", "orders"),)
    assert found.stage("report").writes == (("other", "totals"),)
    assert found.schemas == ("sales_raw", "sales_staging", "sales")
    assert found.shared_tables == (("other", "totals"),)
    assert [stage.name for stage in found.last_stages] == ["report"]


def test_everything_that_is_wrong_is_told_at_once_with_its_line(project):
    config = """workflow:
  nmae: Sales
  schedule: "61 * * * *"
stages:
  - notebook: a.ipynb
    timeout: -1
"""
    folder = workflow(project, config, "a.ipynb")

    found, problems = load_workflow(folder)

    assert found is None
    told = {(p.line, p.message.split(":")[0], p.hint) for p in problems}
    assert (2, "`workflow.nmae` is not a known key", "Did you mean `name`?") in told
    assert (1, "`workflow.name` is missing", "Add `name:`.") in told
    assert any(line == 6 and "timeout" in message for line, message, _ in told)


@pytest.mark.parametrize(
    ("config", "line", "words"),
    [
        ("workflow: {name: S, schedule: '* * *'}", 1, "has 3 fields, not 5"),
        ("workflow: {name: S, schedule: '99 * * * *'}", 1, "not a cron schedule"),
        ("workflow: {name: S, timezone: Mars/Base}", 1, "not a time zone"),
        ("workflow:\n  name: S\n  name: T\n", 3, "given twice, first in line 2"),
        ("workflow: {name: S}\nstages:\n  - {notebook: x.ipynb}", 3, "no notebook `x.ipynb`"),
        ("workflow: {name: S}\nstages:\n  - {notebook: ../a.ipynb}", 3, "not a notebook here"),
        (
            "workflow: {name: S}\nstages:\n  - {notebook: a.ipynb, after: [b]}",
            3,
            "comes after `b`, which is not a stage",
        ),
        (
            "workflow: {name: S}\nstages:\n  - {notebook: a.ipynb, after: [a]}",
            3,
            "comes after itself",
        ),
        (
            "workflow: {name: S}\nstages:\n  - {notebook: a.ipynb, writes: ['Bad Name']}",
            3,
            "not a table's name",
        ),
        ("workflow: [", 1, "not valid YAML"),
        ("", 1, "the file is empty"),
        ("- a", 1, "is not a mapping"),
    ],
)
def test_each_mistake_names_its_line(project, config, line, words):
    folder = workflow(project, config, "a.ipynb")

    found, problems = load_workflow(folder)

    assert found is None
    assert any(words in p.message and p.line in (line, line + 1) for p in problems), problems


def test_stages_that_wait_for_each_other_are_shown_as_a_circle(project):
    config = """
workflow: {name: S}
stages:
  - {notebook: a.ipynb, after: [b]}
  - {notebook: b.ipynb, after: [a]}
"""
    _, problems = load_workflow(workflow(project, config, "a.ipynb", "b.ipynb"))

    assert any("→" in problem.message for problem in problems)


@pytest.mark.parametrize("name", ["main", "temp", "Sales", "my-flow", "class", "9lives"])
def test_names_that_would_clash_are_refused(project, name):
    folder = workflow(project, "workflow: {name: S}", name=name)

    found, problems = load_workflow(folder)

    assert found is None
    assert problems[0].hint == "Rename the folder."


def test_a_broken_workflow_does_not_hide_the_others(project):
    workflow(project, "workflow: {name: Good}", "a.ipynb", name="good")
    workflow(project, "workflow: 3", name="broken")

    found = {entry.id: entry for entry in read_workflows(project)}

    assert found["good"].workflow is not None
    assert found["broken"].workflow is None
    assert found["broken"].problems
    with pytest.raises(ConfigurationError, match="broken is not valid"):
        get_workflow(project, "broken")


def test_an_unknown_workflow_is_told_with_the_nearest_name(project):
    workflow(project, "workflow: {name: Good}", name="earthquakes")

    with pytest.raises(WorkflowNotFound) as caught:
        get_workflow(project, "earthquaks")
    assert caught.value.hint == "Did you mean `earthquakes`?"
    assert get_workflow(project, "earthquakes").slug == "earthquakes"


def test_load_config_gives_plain_dictionaries_with_variables_resolved(project, monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    config = "workflow: {name: S}\ningestion: {source: {token: '${MY_TOKEN}'}}\n"
    workflow(project, config, name="my_workflow")
    with pytest.raises(ConfigurationError, match="MY_TOKEN is not set"):
        load_config("my_workflow", project)
    (project.root / ".env").write_text("MY_TOKEN=from-the-file\n")

    loaded = load_config("my_workflow", project)

    assert type(loaded) is dict
    assert loaded.get("ingestion", {}) == {"source": {"token": "from-the-file"}}
    monkeypatch.delenv("MY_TOKEN")
