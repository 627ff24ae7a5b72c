"""The Python API: runs from a notebook and from a script, and what they show."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from projects import (
    Workflow,
    environment,
    kernels_of,
    make_project,
    parameters,
    wait_until,
)

from dataflow import Project
from dataflow.cli.main import run as run_cli
from dataflow.errors import EXIT_OK, ConfigurationError, ParameterError, WorkflowNotFound

pytestmark = pytest.mark.slow

FILL = [
    "from datetime import date",
    parameters("rows: int = 3\nday: date | None = None"),
    "from dataflow import stage\n"
    "from dataflow.shared.db import get_duckdb_connection, write_table\n"
    "with get_duckdb_connection() as conn:\n"
    "    write_table(conn, [{'id': i} for i in range(rows)], 'samples')\n"
    "stage.record(table='samples', rows=rows)\n"
    "print('wrote', rows, 'of', day)",
]
AGAIN = "from dataflow import Project\nProject.find().workflow('again').run()"
IN_A_NOTEBOOK = [
    "from datetime import date\nfrom dataflow import Project\nlab = Project.find().workflow('lab')",
    "values = {'rows': 5, 'day': date(2026, 11, 26)}\nrun = lab.run(parameters=values)",
    "run",
    "lab.run(parameters=values, changed=True) == run",
    "lab.run(parameters={'rows': 'many', 'row': 1})",
    "import sys; sorted({'dagster', 'dbt', 'pandas'} & set(sys.modules))",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(
        tmp_path_factory.mktemp("api") / "project",
        {
            "lab": Workflow(
                {"fill": FILL}, stages=[{"notebook": "fill.ipynb", "writes": ["samples"]}]
            ),
            "again": {"call": [AGAIN]},
            "long": {"sleep": ["import time; time.sleep(120)"]},
        },
    )
    (made.notebooks / "broken").mkdir()
    (made.notebooks / "broken" / "config.yaml").write_text("workflow: {nam: Broken}\n", "utf-8")
    return Project.find(made.root)


@pytest.fixture(scope="module")
def outputs(project: Project) -> list[list[nbformat.NotebookNode]]:
    """The outputs of a notebook's cells that were executed in a kernel."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in IN_A_NOTEBOOK])
    place = {"metadata": {"path": str(project.paths.notebooks)}}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATAFLOW_PROJECT", "DAGSTER_HOME", "PYTEST_CURRENT_TEST"):
            patch.delenv(name, raising=False)
        NotebookClient(nb, kernel_name="python3", resources=place, allow_errors=True).execute()
    return [cell.outputs for cell in nb.cells]


def printed(cell: list[nbformat.NotebookNode]) -> str:
    """What a cell printed; red, as JupyterLab shows standard error, is for what went wrong."""
    streams = [output for output in cell if output.output_type == "stream"]
    assert {output.name for output in streams} == {"stdout"}
    return "".join(output.text for output in streams)


def test_a_notebook_runs_a_workflow_and_shows_how_it_goes_on(project, outputs):
    """A kernel has a running event loop, which must not matter."""
    shown = printed(outputs[1])
    assert "fill │ wrote 5 of 2026-11-26" in shown
    assert outputs[5][0].data["text/plain"] == "[]", "the run was in the kernel's own process"
    run = project.runs("lab")[0]
    assert (run.status, run.data["trigger"]) == ("succeeded", "python")
    assert run.data["parameters"] == {"fill": {"rows": 5, "day": "2026-11-26"}}


def test_a_run_shows_itself_as_tables(project, outputs):
    run = project.find_run(project.runs("lab")[0].run_id[:8])
    html = outputs[2][0].data["text/html"]

    assert html.count("<table>") == 2
    assert run.run_id[:8] in html
    assert "samples 5" in html
    assert "✓ succeeded" in html
    assert run.tables.to_dict("list") == {"step": ["fill"], "table": ["samples"], "rows": [5]}
    assert list(run.steps) == ["fill", "publish"]
    assert "wrote 5" in run.notebook("fill").read_text("utf-8")
    assert run.open("fill", browser=False).endswith(f"{run.folder.name}/fill.html")
    with pytest.raises(ConfigurationError, match="Did you mean `fill`"):
        run.notebook("fil")


