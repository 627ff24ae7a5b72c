"""The fixture `run_stage`, on a small project and on the workflow that the project ships."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from projects import REPOSITORY, Workflow, make_project, parameters, write_notebook

from dataflow import errors
from dataflow.testing.runner import StageRunner
from dataflow.testing.stage_run import StageFailed

COUNT = [
    parameters("least: int = 0\nfail: bool = False"),
    "from dataflow import stage\nfrom dataflow.shared.db import get_duckdb_connection, write_table",
    "with get_duckdb_connection() as conn:\n"
    "    rows = conn.sql('select * from small_raw.given').df()\n"
    "    big = rows[rows.value >= least]\n"
    "    if big.empty:\n"
    "        stage.skip('nothing is big')\n"
    "    written = write_table(conn, big, 'big')",
    "if fail:\n    raise KeyError('mag')",
    "stage.record(table='big', rows=written, least=least)\n"
    "stage.check('few are small', written > len(rows) / 2, small=len(rows) - written)\n"
    "print('wrote', written)",
]


@pytest.fixture
def run(tmp_path: Path) -> StageRunner:
    project = make_project(
        tmp_path / "project",
        {
            "small": Workflow(
                {"count": COUNT},
                stages=[{"notebook": "count.ipynb", "parameters": {"least": 2}}],
                config={"ingestion": {"source": {"type": "api", "token": "${SMALL_TOKEN:-}"}}},
            )
        },
    )
    return StageRunner(project, tmp_path / "run", files=tmp_path)


def given(*values: int) -> dict[str, list[dict[str, int]]]:
    return {"given": [{"value": value} for value in values]}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_stage_runs_on_the_tables_it_is_given_and_leaves_tables_records_and_checks(run):
    before = files_of(run.project.root)

    done = run("small", "count", tables=given(1, 2, 3))

    assert done.status == "succeeded"
    assert list(done.tables["big"].value) == [2, 3]
    assert list(done.tables) == ["small_raw.big", "small_raw.given"]
    assert done.records["big"] == {"rows": 2, "least": 2}
    assert done.checks["few are small"].passed
    assert done.checks["few are small"].metadata == {"small": 1}
    assert done.error is None
    assert done.skipped is None
    assert done.output == "wrote 2\n"
    assert [c.metadata.get("tags") for c in done.notebook.cells][:2] == [
        ["parameters"],
        ["injected-parameters"],
    ]
    assert files_of(run.project.root) == before, "the project itself is left alone"


def test_parameters_of_the_test_win_and_stages_of_one_test_share_a_warehouse(run):
    run("small", "count", tables=given(1, 2, 3))

    done = run("small", "count", parameters={"least": 3}, tables=given(3, 4, 5, 6))

    assert list(done.tables["big"].value) == [3, 4, 5, 6]
    assert done.query("select sum(value) as total from small_raw.big")["total"][0] == 18


def test_a_failing_stage_fails_the_test_with_the_cell_and_the_frame(run):
    with pytest.raises(StageFailed) as caught:
        run("small", "count", parameters={"fail": True}, tables=given(2))

    text = str(caught.value)
    assert "stage count of small failed in cell 4: KeyError: 'mag'" in text
    assert "1 │ if fail:" in text
    assert "----> 2     raise KeyError('mag')" in text
    assert "papermill" not in text
    assert isinstance(caught.value, AssertionError)
    assert caught.value.run.tables["big"].shape == (1, 1)


def test_an_expected_failure_is_returned(run):
    done = run("small", "count", parameters={"fail": True}, tables=given(2), expect_failure=True)

    assert done.status == "failed"
    assert done.error.ename == "KeyError"
    assert done.error.source.startswith("if fail:")


def test_an_expected_failure_that_does_not_come_is_a_failure(run):
    with pytest.raises(StageFailed, match="was expected to fail; it succeeded"):
        run("small", "count", tables=given(2), expect_failure=True)


def test_a_check_that_would_stop_a_run_fails_the_test(run):
    with pytest.raises(StageFailed, match="✗ few are small: small=3"):
        run("small", "count", tables=given(1, 1, 1, 5))

    done = run("small", "count", tables=given(1, 1, 1, 5), expect_failure=True)
    assert not done.checks["few are small"].passed
    assert list(done.tables["big"].value) == [5]


def test_a_stage_that_skips_says_why(run):
    done = run("small", "count", tables=given(0))

    assert done.status == "skipped"
    assert done.skipped == "nothing is big"


def test_tables_may_be_frames_and_files_beside_the_test(run, tmp_path):
    (tmp_path / "given.csv").write_text("value\n4\n5\n", encoding="utf-8")
    pd.DataFrame({"value": [6]}).to_parquet(tmp_path / "given.parquet")

    from_csv = run("small", "count", tables={"given": "given.csv"})
    assert list(from_csv.tables["big"].value) == [4, 5]
    from_parquet = run("small", "count", tables={"small_raw.given": tmp_path / "given.parquet"})
    assert list(from_parquet.tables["big"].value) == [6]
    from_frame = run("small", "count", tables={"given": pd.DataFrame({"value": [7]})})
    assert list(from_frame.tables["big"].value) == [7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("smal", "count"), "Did you mean `small`?"),
        (("small", "cont"), "Did you mean `count`?"),
    ],
)
def test_a_misspelt_workflow_or_stage_is_named(run, arguments, message):
    with pytest.raises(errors.ConfigurationError, match=message.replace("?", r"\?")):
        run(*arguments)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"given": "nothing.csv"}, "there is no file"),
        ({"given": "given.xlsx"}, "cannot be read as a table"),
        ({"given": []}, "has no rows, and therefore no columns"),
    ],
)
def test_a_table_that_cannot_be_put_in_is_named_before_a_kernel_starts(run, tables, message):
    with pytest.raises(errors.ConfigurationError, match=message):
        run("small", "count", tables=tables)
    assert not list(run.folder.glob("*.ipynb"))


def test_a_wrong_parameter_is_named_before_a_kernel_starts(run):
    with pytest.raises(errors.ParameterError, match="Did you mean `least`"):
        run("small", "count", parameters={"last": 3})
    assert not list(run.folder.glob("*.ipynb"))


def test_asking_for_a_table_that_is_not_there_names_the_nearest(run):
    done = run("small", "count", tables=given(2))

    with pytest.raises(KeyError, match=r"no table .small_raw.bigg.. Did you mean `small_raw.big`"):
        done.tables["bigg"]
    with pytest.raises(KeyError, match="Did you mean `few are small`"):
        done.checks["few are smal"]


def test_secrets_are_not_in_the_executed_notebook_and_the_environment_comes_back(run):
    notebook = run.project.notebooks / "small" / "count.ipynb"
    write_notebook(notebook, [parameters("least: int = 0"), "import os; os.environ['SMALL_TOKEN']"])
    before = dict(os.environ)

    done = run("small", "count", environment={"SMALL_TOKEN": "correct-horse-battery"})

    assert "correct-horse" not in done.path.read_text("utf-8")
    assert done.notebook.cells[-1].outputs[0].data["text/plain"] == "'${SMALL_TOKEN}'"
    assert dict(os.environ) == before


def test_the_shipped_workflow_is_tested_on_a_handful_of_rows(run_stage, dataflow_project):
    assert dataflow_project.root == REPOSITORY
    event = {
        "id": "a", "mag": 4.5, "mag_type": "mb", "depth": 10.0, "sig": 312, "felt": None,
        "net": "us", "type": "earthquake", "place": "10km S of Town, CA", "longitude": -120.0,
        "latitude": 38.0, "tz": -480, "status": "reviewed", "tsunami": 0, "url": "u",
        "time": 1_517_400_000_000, "updated": 1_517_500_000_000,
    }  # fmt: skip
    events = [event, {**event, "id": "b", "type": "quarry blast"}]

    done = run_stage("earthquakes", "transform", tables={"events": events})

    assert list(done.tables["events_clean"].event_id) == ["a"]
    assert done.tables["events_clean"].magnitude_band[0] == "4 to 5"
    assert done.records["events_clean"]["left_out"] == {"quarry blast": 1}
    assert all(check.passed for check in done.checks.values())


def test_a_kernel_that_is_not_there_is_said_with_those_that_are(run):
    path = run.project.notebooks / "small" / "count.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.kernelspec = {"name": "no-such-kernel", "display_name": "None"}
    nbformat.write(notebook, path)

    with pytest.raises(errors.ConfigurationError, match="no Jupyter kernel `no-such") as raised:
        run("small", "count", tables=given(1))

    assert "python3" in str(raised.value.hint)
