"""`dataflow runs` as people and pipes read it."""

from __future__ import annotations

from projects import dataflow, make_project

from dataflow.runs.record import RunRecord

STAGES = [f"a_stage_with_a_long_name_{number}" for number in range(20)]


def test_in_a_pipe_no_column_is_cut_however_narrow_the_terminal(tmp_path):
    project = make_project(tmp_path / "project", {})
    name = "a_workflow_with_a_name_that_is_longer_than_what_fits"
    run = RunRecord(project, name, "0" * 32)
    run.begin([{"name": stage, "kind": "stage"} for stage in STAGES])
    for stage in STAGES:
        (run.folder / f"{stage}.ipynb").write_text("{}")

    listed = dataflow(project, "runs", "list", env={"COLUMNS": "40"})

    assert listed.returncode == 0, listed.stderr
    (line,) = [line for line in listed.stdout.splitlines() if line.strip().startswith("00000000")]
    assert name in line
    assert ", ".join(STAGES) in line