def test_when_nothing_changed_nothing_runs_and_the_last_run_is_returned(outputs):
    assert "nothing was run" in printed(outputs[3])
    assert outputs[3][-1].data["text/plain"] == "True"


def test_wrong_parameters_are_all_named_before_anything_runs(project, outputs):
    (error,) = (output for output in outputs[4] if output.output_type == "error")

    assert error.ename == "ParameterError"
    assert "parameter `row`" in error.evalue
    assert "'many' is not of type int" in error.evalue
    assert len(project.runs("lab")) == 1


def test_a_run_inside_of_a_run_of_the_same_workflow_is_refused(project, capsys):
    """It would wait for its own turn for ever; the outer run is returned, failed."""
    run = project.workflow("again").run(progress=False)

    assert run.status == "failed"
    assert "inside of a run of again" in str(run.error)
    assert "inside of a run of again" in run._repr_html_()
    assert capsys.readouterr() == ("", "")
    assert [one.run_id for one in project.runs("again")] == [run.run_id]


def test_an_interrupt_of_a_script_cancels_its_run(project):
    script = "from dataflow import Project; Project.find().workflow('long').run()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=project.paths.root, env=environment(),
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        wait_until(lambda: kernels_of(project.paths))
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)

    assert "KeyboardInterrupt" in shown
    (run,) = project.runs("long")
    assert run.status == "cancelled"
    assert run.steps["sleep"]["status"] == "cancelled"
    assert kernels_of(project.paths) == []


def test_commands_and_the_api_list_the_same(project, outputs, monkeypatch, capsys):
    monkeypatch.chdir(project.paths.notebooks / "lab")
    assert Project.find() == project
    assert run_cli(["workflow", "list", "--json"]) == EXIT_OK
    listed = json.loads(capsys.readouterr().out)
    assert run_cli(["runs", "list", "lab", "--json"]) == EXIT_OK
    runs = json.loads(capsys.readouterr().out)

    assert [entry["id"] for entry in listed] == [one.id for one in project.workflows()]
    assert [run["run_id"] for run in runs] == [run.run_id for run in project.runs("lab")]
    assert [stage.name for stage in project.workflow("lab").stages] == ["fill"]
    assert "not valid</span> 2 problems" in project._repr_html_()


def test_a_workflow_that_is_not_valid_says_everything_that_is_wrong(project):
    broken = project.workflow("broken")
    found = broken.validate()

    assert len(found.problems) == 2
    assert "Did you mean `name`?" in found._repr_html_()
    assert "not valid" in broken._repr_html_()
    with pytest.raises(ConfigurationError, match=r"`workflow\.nam` is not a known key"):
        _ = broken.stages
    with pytest.raises(WorkflowNotFound, match="Did you mean `lab`"):
        project.workflow("labb")


def test_runs_since_a_day_a_moment_or_a_text(project, outputs):
    (run,) = project.runs("lab")

    assert project.runs("lab", since=run.started_at.date()) == [run]
    assert project.runs("lab", since=run.started_at) == [run]
    assert project.runs("lab", since="2999-01-01") == []
    assert "<table>" in project.runs(since="2999-01-01")._repr_html_()
    with pytest.raises(ConfigurationError, match="`yesterday` is not a time"):
        project.runs(since="yesterday")


def test_the_parameter_error_can_be_caught_by_its_class(project):
    with pytest.raises(ParameterError) as caught:
        project.workflow("lab").run({"row": 1}, progress=False)

    assert [problem.hint for problem in caught.value.problems] == ["Did you mean `rows`?"]
