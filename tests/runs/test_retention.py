"""Which runs are removed, and that nothing that is needed goes with them."""

from __future__ import annotations

import datetime
import json
import signal
import uuid
from pathlib import Path

import pytest
from projects import Workflow, dataflow, make_project, start_dataflow, wait_until

from dataflow.orchestration.instance import open_instance
from dataflow.project import Project
from dataflow.runs.record import newest_first
from dataflow.runs.retention import old_runs

MAKE = """
import pandas as pd
from dataflow.shared.db import get_duckdb_connection, write_table
with get_duckdb_connection() as conn:
    write_table(conn, pd.DataFrame({"n": [1]}), "flow_raw.n")
"""


def archive(project: Project, days: float, status: str | None, **steps: str) -> str:
    """The record of a run that began some days ago; its id."""
    run_id = uuid.uuid4().hex
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
    folder = project.runs / "flow" / f"{began:%Y%m%dT%H%M%SZ}_{run_id[:8]}"
    folder.mkdir(parents=True)
    at = began.isoformat()
    run = {
        "format": 2, "run_id": run_id, "workflow": "flow", "started_at": at, "status": status,
        "ended_at": at if status else None,
        "steps": {name: {"kind": "stage", "status": s, "started_at": at} for name, s in steps.items()},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(run))
    return run_id


def keep(project: Project, *lines: str) -> None:
    (project.root / "pyproject.toml").write_text("\n".join(["[tool.dataflow]", *lines, ""]))


def archived(project: Project) -> list[str]:
    return [run.run_id for run in newest_first(project)]


def test_what_tells_how_steps_and_workflow_stand_is_never_removed(tmp_path: Path):
    project = make_project(tmp_path, {})
    goes = archive(project, 9, "succeeded", a="succeeded", b="succeeded")
    failed = archive(project, 8, "failed", a="failed")
    other_goes = archive(project, 7, "cancelled")
    archive(project, 6, "succeeded", a="succeeded", b="succeeded")  # b succeeded last
    archive(project, 5, "cancelled", b="cancelled")  # the newest attempt of b
    goes_too = archive(project, 4, "succeeded", a="succeeded")
    archive(project, 3, "succeeded", a="succeeded")  # the newest that succeeded
    newest = archive(project, 2, "cancelled")

    def removed() -> list[str]:
        return [old.run.run_id for old in old_runs(project, "flow") if not old.needed]

    assert removed() == []
    keep(project, "keep_runs = 1")
    assert removed() == [goes, other_goes, goes_too]
    assert newest not in removed()
    assert failed not in removed()
    keep(project, "keep_days = 6")
    assert removed() == [goes, other_goes]
    keep(project, "keep_days = 8", "keep_runs = 1")
    assert removed() == [goes]


@pytest.mark.slow
def test_old_runs_go_at_a_runs_end_and_nothing_else_changes_for_it(tmp_path: Path):
    project = make_project(
        tmp_path,
        {
            "flow": Workflow(
                {"make": [MAKE], "use": ["1"]},
                [{"notebook": "make.ipynb", "writes": ["n"]}, {"notebook": "use.ipynb"}],
            )
        },
    )
    keep(project, "keep_runs = 1")

    def run(*arguments: str) -> str:
        done = dataflow(project, "workflow", "run", "flow", "-q", *arguments)
        assert done.returncode == 0, done.stderr
        assert "Old runs" not in done.stderr
        (newest, *_) = archived(project)
        return newest

    first, second = run(), run()
    assert archived(project) == [second]
    with open_instance(project) as instance:
        assert instance.get_run_by_id(first) is None
        assert instance.get_run_by_id(second) is not None
    assert not list(project.dagster_home.glob(f"history/runs/{first}*"))
    third = run("--only", "use")
    # That `make` passed stands in the second's record, which publishing asks for.
    published = run("--changed")
    assert archived(project) == [published, third, second]
    steps = next(newest_first(project)).steps
    assert [name for name in steps if steps[name]["status"] == "succeeded"] == ["publish"]


@pytest.mark.slow
def test_a_killed_prune_is_finished_by_the_next_and_two_at_once_do_no_harm(tmp_path: Path):
    project = make_project(tmp_path, {})
    for day in range(60, 0, -1):
        archive(project, day, "succeeded", a="succeeded")
    before = archived(project)
    keep(project, "keep_runs = 2")
    dry = dataflow(project, "runs", "prune", "--json")
    assert [run["run_id"] for run in json.loads(dry.stdout)] == before[:1:-1]
    assert archived(project) == before

    first = start_dataflow(project, "runs", "prune", "--remove")
    wait_until(lambda: len(archived(project)) < 58, every=0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert len(archived(project)) > 2
    both = [start_dataflow(project, "runs", "prune", "--remove") for _ in range(2)]

    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
    assert archived(project) == before[:2]
    assert len(list((project.runs / "flow").iterdir())) == 2
